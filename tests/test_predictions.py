from __future__ import annotations

import pytest
import torch

from mplib import MplibError
from mplib.benchmark.predictions import time_predictions
from mplib.benchmark.work import Setting

TINY = Setting("conv4", 2, 16, 4, "cpu")


def test_the_base_is_one_pass_and_randomness_is_left_alone() -> None:
    before = torch.get_rng_state()
    plain, one, many = time_predictions(TINY, [1, 30], turns=3)
    assert (plain["variant"], plain["ratio"]) == ("plain", 1.0)
    assert (one["draws"], many["draws"]) == (1, 30) and one["ratio_low"] <= one["ratio"] <= one["ratio_high"]
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("draws", [[], [0], [5, -1]])
def test_refuses_numbers_of_draws_below_one(draws: list[int]) -> None:
    with pytest.raises(MplibError, match="expected numbers of at least 1"):
        time_predictions(TINY, draws, turns=3)
