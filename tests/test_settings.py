"""Methods compared in several settings, on rows made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mpbook import settings
from mplib.errors import MplibError
from mplib.runs import Row
from mplib.stats import Interval, mean_interval, paired_interval

MINUS = "\N{MINUS SIGN}"
LUCK = [0.0, 0.01, -0.01, 0.02, -0.02]


def row(method: str, seed: int, accuracy: float = 0.5, steps: int = 100, **config: Any) -> Row:
    config = {"data": "d", "net": "conv4", "image_size": 16, "method": method, "seed": seed, "steps": steps, **config}
    result = {"accuracy": accuracy, "nll": 1 - accuracy, "ece": 0.1, "train_loss": 0.25}
    return {"key": repr(sorted(map(str, config.items()))), "config": config, "result": result}


def runs(gain: float, seeds: int = 5, **config: Any) -> list[Row]:
    return [row("none", k, 0.5 + LUCK[k], **config) for k in range(seeds)] + [
        row("phi", k, 0.5 + gain + 2 * LUCK[k], **config) for k in range(seeds)
    ]


def test_the_largest_budget_that_all_have_is_taken_with_the_seeds_that_all_have() -> None:
    rows = [*runs(0.1), *runs(0.2, seeds=4, steps=200), row("phi", 4, steps=200), row("phi", 0, steps=400)]
    (part,) = settings.fair(rows, ["none", "phi"]).values()
    assert {found["config"]["steps"] for found in part} == {200}
    assert [found["config"]["seed"] for found in part] == [0, 1, 2, 3] * 2


def test_a_larger_budget_with_too_few_seeds_does_not_win() -> None:
    (part,) = settings.fair([*runs(0.1), *runs(0.2, seeds=2, steps=200)], ["none", "phi"]).values()
    assert {found["config"]["steps"] for found in part} == {100}
    (part,) = settings.fair([*runs(0.1, seeds=1), *runs(0.2, seeds=2, steps=50)], ["none", "phi"]).values()
    assert {found["config"]["steps"] for found in part} == {50}


def test_a_method_that_may_be_missing_is_kept_where_it_is_whole() -> None:
    whole, holed = [row("noise", k) for k in range(5)], [row("noise", k) for k in range(4)]
    for more, expected in ((whole, ["none", "phi", "noise"]), (holed, ["none", "phi"])):
        (part,) = settings.fair([*runs(0.1), *more], ["none", "phi"], also=["noise"]).values()
        assert settings.methods_of(part) == expected


def test_a_setting_without_one_of_the_methods_is_left_out_and_two_of_one_name_are_refused() -> None:
    rows = [*runs(0.1), row("none", 0, data="e")]
    assert list(settings.fair(rows, ["none", "phi"])) == ["d, conv4, 16 px"]
    two = [*runs(0.1, per_class=10), *runs(0.1, per_class=50)]
    assert list(settings.fair(two, ["none", "phi"])) == ["d, conv4, 16 px, 10 a class", "d, conv4, 16 px, 50 a class"]
    with pytest.raises(MplibError, match="two settings have the name"):
        settings.fair([*runs(0.1), *runs(0.1, width=8)], ["none", "phi"])


def test_gains_are_paired_by_seed_whatever_the_order_of_the_rows() -> None:
    part = runs(0.1)
    found = settings.gains(part[::-1], "phi", "none", "accuracy")
    np.testing.assert_allclose(found, [10 + 100 * luck for luck in LUCK])
    with pytest.raises(MplibError, match="score"):
        settings.gains(part, "phi", "none", "speed")


def test_settings_together_give_one_number_for_each_common_seed() -> None:
    parts = [runs(0.1), runs(0.3, seeds=4, data="e")]
    found = settings.together(parts, "phi", "none", "accuracy")
    expected = mean_interval([20 + 100 * luck for luck in LUCK[:4]])
    np.testing.assert_allclose(found, expected)
    with pytest.raises(MplibError, match="no seed in common"):
        settings.together([[row("none", 0), row("phi", 0)], [row("none", 1), row("phi", 1)]], "phi", "none", "nll")
    with pytest.raises(MplibError, match="no seed in common"):
        settings.together([], "phi", "none", "nll")


@pytest.mark.parametrize(
    ("low", "high", "score", "expected"),
    [
        (0.1, 0.3, "accuracy", "ahead"),
        (-0.3, -0.1, "accuracy", "behind"),
        (-0.3, -0.1, "nll", "ahead"),
        (0.1, 0.3, "ece", "behind"),
        (-0.1, 0.3, "accuracy", "undecided"),
        (float("nan"), float("nan"), "accuracy", "undecided"),
    ],
)
def test_an_interval_that_excludes_zero_decides(low: float, high: float, score: str, expected: str) -> None:
    assert settings.word(Interval((low + high) / 2, low, high, 5), score) == expected


def test_a_cell_has_decimals_enough_to_show_on_which_side_of_zero_it_lies() -> None:
    assert settings.span(Interval(-1.0, -2.0, 0.0, 5), 1) == f"{MINUS}1.0 [{MINUS}2.0, 0.0]"
    assert settings.span(Interval(-1.0, -1.998, -0.002, 5), 1) == f"{MINUS}1.000 [{MINUS}1.998, {MINUS}0.002]"
    assert settings.span(Interval(-1.0, float("nan"), float("nan"), 1), 1) == f"{MINUS}1.0"


def test_tables_leave_out_what_is_not_there() -> None:
    parts = settings.fair([*runs(0.1), *runs(-0.1, data="e"), *(row("noise", k) for k in range(5))],
                           ["none", "phi"], also=["noise"])  # fmt: skip
    lines = settings.differences(parts, "phi", ["none", "noise"], ["accuracy", "tempered_nll"])
    opponents = [(line["setting"][0], line["meta-trained phi minus"]) for line in lines]
    assert opponents == [("d", "no perturbation"), ("d", "matched plain noise"), ("e", "no perturbation")]
    gap = paired_interval([10 + 100 * luck for luck in LUCK], [0.0] * 5)
    assert lines[0]["accuracy, points"] == f"{settings.span(gap, 1)} ahead"
    assert lines[0]["nll, with one temperature"] == "–"
    assert settings.tally(parts, "phi", ["none"])["e, conv4, 16 px"] == "behind no perturbation"
    learned = settings.learned(parts)
    assert learned[0]["meta-trained phi"] == "– (0.25)"
    assert learned[1]["plain noise"] == "–"
