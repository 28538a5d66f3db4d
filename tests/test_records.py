"""``mplib runs``: what it prints and writes, and its status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from mplib.cli import main
from mplib.runs import RunStore


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store = RunStore(tmp_path / "rows")
    for seed in range(3):
        for method in ("none", "phi"):
            result = {"accuracy": 0.5 + seed / 10, "history": [{"step": 1, "loss": 2.0}]}
            store.load_or_run({"method": method, "seed": seed, "net": "conv4"}, lambda result=result: result)
    return store.folder


def test_lists_what_differs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "list", str(folder), "--where", "method=phi"]) == 0
    head, *lines, count = capsys.readouterr().out.splitlines()
    assert {"key", "seed", "accuracy"} <= set(head.split()) and "net" not in head and "history" not in head
    assert len(lines) == 3 and count == "3 rows"
    assert main(["runs", "list", str(folder), "--where", "seed=1", "--columns", "method,accuracy"]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:3]] in (
        [["none", "0.6"], ["phi", "0.6"]],
        [["phi", "0.6"], ["none", "0.6"]],
    )


def test_shows_one_row(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = RunStore(folder).keys()[0]
    assert main(["runs", "show", str(folder), key[:12]]) == 0
    assert json.loads(capsys.readouterr().out) == RunStore(folder).read(key)


def test_exports_tables_that_pandas_reads_in_one_line(folder: Path, tmp_path: Path) -> None:
    read = {
        "csv": pd.read_csv,
        "parquet": pd.read_parquet,
        "json": pd.read_json,
        "jsonl": lambda path: pd.read_json(path, lines=True),
    }
    for suffix, reader in read.items():
        out = tmp_path / f"rows.{suffix}"
        assert main(["runs", "export", str(folder), "--out", str(out)]) == 0
        frame = reader(out)
        assert sorted(frame["accuracy"]) == pytest.approx([0.5, 0.5, 0.6, 0.6, 0.7, 0.7], abs=1e-14)
        history = frame.loc[0, "history"]
        assert (json.loads(history) if isinstance(history, str) else history) == [{"step": 1, "loss": 2.0}]


def test_verify_has_status_1_for_a_store_that_is_not_sound(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "verify", str(folder)]) == 0
    (folder / ".a.json.b.part").write_text("{")  # left by a writer that was killed: no harm
    assert main(["runs", "verify", str(folder)]) == 0
    (folder / "a.json").write_text("{")
    assert main(["runs", "verify", str(folder)]) == 1
    out = capsys.readouterr().out
    assert "damaged    a.json: " in out and "6 rows" in out.splitlines()[0]


def test_a_reader_that_has_seen_enough_is_no_error(folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "mplib", "runs", "list", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()  # as `| head` does
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["list", "{tmp}/none"], "there is no folder"),
        (["verify", "{tmp}/none"], "there is no folder"),
        (["list", "{rows}", "--where", "seed"], "expected NAME=VALUE"),
        (["list", "{rows}", "--where", "seed=9"], "no row in {rows} has seed=9"),
        (["list", "{rows}", "--columns", "acuracy"], "unknown column 'acuracy', did you mean 'accuracy'"),
        (["show", "{rows}", "zzz"], "no row begins with 'zzz'"),
        (["show", "{rows}", ""], "6 rows begin with ''"),
        (["export", "{rows}", "--out", "rows.xls"], "expected a file that ends in .csv, .parquet, .json, .jsonl"),
    ],
)
def test_bad_input_gets_one_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    places = {"tmp": tmp_path, "rows": folder}
    assert main(["runs", *(word.format(**places) for word in words)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mplib: ") and message.format(**places) in error and error.count("\n") == 1


def test_stores_are_merged_and_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (RunStore(tmp_path / name) for name in ("first", "second"))
    for x in range(3):
        first.load_or_run({"x": x}, lambda x=x: {"square": x * x})
    for x in range(2, 5):
        second.load_or_run({"x": x}, lambda x=x: {"square": x * x})
    words = ["runs", "merge", str(tmp_path / "all"), str(first.folder), str(second.folder)]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "3 rows, 3 of them new" in out and "3 rows, 2 of them new" in out
    squares = {row["config"]["x"]: row["result"]["square"] for row in RunStore(tmp_path / "all").rows()}
    assert squares == {x: x * x for x in range(5)}
    other = RunStore(tmp_path / "other")
    other.load_or_run({"x": 0}, lambda: {"square": 5})
    assert main(["runs", "merge", str(tmp_path / "all"), str(other.folder)]) == 1
    assert "holds another result of the same run" in capsys.readouterr().out
    assert main(["runs", "merge", str(tmp_path / "all"), str(tmp_path / "nowhere")]) == 2
