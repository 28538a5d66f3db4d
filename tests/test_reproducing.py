"""The rehearsal: every suite at toy size, stopped, resumed, killed, merged, dry, and published."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

from mplib import MetaPerturb, MplibError
from mplib.cli import main
from mplib.data import describe
from mplib.reproduction import schedule
from mplib.reproduction.declarations import SUITES, Wanted, units
from mplib.reproduction.scales import find_scale
from mplib.reproduction.workshop import Workshop
from mplib.runs import RunStore

ALL = ",".join(SUITES)
TOY = ["--scale", "toy", "--device", "cpu", "--quiet"]
ABLATION = len(units(["ablation"], find_scale("toy"), Wanted(seeds=[0])))


def results(folder: Path) -> dict[str, object]:
    return {row["key"]: row["result"] for row in RunStore(folder / "runs").rows()}


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All suites with one seed."""
    folder = tmp_path_factory.mktemp("rehearsed") / "rows"
    assert main(["reproduce", ALL, "--budget", "30", "--seeds", "0", "--out", str(folder), *TOY]) == 0
    return folder


@pytest.mark.slow
def test_every_suite_makes_its_rows_and_again_makes_none(rehearsed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = RunStore(rehearsed / "runs")
    assert not store.verify()
    kinds = {row["config"]["experiment"] for row in store.rows()}
    assert kinds == {"meta", "transfer", "calibration", "attack"}
    before = {path: path.stat().st_mtime_ns for path in store.folder.iterdir()}
    assert main(["reproduce", ALL, "--budget", "30", "--seeds", "0", "--out", str(rehearsed), *TOY]) == 0
    out = capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in store.folder.iterdir()} == before
    assert "made 0, found" in out and "failed 0, left 0" in out
    assert all(f"\n{suite}: " in out for suite in SUITES)
    assert "phi - none: accuracy" in out and "phi - untrained" in out and "phi - noise" in out
    table = pd.read_csv(rehearsed / "results.csv")
    assert len(table) == len(before) and {"method", "accuracy", "seconds"} <= set(table)
    assert not list((rehearsed / "checkpoints").iterdir())


@pytest.mark.slow
def test_the_rule_chooses_and_the_choice_is_used(rehearsed: Path, tmp_path: Path) -> None:
    choice = json.loads((rehearsed / "meta" / "chosen.json").read_text())
    assert set(choice["rows"]) == {"0", "1"} and all(len(keys) == 3 for keys in choice["rows"].values())
    best = max(choice["mean_accuracy"].values())
    assert best - choice["mean_accuracy"][str(choice["seed"])] < 0.005
    used = {row["config"]["phi"] for row in RunStore(rehearsed / "runs").rows(method="phi", per_class=None)
            if row["config"]["experiment"] == "transfer"}  # fmt: skip
    assert choice["phi"] in used
    folder = tmp_path / "published"
    assert main(["reproduce", "meta", "--publish", str(folder), "--out", str(rehearsed), *TOY]) == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        f"photos-{seed}.{ending}" for seed in (0, 1) for ending in ("json", "safetensors")
    ]
    card = json.loads((folder / f"photos-{choice['seed']}.json").read_text())
    assert card["selection"]["chosen"] and card["selection"]["images"] == "photos[selection]"
    assert MetaPerturb.load(folder / "photos-0.safetensors").provenance["seed"] == 0


@pytest.mark.slow
def test_two_halves_merged_are_the_whole(rehearsed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One machine has the rows of meta, another all others; neither has the files of the other."""
    whole = RunStore(rehearsed / "runs")
    for row in whole.rows():
        half = "first" if row["config"]["experiment"] == "meta" or row["config"].get("tuning") else "second"
        RunStore(tmp_path / half).add(row)
    merged = tmp_path / "merged"
    assert main(["runs", "merge", str(merged / "runs"), str(tmp_path / "first"), str(tmp_path / "second")]) == 0
    assert "of them new" in capsys.readouterr().out
    words = ["--budget", "30", "--seeds", "0", "--out", str(merged), *TOY]
    assert main(["reproduce", "meta,datasets,ablation,tasks", *words]) == 0
    assert "made 0, found" in capsys.readouterr().out  # the phis are in the rows
    assert results(merged) == results(rehearsed)
    chosen = "meta/chosen.safetensors"
    ours, theirs = (MetaPerturb.load(folder / chosen).state_dict() for folder in (merged, rehearsed))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slow
def test_killed_in_the_middle_nothing_is_lost(rehearsed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "rows"
    shutil.copytree(rehearsed / "meta", folder / "meta")
    whole = Workshop.make
    made = []

    def killed(shop: Workshop, unit: object) -> object:
        made.append(unit)
        if len(made) == 3:
            raise KeyboardInterrupt
        return whole(shop, unit)  # type: ignore[arg-type]

    monkeypatch.setattr(Workshop, "make", killed)
    words = ["reproduce", "ablation", "--budget", "30", "--seeds", "0", "--out", str(folder), *TOY]
    assert main(words) == 130
    assert len(results(folder)) == 2
    monkeypatch.undo()
    assert main(words) == 0
    known = results(rehearsed)
    assert len(results(folder)) == ABLATION > 2 and all(known[key] == result for key, result in results(folder).items())


def test_stopped_in_its_budget_it_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["reproduce", "ablation", "--phi", "pretrained", "--seeds", "0", "--out", str(tmp_path / "rows"), *TOY]
    whole, made = Workshop.make, []

    def two(shop: Workshop, unit: object) -> object:
        if len(made) == 2:
            raise schedule.OutOfTime
        made.append(unit)
        return whole(shop, unit)  # type: ignore[arg-type]

    monkeypatch.setattr(Workshop, "make", two)
    assert main([*words, "--budget", "5"]) == 0
    out = capsys.readouterr().out
    assert f"made 2, found 0, failed 0, left {ABLATION - 2}" in out and "it goes on with" in out
    again = out.strip().splitlines()[-1].split()
    assert again[:3] == ["mplib", "reproduce", "ablation"] and "--budget" in again
    monkeypatch.undo()
    assert main([*again[1:], "--quiet"]) == 0
    assert f"made {ABLATION - 2}, found 2, failed 0, left 0" in capsys.readouterr().out


def test_seeds_side_by_side_give_the_same_rows(tmp_path: Path) -> None:
    words = ["--phi", "pretrained", "--methods", "none,phi,noise", "--data", "digits", "--budget", "5", *TOY]
    assert main(["reproduce", "datasets", "--out", str(tmp_path / "one"), *words]) == 0
    assert main(["reproduce", "datasets", "--out", str(tmp_path / "two"), "--together", *words]) == 0
    assert results(tmp_path / "one") == results(tmp_path / "two") and len(results(tmp_path / "one")) == 6
    assert {row["environment"]["together"] for row in RunStore(tmp_path / "two" / "runs").rows()} == {2}


def test_dry_run_prints_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["reproduce", ALL, "--dry-run", "--out", str(tmp_path / "rows")]
    assert main([*words, "--scale", "toy", "--device", "cuda"]) == 0
    out = capsys.readouterr().out
    found = units(list(SUITES), find_scale("toy"), together=True)
    assert all(str(unit) in out for unit in found) and f"{len(found)} units, 0 made" in out
    assert out.count("guess") == len(found) and "MiB" in out and not list(tmp_path.iterdir())


def test_dry_run_of_the_paper_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLIB_DATA", str(tmp_path / "empty"))
    assert main(["reproduce", "datasets", "--dry-run", "--out", str(tmp_path / "rows"), "--device", "cuda"]) == 0
    out = capsys.readouterr().out
    assert "not at hand, left out: stl10: mplib data get stl10 downloads it" in out
    assert re.search(r"35 units|56 units", out)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["meat", "--budget", "1"], "unknown suite 'meat', did you mean 'meta'"),
        (["meta", "--budget", "0"], "--budget is 0.0, expected minutes above 0"),
        (["meta"], "--budget is None, expected minutes above 0"),
        (["ablation", "--budget", "1", "--phi", "nowhere"], "there is no file nowhere"),
        (["datasets", "--budget", "1", "--methods", "fi"], "unknown method 'fi'"),
        (["datasets", "--budget", "1", "--data", "digit"], "unknown data set 'digit'"),
        (["datasets", "--budget", "1", "--data", "cub200"], "none of the data sets of datasets is at hand"),
        (["meta", "--budget", "1", "--steps", "0"], "--steps is 0, expected at least 1"),
        (["meta", "--dry-run", "--known", "nowhere"], "--known is nowhere, where there is no folder"),
        (["meta", "--publish", "{tmp}/there"], "is not finished"),
    ],
)
def test_bad_input_gets_one_sentence(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLIB_DATA", str(tmp_path / "empty"))
    words = [word.format(tmp=tmp_path) for word in words]
    assert main(["reproduce", *words, "--out", str(tmp_path / "rows"), *TOY]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mplib: ") and message in error and error.count("\n") == 1


def test_suite_and_folder_are_needed_but_for_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce"]) == 2 and "no suite is given" in capsys.readouterr().err
    assert main(["reproduce", "meta"]) == 2 and "no --out is given" in capsys.readouterr().err
    assert main(["reproduce", "--plan"]) == 0 and "python -m mplib reproduce meta" in capsys.readouterr().out


REAL = ["--steps", "2", "--samples", "1", "--test-images", "100", "--budget", "20", "--device", "cpu", "--quiet"]


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize("data", ["s-cifar100", "stanford_cars"])
def test_one_run_of_each_protocol_on_real_images(data: str, tmp_path: Path) -> None:
    if not describe(data).present:
        pytest.skip(f"{data} is not in MPLIB_DATA")
    words = ["--phi", "pretrained", "--methods", "phi", "--seeds", "0", "--data", data, "--out", str(tmp_path / "rows")]
    assert main(["reproduce", "datasets", *words, *REAL]) == 0
    (row,) = RunStore(tmp_path / "rows" / "runs").rows()
    assert row["config"]["net"] == "resnet20" and row["result"]["n"] <= 100


@pytest.mark.realdata
@pytest.mark.slow
def test_two_steps_of_meta_training_on_real_images(tmp_path: Path) -> None:
    scale = find_scale("small")
    if not describe(scale.source).present:
        pytest.skip("tiny_imagenet is not in MPLIB_DATA")
    assert main(["reproduce", "meta", "--scale", "small", "--out", str(tmp_path / "rows"), *REAL]) == 0
    phis = RunStore(tmp_path / "rows" / "runs").rows(experiment="meta")
    assert [row["config"]["tasks"] for row in phis] == [10] * 5
    with pytest.raises(MplibError, match="learned with other settings"):
        shop = Workshop(tmp_path / "rows", scale, "cpu")  # 750 steps, not 2
        shop.make(units(["meta"], scale)[0])
