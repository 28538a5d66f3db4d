from __future__ import annotations

import json
from pathlib import Path

import pytest

from mplib.errors import MplibError
from mplib.runs import RunStore, run_key


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
