"""From rows made by hand to lines, words and what follows from them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mpbook import advice, settings
from mplib.runs import Row
from mplib.stats import mean_interval

LUCK = [0.0, 0.01, -0.01, 0.02, -0.02]
MINUS = "\N{MINUS SIGN}"


def row(method: str, seed: int, accuracy: float, fitted: float = 1.0, ece: float = 0.1, **result: Any) -> Row:
    config = {"data": "d", "net": "n", "image_size": 8, "method": method, "seed": seed, "steps": 4000}
    scores = {"accuracy": accuracy, "nll": 1 - accuracy, "ece": ece, "fitted_accuracy": fitted, **result}
    return {"key": f"{method}{seed}", "config": config, "result": scores}


def part(phi: float, noise: float, fitted: float = 1.0, **result: Any) -> list[Row]:
    """Gains over no perturbation of phi and of noise, five seeds."""
    return [
        row(name, k, 0.5 + gain + weight * LUCK[k], fitted, ece, **result)
        for name, gain, weight, ece in (("none", 0, 1, 0.1), ("phi", phi, 1.1, 0.3), ("noise", noise, 0.9, 0.1))
        for k in range(5)
    ]


def test_only_settings_that_were_learned_are_judged() -> None:
    silent = [row("phi", k, 0.5) for k in range(2)]
    del silent[0]["result"]["fitted_accuracy"]
    parts = {"learned": part(0.1, 0.0), "short": part(0.1, 0.0, fitted=0.9), "silent": silent}
    assert list(advice.judged(parts)) == ["learned"]
    assert math.isnan(settings.share_learned(silent)) and math.isnan(settings.share_learned(silent, "other"))
    counts = [line["counts"] for line in advice.budgets(parts, others=())]
    assert counts == ["yes", "no", "not said"]
    assert advice.budgets({"learned": parts["learned"]})[0]["over no perturbation, points"].startswith("10.0 [")


def test_a_phi_of_its_own_becomes_a_method_and_a_row_counts_once() -> None:
    whole, nine, other = (row("phi", k, 0.5) for k in range(3))
    for found, name in ((whole, "a"), (nine, "b"), (other, "c")):
        found["config"]["phi"] = name
    plain = row("none", 0, 0.5)
    again = {**row("none", 0, 0.9), "key": "of another store"}
    named = advice.renamed([whole, plain, nine, other, again], {"a": "phi", "b": "nine"})
    assert [found["config"]["method"] for found in named] == ["phi", "none", "nine"] and named[1] == plain
    assert nine["config"]["method"] == "phi"  # the rows of the store stay what they are


def test_gains_are_paired_and_their_words_corrected_for_all_lines() -> None:
    """A p-value of 0.03 excludes zero alone and not among five lines; a clear gain stands in both."""
    weak = [0.6, 2.2, 0.4, 2.6, 0.9]
    rows = [row("none", k, 0.5) for k in range(5)] + [row("phi", k, 0.5 + weak[k] / 100) for k in range(5)]
    (alone,) = advice.compared({"s": rows}, [("phi", "none")])
    assert alone.words["accuracy"] == "ahead" and alone.gaps["accuracy"] == pytest.approx(mean_interval(weak))
    among = advice.compared(dict.fromkeys("abcde", rows), [("phi", "none")])
    assert {line.words["accuracy"] for line in among} == {"undecided"}
    clear = advice.compared({"s": part(0.1, 0.0), **dict.fromkeys("abcd", rows)}, [("phi", "none")])
    assert clear[0].words == {"accuracy": "ahead", "nll": "ahead", "ece": "behind"}


def test_a_line_needs_both_methods_and_a_temperature_needs_its_rows() -> None:
    pairs = [("phi", "none"), ("phi", "untrained"), ("noise", "none")]
    lines = advice.compared({"s": part(0.1, 0.0)}, pairs, tempered=pairs)
    assert [(line.first, line.tempered) for line in lines] == [("phi", False), ("noise", False)]
    with_it = advice.compared({"s": part(0.1, 0.0, tempered_nll=1.0, tempered_ece=0.1)}, pairs, tempered=pairs[:1])
    assert [(line.first, line.tempered) for line in with_it] == [("phi", False), ("phi", True), ("noise", False)]
    assert [set(line.gaps) for line in with_it[:2]] == [{"accuracy", "nll", "ece"}, {"nll", "ece"}]
    assert with_it[1].words == {"nll": "undecided", "ece": "undecided"}
    assert len(with_it[0].rows) == 10


def test_what_follows_is_said_by_score() -> None:
    lines = advice.compared({"s": part(0.1, 0.0)}, [("phi", "none"), ("noise", "none")])
    assert advice.so(lines[0]) == "phi for accuracy and nll, no perturbation for ECE"
    assert advice.so(lines[1]) == "undecided"
    first = advice.cells(lines)[0]
    assert first["comparison"] == "phi against no perturbation" and "setting" not in first
    assert first["accuracy, points"].endswith("ahead") and first["ECE, points"].startswith("20.0 [")
    (worse,) = advice.compared({"s": part(-0.1, 0.0)}, [("phi", "none")])
    assert advice.so(worse) == "no perturbation for accuracy and nll and ECE"
    assert advice.cells([worse])[0]["accuracy, points"].startswith(MINUS)
    assert advice.told(lines)[::2] == [
        "In accuracy, of 1 comparisons phi is ahead in 1 (no perturbation), behind in 0, undecided in 0.",
        "In ECE, of 1 comparisons phi is ahead in 0, behind in 1 (no perturbation), undecided in 0.",
    ]
    two = advice.compared({"s": part(0.1, 0.0), "t": part(-0.1, 0.0)}, [("phi", "none")])
    assert [line["setting"] for line in advice.cells(two)] == ["s", "t"]
    assert "ahead in 1 (no perturbation, s), behind in 1 (no perturbation, t)" in advice.told(two)[0]
