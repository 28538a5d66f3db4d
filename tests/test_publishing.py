from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mplib import MplibError
from mplib.experiments import Transfer, compare, fingerprint
from mplib.reproduction.publishing import effects, publish
from mplib.reproduction.scales import find_scale
from mplib.reproduction.workshop import Workshop
from mplib.runs import RunStore
from mplib.stats import paired_interval
from tests.toys import toy_data, toy_phi


def test_effects_are_paired_by_seed_and_setting(tmp_path: Path) -> None:
    store, short = RunStore(tmp_path), Transfer("none", width=4, steps=2, batch_size=8, samples=1)
    ours, theirs = toy_phi(1), toy_phi(2)
    runs = [replace(short, method=method, seed=seed) for seed in (0, 1) for method in ("none", "phi", "noise")]
    rows = compare(runs, toy_data(), ours, store, device="cpu")
    compare([replace(short, method="phi", seed=seed) for seed in (0, 1)], toy_data(), theirs, store, device="cpu")
    compare([replace(short, steps=3, seed=seed) for seed in (0, 1)], toy_data(), ours, store, device="cpu")
    found = effects(store.rows(), fingerprint(ours), fingerprint(theirs))
    assert [effect["against"] for effect in found["effects"]] == ["none", "noise", "the authors' phi"]
    effect = found["effects"][0]
    nll = {
        method: [row["result"]["nll"] for row in rows if row["config"]["method"] == method]
        for method in ("phi", "none")
    }
    expected = paired_interval(nll["phi"], nll["none"])
    assert effect["nll"] == {"mean": expected.mean, "low": expected.low, "high": expected.high}
    assert len(found["rows"]) == 8 and effect["steps"] == 2 and effect["n"] == 2 and not effect["finetuned"]


def test_an_unfinished_suite_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(MplibError, match="is not finished, expected all of its phis"):
        publish(Workshop(tmp_path / "rows", find_scale("toy"), "cpu"), tmp_path / "there")
    assert not (tmp_path / "there").exists()
