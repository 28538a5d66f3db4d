"""The benchmark runs and says what it should; how fast anything is, is not tested."""

from __future__ import annotations

import pytest

from mplib.benchmark import VARIANTS, time_steps
from mplib.errors import MplibError

TINY = {"batch_size": 2, "image_size": 16, "width": 4, "turns": 3, "device": "cpu"}


def test_every_variant_is_timed_in_every_turn() -> None:
    rows = time_steps("conv4", **TINY)
    assert [row["variant"] for row in rows] == list(VARIANTS)
    assert rows[0]["ratio"] == rows[0]["ratio_low"] == rows[0]["ratio_high"] == 1
    for row in rows:
        assert row["milliseconds"] > 0 and row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
        assert row["device"].startswith("cpu") and row["megabytes"] is None


def test_ratios_are_to_the_first_variant() -> None:
    rows = time_steps("conv4", **{**TINY, "variants": ["perturbed", "plain"]})
    assert rows[0]["ratio"] == 1 and rows[1]["variant"] == "plain"


@pytest.mark.gpu
def test_memory_is_measured_on_a_gpu() -> None:
    assert all(row["megabytes"] > 0 for row in time_steps("conv4", **{**TINY, "device": "cuda"}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variants": ["fast"]}, "unknown variant 'fast'"),
        ({"turns": 2}, "turns is 2"),
        ({"batch_size": 1}, "batch_size 1"),
    ],
)
def test_refuses_what_cannot_be(options: dict, message: str) -> None:
    with pytest.raises(MplibError, match=message):
        time_steps("conv4", **{**TINY, **options})
