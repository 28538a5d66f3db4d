from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from mplib.cli import main
from mplib.experiments import METHODS
from mplib.regularizers import names

TINY = ["--image-size", "16", "--width", "4", "--steps", "2", "--batch-size", "16", "--device", "cpu", "--quiet"]


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("meta") / "out"
    words = ["meta-train", "--data", "digits", "--tasks", "2", "--net", "conv4", *TINY, "--out", str(folder)]
    assert main(words) == 0
    return folder


@pytest.fixture(scope="module")
def moved(learned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transfer") / "out"
    words = ["transfer", "--data", "digits", "--per-class", "2", "--phi", str(learned / "phi.safetensors")]
    assert main([*words, "--seeds", "0,1", "--samples", "2", *TINY, "--out", str(folder)]) == 0
    return folder


def test_meta_train_writes_a_phi_and_its_history(learned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(pd.read_csv(learned / "history.csv")["step"]) == [1, 2]
    assert json.loads((learned / "command.json").read_text())["steps"] == 2
    assert main(["info", str(learned / "phi.safetensors")]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["parameters"] == 82 and record["provenance"]["tasks"] == 2


def test_transfer_compares_methods_over_seeds(moved: Path) -> None:
    results = pd.read_csv(moved / "results.csv")
    assert len(results) == 2 * len(METHODS) and set(results["method"]) == set(METHODS)
    assert len(list((moved / "networks").glob("*.safetensors"))) == 2 * len(METHODS)


def test_resume_repeats_nothing(moved: Path, learned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in (moved / "runs").iterdir()}
    words = ["transfer", "--data", "digits", "--per-class", "2", "--phi", str(learned / "phi.safetensors")]
    assert main([*words, "--seeds", "0,1", "--samples", "2", *TINY, "--out", str(moved)]) == 2
    assert "is not empty, expected a new folder, or --resume" in capsys.readouterr().err
    assert main([*words, "--seeds", "0,1", "--samples", "2", *TINY, "--out", str(moved), "--resume"]) == 0
    assert {path: path.stat().st_mtime_ns for path in (moved / "runs").iterdir()} == before
    out = capsys.readouterr().out
    assert "phi" in out and "n=2 seeds" in out


def test_evaluate_scores_a_saved_network(moved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = next((moved / "networks").glob("*.safetensors"))
    assert main(["evaluate", str(network), "--data", "digits", "--samples", "2", "--device", "cpu"]) == 0
    printed = json.loads(capsys.readouterr().out)
    out = tmp_path / "scores.json"
    assert (
        main(["evaluate", str(network), "--data", "digits", "--samples", "2", "--device", "cpu", "--out", str(out)])
        == 0
    )
    assert json.loads(out.read_text())["nll"] == printed["nll"]
    for file in (moved / "networks").glob("*.safetensors"):  # plain ones and attached ones
        assert main(["info", str(file)]) == 0
        assert json.loads(capsys.readouterr().out)["name"] == "conv4"


def test_attack_scores_a_saved_network_for_each_radius(moved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = sorted((moved / "networks").glob("*.safetensors"))[:2]
    words = ["--data", "digits", "--eps", "0.01,8/255", "--steps", "2", "--eot", "2", "--images", "20"]
    assert main(["attack", str(first), *words, "--samples", "2", "--device", "cpu", "--surrogate", str(second)]) == 0
    rows = json.loads(capsys.readouterr().out)["attacks"]
    assert [row["eps"] for row in rows] == [0.01, 8 / 255]
    assert all(row["n"] == 20 and row["transferred"] and row["accuracy"] <= row["clean"] for row in rows)
    assert main(["attack", str(first), "--data", "digits", "--norm", "l7", "--device", "cpu"]) == 2
    assert "unknown norm 'l7'" in capsys.readouterr().err


@pytest.mark.parametrize("eps", ["much", "8/0", "1/2/3", ","])
def test_a_radius_has_to_be_a_number(eps: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["attack", "network", "--data", "digits", "--eps", eps])
    assert stopped.value.code == 2 and "--eps" in capsys.readouterr().err


def test_bench_prints_ratios_and_keeps_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "--net", "conv4", "--width", "4", "--image-size", "16", "--batch-sizes", "2,4", "--turns", "3"]
    words += ["--device", "cpu", "--out", str(tmp_path / "rows")]
    assert main(words) == 0
    assert "meta-training" in capsys.readouterr().out
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "rows").iterdir()}
    rows = [json.loads(path.read_text()) for path in kept]
    assert sorted(row["config"]["batch_size"] for row in rows) == [2, 4]
    assert all(row["environment"]["device"].startswith("cpu") for row in rows)
    assert main(words) == 2 and main([*words, "--resume"]) == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_data_is_listed_and_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in ("photos", "mnist5k", "digits", "cifar100", "s-cifar100"))
    assert main(["data", "get", "digits", "--image-size", "8"]) == 0
    assert "10 classes" in capsys.readouterr().out


def test_info_names_versions_networks_and_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert "resnet20" in record["networks"] and "torch" in record and "mnist5k" in record["data"]


OUT = ["--out", "{tmp}/out"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["transfer", "--data", "mnist", *OUT], "unknown data set 'mnist'"),
        (["transfer", "--data", "digits", "--net", "conv5", *TINY, *OUT], "unknown network 'conv5'"),
        (["transfer", "--data", "digits", "--methods", "fi", *TINY, *OUT], "unknown method 'fi'"),
        (["transfer", "--data", "digits", "--steps", "0", *OUT], "steps is 0"),
        (["transfer", "--methods", "none", "--set", "dropout.rate=0.1", *OUT], "--set names 'dropout'"),
        (["transfer", "--methods", "dropout", "--set", "dropout.rate=2", *OUT], "dropout.rate is 2.0, expected from"),
        (["transfer", "--methods", "dropout", "--tries", "4", "--per-class", "2", *OUT], "tries is 4"),
        (["transfer", "--data", "digits", "--phi", "nowhere", *OUT], "there is no file nowhere"),
        (["transfer", "--data", "digits", "--per-class", "9999", *OUT], "per_class is 9999"),
        (["meta-train", "--data", "digits", "--tasks", "3", *TINY, *OUT], "n_tasks is 3"),
        (["meta-train", "--data", "digits", "--tasks", "40", *TINY, *OUT], "n_tasks is 40"),
        (["meta-train", "--data", "digits", "--image-size", "0", *OUT], "image_size is 0"),
        (["meta-train", "--data", "digits", *TINY, "--out", "{tmp}/file"], "which is a file"),
        (["evaluate", "{tmp}/file", "--data", "digits"], "not a whole safetensors file"),
        (["info", "{tmp}/file"], "not a whole safetensors file"),
        (["data", "get", "nothing"], "unknown data set 'nothing'"),
        (["bench", "--suite", "speed", *OUT], "unknown suite 'speed'"),
        (["bench", "--turns", "2", "--device", "cpu"], "turns is 2"),
        (["bench", "--against", "{tmp}"], "expected a checkout of the authors' repository"),
    ],
)
def test_bad_input_gets_one_sentence_and_exit_code_2(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a checkpoint")
    assert main([word.format(tmp=tmp_path) for word in words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mplib: ") and message in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["file"]


def test_settings_are_tried_on_images_left_out_or_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["transfer", "--data", "digits", "--per-class", "2", "--seeds", "0", "--samples", "1", *TINY]
    grid = ["--methods", "none,dropout,dropblock", "--set", "dropblock.rate=0.1,0.2", "--set", "dropblock.block=2,3"]
    out = tmp_path / "tuned"
    assert main([*words, *grid, "--tries", "2", "--label-noise", "0.5", "--out", str(out)]) == 0
    results = pd.read_csv(out / "results.csv")
    assert sorted(results["method"]) == ["dropblock"] * 4 + ["dropout", "none"]
    assert set(results["label_noise"]) == {0.5}
    tried = pd.read_csv(out / "tuning.csv")  # dropblock was told what to be, so only dropout is tuned
    assert list(tried["method"]) == ["dropout"] * 2 and all(tried["tuning"])
    assert "rate=0.2" in capsys.readouterr().out


def test_all_methods_of_a_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["transfer", "--data", "digits", "--per-class", "2", "--seeds", "0", "--samples", "1", *TINY]
    out = tmp_path / "all"
    assert main([*words, "--methods", "all", "--out", str(out)]) == 0
    known = [name for name in names() if name not in ("doctest", "stochastic_depth")]
    assert list(pd.read_csv(out / "results.csv")["method"]) == known
    assert max(path.stat().st_size for path in (out / "runs").iterdir()) <= 4096
    with pytest.raises(SystemExit, match="0"):
        main(["transfer", "--list-methods"])
    listed = capsys.readouterr().out
    assert all(name in listed for name in ("stochastic_depth", "manifold_mixup"))


@pytest.mark.parametrize(
    "words",
    [
        ["--seeds", "a,b"],
        ["--clip", "much"],
        ["--methods", ","],
        ["--steps", "abc"],
        ["--set", "dropout.rate"],
        ["--set", "dropout.rate=much"],
    ],
)
def test_words_that_are_no_values_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["transfer", "--out", "x", *words])
    assert stopped.value.code == 2 and words[0] in capsys.readouterr().err


def test_runs_as_a_module_and_helps() -> None:
    done = subprocess.run([sys.executable, "-m", "mplib", "--help"], capture_output=True, text=True, check=True)
    assert all(command in done.stdout for command in ("meta-train", "transfer", "evaluate", "attack", "data", "info"))


def test_a_set_that_is_not_to_be_mirrored_says_so(tmp_path: Path) -> None:
    from argparse import Namespace

    from mplib.commands.shared import load_data

    photos, digits = (
        load_data(Namespace(data=name, image_size=8, no_flip=True)) for name in ("photos", "digits")
    )  # digits are never mirrored, so there is nothing to say
    assert (photos.name, photos.flip, digits.name, digits.flip) == ("photos[flip=False]", False, "digits", False)
    words = ["transfer", "--data", "photos", "--no-flip", "--per-class", "2", "--methods", "none", "--seeds", "0"]
    assert main([*words, "--samples", "1", *TINY, "--quiet", "--out", str(tmp_path)]) == 0
    assert set(pd.read_csv(tmp_path / "results.csv")["data"]) == {"photos[flip=False]"}
