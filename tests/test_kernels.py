"""The layout of a sample in the cache."""

from __future__ import annotations

import pytest

from mplib import fused

pytestmark = pytest.mark.skipif(not fused.available(), reason="numba is not installed")


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 1, 1), (3, 5, 7), (16, 32, 32), (2, 1, 9), (5, 84, 84)])
def test_planes_do_not_touch_and_every_stencil_stays_inside(channels: int, height: int, width: int) -> None:
    from mplib.fused.cpu.kernels import geometry

    pitch, start, positions, stride, size = geometry(channels, height, width)
    assert pitch == width + 1 and start == pitch + 1  # a zero row above, a zero column to the left
    assert positions % 16 == 0 and positions >= height * pitch
    last_pixel = (channels - 1) * stride + start + (height - 1) * pitch + width - 1
    assert last_pixel + pitch + 1 < size  # the pixel below and to its right
    assert (
        channels - 1
    ) * stride + 2 * pitch + 2 + positions <= size  # what the stencil's loop reads in the last plane
    next_plane_first_pixel = stride + start
    assert start + (height - 1) * pitch + width - 1 + pitch < next_plane_first_pixel  # a zero row between planes


def test_a_job_names_every_field_once() -> None:
    from mplib.fused.cpu.kernels import JOB

    assert len(set(JOB)) == len(JOB)
