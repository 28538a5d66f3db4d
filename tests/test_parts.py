"""A step is split into its phases, a site into its pieces."""

from __future__ import annotations

import pytest

from mplib.benchmark.parts import PARTS, time_parts, time_pieces
from mplib.benchmark.work import Setting
from mplib.errors import MplibError

TINY = Setting("conv4", 4, 16, 4, "cpu")


def test_every_phase_has_a_share() -> None:
    rows = time_parts(TINY, turns=3)
    assert tuple(row["part"] for row in rows) == PARTS
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    assert all(row["milliseconds"] > 0 for row in rows if not row["part"].startswith("perturbation"))


def test_every_piece_has_a_share() -> None:
    rows = time_pieces(2, 4, 8, "cpu", turns=3)
    assert len(rows) == 5 and all(row["milliseconds"] > 0 for row in rows)
    assert sum(row["share"] for row in rows) == pytest.approx(1)


def test_refuses_too_few_turns() -> None:
    with pytest.raises(MplibError, match="turns is 1"):
        time_parts(TINY, turns=1)
