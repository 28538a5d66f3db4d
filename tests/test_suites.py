"""The suites are cut into units, one for each row of a store."""

from __future__ import annotations

import pytest

from mplib.benchmark.suites import SUITES, Scope, units
from mplib.errors import MplibError
from mplib.runs import run_key

TINY = Scope(("conv4",), (2,), 16, 4, 3, "cpu", budget=1e-6)


@pytest.mark.parametrize("suite", [suite for suite in SUITES if suite not in ("growth", "bars")])
def test_a_unit_gives_rows_that_a_store_can_keep(suite: str) -> None:
    for unit in units(suite, TINY):
        result = unit.result("cpu")
        run_key({**unit.config, **result})
        assert result["rows"] and result["machine"]["threads"] >= 1
        assert unit.config["suite"] == suite and unit.config["device"].startswith("cpu")


def test_all_is_every_suite_and_no_two_units_share_a_row() -> None:
    found = list(units("all", Scope(batch_sizes=(64, 128), device="cpu")))
    assert list(dict.fromkeys(unit.config["suite"] for unit in found)) == list(SUITES)
    assert len({run_key(unit.config) for unit in found}) == len(found)


@pytest.mark.parametrize(
    ("suite", "scope", "message"),
    [
        ("step", TINY, "unknown suite 'step', did you mean 'steps'"),
        ("steps", Scope(nets=()), "at least one network"),
        ("bars", Scope(budget=0.0), "a budget above 0 minutes"),
        ("steps", Scope(against="/nowhere"), "expected a checkout of the authors' repository"),
    ],
)
def test_refuses_what_cannot_be(suite: str, scope: Scope, message: str) -> None:
    with pytest.raises(MplibError, match=message):
        list(units(suite, scope))
