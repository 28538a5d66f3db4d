from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mplib import MetaPerturb, MplibError, meta_train
from mplib.data import split_tasks
from mplib.experiments import fingerprint
from mplib.reproduction.phis import Phis, Unfinished, phi_of
from mplib.reproduction.scales import find_scale
from mplib.runs import RunStore
from tests.toys import flat, toy_data

CPU = torch.device("cpu")
SCALE = replace(find_scale("toy"), tasks=2, classes_per_group=3, meta_steps=2)
SOURCE = toy_data()


def phis(folder: Path, scale: Any = SCALE) -> Phis:
    return Phis(folder, RunStore(folder / "runs"), scale)


def test_a_phi_is_learned_once_and_its_row_holds_it(tmp_path: Path) -> None:
    row, phi = phis(tmp_path).make(SOURCE, 0, None, CPU)
    tasks = split_tasks(SOURCE, 2, classes_per_group=3)
    run = meta_train(tasks, "conv4", width=4, steps=2, batch_size=8, seed=0, device="cpu")
    assert torch.equal(flat(phi), flat(run.phi)) and torch.equal(flat(phi_of(row)), flat(phi))
    assert row["result"]["phi"] == fingerprint(phi) and len(row["result"]["history"]) == 2
    assert sorted(path.name for path in (tmp_path / "meta" / "seed-0").iterdir()) == ["history.csv", "phi.safetensors"]
    again, _ = phis(tmp_path).make(SOURCE, 0, None, CPU)
    assert again == row
    elsewhere = phis(tmp_path / "elsewhere")
    RunStore(tmp_path / "elsewhere" / "runs").add(row)
    _, same = elsewhere.make(SOURCE, 0, None, CPU)
    assert torch.equal(flat(same), flat(phi)) and elsewhere.begun


def test_a_finished_file_of_the_same_settings_is_taken_over(tmp_path: Path) -> None:
    """As `mplib meta-train` writes it, or a script."""
    tasks = split_tasks(SOURCE, 2)
    run = meta_train(tasks, "conv4", width=4, steps=2, batch_size=8, seed=0, device="cpu")
    run.phi.save(tmp_path / "meta" / "seed-0" / "phi.safetensors")
    row, phi = phis(tmp_path).make(SOURCE, 0, None, CPU)
    assert row["environment"]["taken_over"] and row["seconds"] == 0.0 and row["result"]["history"] == []
    assert torch.equal(flat(phi), flat(run.phi))


@pytest.mark.parametrize("change", [{"meta_steps": 3}, {"batch_size": 4}, {"width": 8}])
def test_a_file_of_other_settings_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    phis(tmp_path).make(SOURCE, 0, None, CPU)
    with pytest.raises(MplibError, match="was learned with other settings"):
        phis(tmp_path, replace(SCALE, **change)).make(SOURCE, 0, None, CPU)


def test_a_file_of_other_images_is_refused(tmp_path: Path) -> None:
    phis(tmp_path).make(SOURCE, 0, None, CPU)
    with pytest.raises(MplibError, match="images"):
        phis(tmp_path).make(toy_data(n=51), 0, None, CPU)


def test_the_rule_is_applied_to_rows_and_an_unfinished_suite_says_so(tmp_path: Path) -> None:
    shelf = phis(tmp_path)
    assert shelf.chosen() is None and not shelf.begun
    for seed in (0, 1):
        shelf.make(SOURCE, seed, None, CPU)
    with pytest.raises(Unfinished, match="the suite meta in .* is not finished"):
        shelf.chosen()
    rows = {
        seed: [{"key": f"{seed}", "result": {"accuracy": accuracy, "nll": 1.0}}]
        for seed, accuracy in ((0, 0.1), (1, 0.3))
    }
    assert shelf.choose(rows) == 1
    chosen = shelf.chosen()
    assert chosen is not None and chosen[1] == 1
    assert torch.equal(flat(chosen[0]), flat(MetaPerturb.load(tmp_path / "meta" / "seed-1" / "phi.safetensors")))


def test_phis_of_fewer_tasks_have_a_place_of_their_own(tmp_path: Path) -> None:
    shelf = phis(tmp_path)
    assert shelf.place(3).name == shelf.place(3, SCALE.tasks).name == "seed-3"
    assert shelf.place(3, 4).name == "tasks-4-seed-3"
