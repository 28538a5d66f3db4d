"""The claims file: what is right is read, each thing that is wrong gets its sentence."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpbook import claims
from mpbook.claims import UNDECIDED, UNTESTABLE, Rule
from mplib.errors import MplibError

BOOK = Path(__file__).resolve().parent.parent / "book"
CLAIMS = claims.load(BOOK / "claims.yml")
BEFORE = claims.load(BOOK / "claims_before_review.yml")
ENTRY: dict[str, Any] = {
    "id": "tasks",
    "claim": "it carries over",
    "where": "abstract",
    "chapter": "one",
    "experiment": "phi against none",
    "measure": {
        "kind": "comparison",
        "stores": ["old", "new"],
        "score": "accuracy",
        "first": {"method": "phi"},
        "against": {"none": {"method": "none"}},
        "spread": "data",
    },
    "words": "reproduced above zero",
    "enough": {"five pairs": "none.n >= 5"},
    "rules": {"reproduced": "none.low > 0", "not reproduced": "none.high < 0"},
}


def _load(folder: Path, change: Callable[[dict[str, Any]], object] = lambda entry: None) -> list[claims.Claim]:
    entry = copy.deepcopy(ENTRY)
    change(entry)
    path = folder / "claims.yml"
    path.write_text(json.dumps({"margin": 0.5, "known": {"old": {"steps": 1}}, "claims": [entry]}))
    return claims.load(path)


def test_the_book_has_rules_for_every_claim_of_the_design_and_no_figure_of_the_paper() -> None:
    assert len(CLAIMS) >= 12
    assert {claim.where for claim in CLAIMS} == {"abstract", "supplement", "asked by us"}
    assert claims.figures(BOOK / "paper_figures.yml", CLAIMS) == {}


def test_the_first_rule_that_holds_decides(tmp_path: Path) -> None:
    (claim,) = _load(tmp_path)
    assert claim.known == {"old": {"steps": 1}}
    assert claim.margin == 0.5
    assert claim.missing({"none": {"n": 4}}) == ["five pairs"]
    for low, high, n, verdict in [
        (0.1, 0.2, 5, "reproduced"),
        (-0.2, -0.1, 5, "not reproduced"),
        (-0.1, 0.1, 5, UNDECIDED),
        (0.1, 0.2, 4, UNTESTABLE),
        (float("nan"), float("nan"), 0, UNTESTABLE),
        (float("nan"), float("nan"), 5, UNDECIDED),
    ]:
        assert claim.verdict({"none": {"low": low, "high": high, "n": n}}) == verdict


@given(st.floats(-10, 10), st.floats(0, 10))
def test_a_gain_below_zero_is_never_reproduced_and_one_above_the_margin_never_refused(low: float, width: float) -> None:
    """For the rules of effect in the book, where every opponent has the same interval."""
    numbers: dict[str, Any] = dict.fromkeys(claims.COUNT_NAMES, 9) | {"margin": 0.5, "stronger": 0}
    interval = {"mean": low + width / 2, "low": low, "high": low + width, "n": 9, "tasks": 3}
    for claim in CLAIMS:
        if claim.measure["kind"] != "comparison" or claim.id in ("regularisers", "hyperparameters", "robustness"):
            continue
        for other in (*claim.measure["against"], *claim.measure["controls"]):
            numbers[other] = interval
        numbers |= {"premise": {**interval, "low": 1.0}, "draws": 100}
        verdict = claim.verdict(numbers)
        assert (verdict == "reproduced") == (low > 0)
        assert (verdict == "not reproduced") == (low <= 0 and low + width < 0.5)


def test_the_rules_before_the_review_are_kept_and_say_the_same_claims() -> None:
    assert {claim.id for claim in BEFORE} <= {claim.id for claim in CLAIMS}
    assert all(claim.margin == 0 for claim in BEFORE)
    assert {store for claim in BEFORE for store in claim.known} == {"transfer"}
    assert any("partly" in claim.rules for claim in BEFORE)
    assert not any("partly" in claim.rules for claim in CLAIMS)


def test_every_claim_of_effect_has_every_control() -> None:
    for claim in CLAIMS:
        if claim.measure["kind"] == "comparison" and claim.id != "hyperparameters":
            against = {*claim.measure["against"], *claim.measure["controls"]}
            assert {"none", "untrained", "noise", "softplus_noise"} <= against
            assert any(rule.names() & {"fitted"} for rule in claim.enough.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.pop("words"), "the claim 'tasks' has .*, expected id, claim"),
        (lambda e: e["measure"].update(kind="guess"), "unknown kind of measure in the claim 'tasks': 'guess'"),
        (lambda e: e["measure"].pop("score"), "the measure of the claim 'tasks' has"),
        (lambda e: e["measure"].update(score="luck"), "unknown score in the claim 'tasks': 'luck'"),
        (lambda e: e.update(rules={}), "has no rules"),
        (lambda e: e.update(rules={"proved": "none.low > 0"}), "unknown verdict in the claim 'tasks': 'proved'"),
        (
            lambda e: e.update(enough={"somebody": "nobody.n > 1"}),
            "unknown name in the rule 'nobody.n > 1'.*'nobody.n'",
        ),
        (lambda e: e["measure"].update(premises={}), "the measure of the claim 'tasks' has"),
        (lambda e: e["rules"].update(partly="none.lwo > 0"), "did you mean 'none.low'"),
        (lambda e: e["rules"].update(partly="none.low >"), "cannot be read"),
        (lambda e: e["rules"].update(partly="none.low + 1"), "neither true nor false"),
        (lambda e: e["rules"].update(partly="none.low > 'a'"), "holds a Constant"),
        (lambda e: e["rules"].update(partly="[1] > [0]"), "holds a List"),
    ],
)
def test_refuses(tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str) -> None:
    with pytest.raises(MplibError, match=message):
        _load(tmp_path, change)


def test_refuses_a_file_that_is_no_list_and_an_id_twice(tmp_path: Path) -> None:
    path = tmp_path / "claims.yml"
    path.write_text("claims: []")
    with pytest.raises(MplibError, match="has no list of claims"):
        claims.load(path)
    path.write_text(json.dumps({"margin": 0.5, "known": {}, "claims": [ENTRY, ENTRY]}))
    with pytest.raises(MplibError, match="two claims with the id 'tasks'"):
        claims.load(path)


def test_names_of_a_rule() -> None:
    assert Rule("none.low > 0 and tests >= -2 / 3").names() == {"none.low", "tests"}


def test_figures_of_the_paper_that_a_reader_enters(tmp_path: Path) -> None:
    found, path = _load(tmp_path), tmp_path / "paper_figures.yml"
    entry = {"claim": "tasks", "place": "Table 9", "setting": "any", "value": 1.5, "interval": None, "read_by": "A"}
    path.write_text(json.dumps({"figures": [entry, {**entry, "interval": 0.5}]}))
    one, two = claims.figures(path, found)["tasks"]
    assert str(one) == "1.5 (Table 9, any; entered by A)"
    assert str(two).startswith("1.5 ± 0.5 (")
    for wrong, message in [
        ({**entry, "claim": "task"}, "unknown claim 'task', did you mean 'tasks'"),
        ({**entry, "value": "1.5"}, "gives tasks the value '1.5'"),
        ({"claim": "tasks"}, "an entry of paper_figures.yml has claim, expected claim, place"),
    ]:
        path.write_text(json.dumps({"figures": [wrong]}))
        with pytest.raises(MplibError, match=message):
            claims.figures(path, found)
    path.write_text("")
    with pytest.raises(MplibError, match="has no list of figures"):
        claims.figures(path, found)
