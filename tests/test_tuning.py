from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from mplib import MplibError
from mplib.experiments import Transfer, compare
from mplib.regularizers import find
from mplib.runs import Row, RunStore
from mplib.tuning import tune
from tests.toys import toy_data, toy_phi

COMMON = Transfer("none", width=4, per_class=4, steps=3, batch_size=8, samples=1)


def test_the_best_try_is_chosen_on_images_left_out(tmp_path: Path) -> None:
    def run(transfers: Sequence[Transfer]) -> list[Row]:
        return compare(transfers, toy_data(), toy_phi(), RunStore(tmp_path), device="cpu")

    options, rows = tune("dropout", COMMON, run, tries=2, seeds=(5, 6))
    assert [(row["config"]["options"]["rate"], row["config"]["seed"]) for row in rows] == [
        (0.1, 5), (0.1, 6), (0.2, 5), (0.2, 6)
    ]  # fmt: skip
    assert all(row["config"]["tuning"] and row["result"]["n"] == 48 - 12 for row in rows)
    means = [sum(row["result"]["accuracy"] for row in rows[k : k + 2]) for k in (0, 2)]
    assert options == find("dropout").tries[means.index(max(means))]


def test_a_method_without_settings_is_not_run() -> None:
    def refuse(transfers: Sequence[Transfer]) -> list[Row]:
        raise AssertionError

    assert tune("phi", COMMON, refuse) == ({}, [])
    with pytest.raises(MplibError, match="tries is 4, expected from 1 to the 3"):
        tune("dropout", COMMON, refuse, tries=4)
