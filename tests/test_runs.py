from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from mplib.errors import MplibError
from mplib.runs import RunStore, make_row, run_key, table

MADE_WITH = {"source": "abc", "commit": "def"}
# Two writers at a time on the same keys, killed after a random while, again and again. Forked, so that each starts
# at once; each says how it calls itself, so that rows of different writers differ.
WRITERS = """
import os, random, signal, sys, time
from mplib.runs import RunStore
store = RunStore(sys.argv[1])
store.load_or_run({"number": -1}, lambda: {"square": 1, "writer": 0, "history": []})
random.seed(0)
for turn in range(20):
    children = []
    for writer in (1, 2):
        child = os.fork()
        if child == 0:
            for number in range(1_000_000):
                result = {"square": number**2, "writer": writer, "history": [number] * 2000}
                store.load_or_run({"number": number}, lambda: result)
        children.append(child)
    time.sleep(random.uniform(0.0, 0.08))
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
"""


def test_a_run_is_made_once(tmp_path: Path) -> None:
    store, made = RunStore(tmp_path), []

    def make() -> dict[str, float]:
        made.append(1)
        return {"accuracy": 0.5}

    first, second = (store.load_or_run({"seed": 1}, make) for _ in range(2))
    assert first == second and len(made) == 1
    store.load_or_run({"seed": 2}, make)
    assert len(made) == 2


def test_the_key_follows_the_values_and_the_code_and_nothing_else() -> None:
    key = run_key({"a": 1, "b": [1, 2]}, "code")
    assert key == run_key({"b": [1, 2], "a": 1}, "code")
    others = [
        run_key({"a": 2, "b": [1, 2]}, "code"),
        run_key({"a": 1, "b": [2, 1]}, "code"),
        run_key({"a": 1, "b": [1, 2]}, "c"),
    ]
    assert len({key, *others}) == 4


def test_a_failed_run_leaves_no_row(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    with pytest.raises(ZeroDivisionError):
        store.load_or_run({"seed": 1}, lambda: {"x": 1 / 0})
    assert store.rows() == [] and list(tmp_path.iterdir()) == []


def test_rows_say_where_they_come_from_and_are_found_by_their_configuration(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    for seed in range(3):
        store.load_or_run({"seed": seed, "net": "conv4"}, lambda seed=seed: {"accuracy": seed / 10})
    row = store.rows(seed=2)[0]
    assert row["result"]["accuracy"] == 0.2 and {"commit", "device", "torch", "source"} <= row["environment"].keys()
    assert row["seconds"] >= 0
    frame = store.frame(net="conv4").sort_values("seed")
    assert list(frame["accuracy"]) == [0.0, 0.1, 0.2] and "commit" in frame


def test_stores_merge_by_copying_files(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("two", 2)):
        RunStore(tmp_path / name).load_or_run({"seed": seed}, lambda: {})
    for file in (tmp_path / "two").iterdir():
        file.rename(tmp_path / "one" / file.name)
    assert len(RunStore(tmp_path / "one").rows()) == 2


def test_refuses_damaged_rows_and_odd_configurations(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    row = store.load_or_run({"seed": 1}, lambda: {})
    (tmp_path / f"{row['key']}.json").write_text(json.dumps({"key": 1}))
    with pytest.raises(MplibError, match="not the row of a run"):
        store.load_or_run({"seed": 1}, lambda: {})
    with pytest.raises(MplibError, match="cannot be written as JSON"):
        run_key({"x": object()})
    with pytest.raises(MplibError, match="cannot be written as JSON"):
        run_key({"x": float("nan")})


def test_writers_killed_at_any_moment_leave_whole_rows(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    subprocess.run([sys.executable, "-c", WRITERS, str(tmp_path)], env=environment, check=True)
    store = RunStore(tmp_path)
    assert {finding.kind for finding in store.verify()} <= {"unfinished"}
    rows = store.rows()
    numbers = sorted(row["config"]["number"] for row in rows)
    assert len(numbers) > 20 and numbers == list(range(-1, len(numbers) - 1))  # each once, none missing
    assert all(row["result"]["square"] == row["config"]["number"] ** 2 for row in rows)
    assert all(
        row["result"]["history"] == [row["config"]["number"]] * 2000 for row in rows[1:] if row["result"]["writer"]
    )


def test_the_first_of_two_writers_wins_and_both_get_its_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = RunStore(tmp_path)

    def slow() -> dict[str, int]:
        store.load_or_run({"seed": 1}, lambda: {"x": 1})  # another writer ends first
        return {"x": 2}

    assert store.load_or_run({"seed": 1}, slow)["result"] == {"x": 1}
    assert "made twice at once with different results" in caplog.text


def test_rows_are_never_overwritten(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    first = store.add(make_row({"seed": 1}, {"x": (1, 2)}, MADE_WITH, 0.5))
    assert store.add(make_row({"seed": 1}, {"x": (1, 2)}, MADE_WITH, 9.0)) == first
    with pytest.raises(MplibError, match="holds another result of the same run"):
        store.add(make_row({"seed": 1}, {"x": (1, 3)}, MADE_WITH, 0.5))
    assert store.read(first["key"]) == first and first["key"] in store and "0" * 16 not in store
    with pytest.raises(MplibError, match="is not the row of a run"):
        store.add({"key": "0"})
    with pytest.raises(MplibError, match="the result cannot be written as JSON"):
        make_row({"seed": 1}, {"x": object()}, MADE_WITH, 0.5)


def test_verify_finds_everything_that_is_not_a_sound_row(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    keys = [store.load_or_run({"seed": seed}, lambda: {"accuracy": 0.5})["key"] for seed in range(5)]
    assert store.verify() == []
    half, copied, moved, wrong, better = (tmp_path / f"{key}.json" for key in keys)
    (tmp_path / "copy of it.json").write_text(copied.read_text())
    half.write_text(half.read_text()[:100])
    moved.rename(tmp_path / "elsewhere.json")
    wrong.write_text(wrong.read_text().replace('"seed": 3', '"seed": 4'))
    better.write_text(better.read_text().replace('"accuracy": 0.5', '"accuracy": 0.9'))
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / ".x.json.abc.part").write_text("{")
    assert {file: kind for file, kind, _ in store.verify()} == {
        "copy of it.json": "duplicate",
        half.name: "damaged",
        "elsewhere.json": "misnamed",
        wrong.name: "mismatch",
        better.name: "altered",
        "notes.txt": "foreign",
        ".x.json.abc.part": "unfinished",
    }
    with pytest.raises(MplibError, match="there is no folder"):
        RunStore(tmp_path / "nowhere").verify()


def test_the_rows_of_the_book_are_sound() -> None:
    stores = [path for path in (Path(__file__).parent.parent / "book" / "results").iterdir() if path.is_dir()]
    assert stores and {store.name: RunStore(store).verify() for store in stores} == {s.name: [] for s in stores}


def test_pandas_reads_a_store_in_one_line(tmp_path: Path) -> None:
    RunStore(tmp_path).load_or_run({"seed": 1}, lambda: {"accuracy": 0.5})
    frame = pd.json_normalize([json.loads(file.read_text()) for file in tmp_path.glob("*.json")])
    assert frame.loc[0, "config.seed"] == 1 and frame.loc[0, "result.accuracy"] == 0.5


def test_a_table_keeps_both_of_two_values_with_one_name() -> None:
    row = make_row(
        {"samples": 10, "device": "auto", "inner": {"a": 1}}, {"samples": 9}, {**MADE_WITH, "device": "cpu"}, 1
    )
    frame = table([row, {**row, "result": {"samples": 8, "more": 1}}])
    assert frame.loc[0, ["samples", "result.samples", "device", "environment.device", "inner.a"]].tolist() == [
        10, 9, "auto", "cpu", 1
    ]  # fmt: skip
    assert list(frame["result.samples"]) == [9, 8] and pd.isna(frame.loc[0, "more"])
    assert len(table([])) == 0
