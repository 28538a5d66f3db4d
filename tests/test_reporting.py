from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from mplib.reproduction.declarations import Wanted, units
from mplib.reproduction.reporting import report, write_results
from mplib.reproduction.scales import find_scale
from mplib.reproduction.workshop import Workshop
from mplib.stats import interval_text, mean_interval, paired_interval

TOY = replace(find_scale("toy"), steps=1, test_images=20)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    made = Workshop(tmp_path_factory.mktemp("report"), TOY, "cpu")
    for unit in units(["datasets"], TOY, Wanted(methods=["none", "phi", "dropout"], data=["digits"])):
        made.make(unit)
    return made


def test_means_and_differences_are_those_of_the_rows(shop: Workshop) -> None:
    lines = "\n".join(report(units(["datasets"], TOY, Wanted(methods=["none", "phi", "dropout"])), shop))
    score = {
        method: [
            row["result"]["nll"] for row in sorted(shop.store.rows(method=method), key=lambda r: r["config"]["seed"])
        ]
        for method in ("none", "phi", "dropout")
    }
    for method in score:
        assert f"nll, nats {interval_text(mean_interval(score[method]), 3)}" in lines
    for method in ("phi", "dropout"):
        difference = interval_text(paired_interval(score[method], score["none"]), 3, sign="+")
        assert f"{method} - none: " in lines and f"nll, nats {difference}" in lines
    assert "mnist5k" not in lines and "dropout - untrained" not in lines


def test_only_seeds_that_both_have_are_paired(shop: Workshop) -> None:
    """One more seed of one method, as a stopped suite has it, leaves the difference as it was."""
    wanted = Wanted(methods=["none", "phi"], data=["digits"])
    before = [line for line in report(units(["datasets"], TOY, wanted), shop) if "phi - none" in line]
    three = Wanted(methods=["none", "phi"], data=["digits"], seeds=[0, 1, 2])
    shop.make(units(["datasets"], TOY, Wanted(methods=["none"], data=["digits"], seeds=[2]))[0])
    assert [line for line in report(units(["datasets"], TOY, three), shop) if "phi - none" in line] == before


def test_the_table_has_a_line_for_each_row_and_cells_only(shop: Workshop) -> None:
    table = pd.read_csv(write_results(shop))
    assert len(table) == len(shop.store.rows()) and "history" not in table and "site_moments" not in table
