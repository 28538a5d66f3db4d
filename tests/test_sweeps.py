"""A sweep: every run once, whatever happens to the process that makes it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest

from mpbook import engines, notebooks, sweeps
from mpbook.attempts import Attempt, Job
from mpbook.layout import Book
from mpbook.page import OUTCOME
from mplib.errors import MplibError
from mplib.files import write_text
from mplib.provenance import source_hash
from mplib.runs import RunStore
from tests.tiny import Tiny, chapter, swept

BASE: dict[str, Any] = {"preset": "fast", "steps": 3, "rate": 0.1, "seeds": [0], "jobs": 1}
ROOT = Path(__file__).parent.parent


def runs(*steps: int) -> list[dict[str, Any]]:
    return [{**BASE, "steps": value} for value in steps]


def pretend(job: Job) -> Attempt:
    """What an attempt gives, without a kernel."""
    if job.parameters["steps"] == 13:
        return Attempt(["cell outcome: AssertionError: unlucky"], "{}", "the traceback", 0.1)
    notebook = notebooks.read(Path(job.root) / "book" / "one.ipynb")
    for count, cell in enumerate(notebooks.code_cells(notebook), 1):
        cell["execution_count"] = count
    metadata = {OUTCOME: {"double": 2 * job.parameters["steps"], "device": "made"}}
    output = nbformat.v4.new_output("display_data", {"text/plain": ""}, metadata=metadata)
    notebook["cells"][-1]["outputs"] = [output]
    environment = {"source": job.source, "device": "cpu", "threads": job.threads}
    return Attempt([], nbformat.writes(notebook), "", 0.1, environment)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replaces the kernels; returns the steps of every run that is made."""
    steps: list[int] = []

    def attempt(job: Job) -> Attempt:
        steps.append(job.parameters["steps"])
        return pretend(job)

    monkeypatch.setattr(engines, "attempt", attempt)
    return steps


@pytest.fixture
def book(tiny: Tiny) -> Book:
    return Book(tiny({"one": swept()}))


def test_each_run_is_made_once_and_has_a_row(book: Book, made: list[int], tmp_path: Path) -> None:
    said: list[str] = []
    result = sweeps.sweep(book, "one", runs(1, 2), tmp_path / "out", say=said.append)
    assert [row["result"]["double"] for row in result.rows] == [2, 4] and result.failures == {}
    assert said[0] == "one: 2 runs, 0 of them done before" and "steps=1: done in 0.1 s" in "".join(said)
    again = sweeps.sweep(book, "one", runs(3, 2, 1), tmp_path / "out")
    assert [row["result"]["double"] for row in again.rows] == [6, 4, 2] and sorted(made) == [1, 2, 3]
    assert RunStore(tmp_path / "out" / "runs").verify() == []
    table = pd.read_csv(again.table)
    assert list(table["steps"]) == [3, 2, 1] and {"rate", "double", "source", "threads", "seconds"} <= set(table)
    assert list(table["device"]) == ["made"] * 3  # this chapter has no parameter of that name
    assert list(sweeps.summary(again.rows)) == ["key", "steps", "device", "double", "seconds"]


def test_other_code_or_parameters_are_other_runs(tiny: Tiny, book: Book, made: list[int], tmp_path: Path) -> None:
    sweeps.sweep(book, "one", runs(1), tmp_path / "out")
    sweeps.sweep(book, "one", [{**BASE, "steps": 1, "rate": 0.2}], tmp_path / "out")
    tiny.write("one", [*swept()[:-1], Tiny.code("outcome", "from mpbook.page import outcome\noutcome(x=1)")])
    sweeps.sweep(book, "one", runs(1), tmp_path / "out")
    assert made == [1, 1, 1] and len(RunStore(tmp_path / "out" / "runs").keys()) == 3


def test_a_failure_is_kept_and_tried_again(
    book: Book, made: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = sweeps.sweep(book, "one", runs(13, 1), tmp_path / "out")
    ((key, what),) = result.failures.items()
    assert what == "steps=13: cell outcome: AssertionError: unlucky" and len(result.rows) == 1
    failures = tmp_path / "out" / "failures"
    text = (failures / f"{key}.txt").read_text()
    assert "unlucky" in text and '"steps": 13' in text and "the traceback" in text
    assert (failures / f"{key}.ipynb").exists() and not (tmp_path / "out" / "notebooks" / f"{key}.ipynb").exists()
    monkeypatch.setattr(
        engines, "attempt", lambda job: pretend(replace(job, parameters={**job.parameters, "steps": 6}))
    )
    result = sweeps.sweep(book, "one", runs(13, 1), tmp_path / "out")
    assert len(result.rows) == 2 and result.failures == {} and list(failures.iterdir()) == []
    assert made == [13, 1]


def test_a_sweep_without_any_success_has_no_table(book: Book, made: list[int], tmp_path: Path) -> None:
    result = sweeps.sweep(book, "one", runs(13), tmp_path / "out")
    assert result.rows == [] and len(result.failures) == 1 and not result.table.exists()


def test_a_notebook_without_its_row_gets_it_and_half_a_notebook_does_not_count(
    book: Book, made: list[int], tmp_path: Path
) -> None:
    first = sweeps.sweep(book, "one", runs(1, 2), tmp_path / "out")
    store = RunStore(tmp_path / "out" / "runs")
    lost, half = (row["key"] for row in first.rows)
    (store.folder / f"{lost}.json").unlink()  # killed between the two files
    (store.folder / f"{half}.json").unlink()
    notebook = tmp_path / "out" / "notebooks" / f"{half}.ipynb"
    notebook.rename(notebook.with_name(f".{half}.ipynb.0.part"))  # killed while the notebook was written
    again = sweeps.sweep(book, "one", runs(1, 2), tmp_path / "out")
    assert sorted(made) == [1, 2, 2]
    assert [row["result"] for row in again.rows] == [row["result"] for row in first.rows]


def test_two_sweeps_at_once_give_each_run_one_row(book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turn = iter(range(1000))

    def attempt(job: Job) -> Attempt:
        """Each attempt ends differently, so that mixing two would show."""
        time.sleep(0.2)
        done = pretend(job)
        return replace(done, notebook=done.notebook.replace('"made"', f'"attempt {next(turn)}"'))

    known = sweeps.provenance.source_hash()
    monkeypatch.setattr(
        sweeps.provenance, "source_hash", lambda *_: known
    )  # or the first would end before the next begins
    monkeypatch.setattr(engines, "attempt", attempt)
    with ThreadPoolExecutor(3) as pool:
        sweep = lambda _: sweeps.sweep(book, "one", runs(*range(1, 9)), tmp_path / "out", jobs=2)  # noqa: E731
        first, *others = pool.map(sweep, range(3))
    assert all(other.rows == first.rows for other in others)
    store = RunStore(tmp_path / "out" / "runs")
    assert store.verify() == [] and len(store.keys()) == 8 and next(turn) > 8
    for row in first.rows:
        notebook = (tmp_path / "out" / "notebooks" / f"{row['key']}.ipynb").read_text()
        assert row["result"]["device"] in notebook


def test_what_failed_here_and_was_made_elsewhere_is_no_failure(
    book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attempt(job: Job) -> Attempt:
        monkeypatch.setattr(engines, "attempt", pretend)
        sweeps.sweep(book, "one", runs(1), tmp_path / "out")  # another sweep, which ends first
        return Attempt(["out of memory"])

    monkeypatch.setattr(engines, "attempt", attempt)
    said: list[str] = []
    result = sweeps.sweep(book, "one", runs(1), tmp_path / "out", say=said.append)
    assert len(result.rows) == 1 and result.failures == {}
    assert "failed here, but another sweep has made it" in said[-1]
    assert not (tmp_path / "out" / "failures").exists()


def test_a_name_that_is_used_twice_is_told_apart(tiny: Tiny, made: list[int], tmp_path: Path) -> None:
    cells = swept()
    cells[1]["source"] += '\ndevice: str = "auto"'
    result = sweeps.sweep(Book(tiny({"one": cells})), "one", [{**BASE, "device": "auto"}], tmp_path / "out")
    table = sweeps.tidy(result.rows)
    assert table.loc[0, ["device", "made.device", "environment.device"]].tolist() == ["auto", "made", "cpu"]
    assert list(sweeps.summary(result.rows)) == ["key", "made.device", "double", "seconds"]


def test_refuses_a_bad_source(tiny: Tiny, made: list[int], tmp_path: Path) -> None:
    bad = chapter()
    bad[3]["metadata"]["mystnb"]["image"]["alt"] = " "
    with pytest.raises(MplibError, match="without alternative text"):
        sweeps.sweep(Book(tiny({"one": bad})), "one", [{"preset": "fast", "steps": 1, "rate": 0.1}], tmp_path)
    assert made == []


@pytest.mark.slow
def test_a_sweep_killed_three_times_ends_with_the_rows_of_one_that_was_not(book: Book, tmp_path: Path) -> None:
    """Real kernels, real kills; the moments are drawn, so that some fall into a run and some between two files."""
    out, count = tmp_path / "out", 6
    command = [sys.executable, "-m", "mpbook", "--root", str(book.root), "sweep", "one", "-p", "steps=1,2,3"]
    command += ["--seeds", "2", "--jobs", "2", "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    moments = random.Random(1)
    killed = 0
    while True:
        before = len(list(out.glob("notebooks/*.ipynb")))
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            if killed < 3:
                process.stdout.readline()
                time.sleep(moments.uniform(0.5, 4.5))
                process.send_signal(signal.SIGKILL)
            process.stdout.read()
        if process.returncode != -signal.SIGKILL:
            break
        killed += 1
        after = len(list(out.glob("notebooks/*.ipynb")))
        assert before <= after <= count  # nothing is lost
    assert process.returncode == 0 and killed == 3
    store = RunStore(out / "runs")
    assert {finding.kind for finding in store.verify()} <= {"unfinished"}
    found = sorted((row["config"]["parameters"]["seeds"], row["config"]["parameters"]["steps"]) for row in store.rows())
    assert found == [([seed], steps) for seed in (0, 1) for steps in (1, 2, 3)]
    for row in store.rows():
        assert row["result"] == {
            "double": 2 * row["config"]["parameters"]["steps"],
            "seed": row["config"]["parameters"]["seeds"][0],
        }
        assert row["environment"]["source"] == source_hash()
    assert len({json.dumps(row["config"]["code"]) for row in store.rows()}) == 1


def test_nothing_else_in_the_folder_of_notebooks_is_read(book: Book, made: list[int], tmp_path: Path) -> None:
    write_text(tmp_path / "out" / "notebooks" / "one.ipynb", "{")
    assert len(sweeps.sweep(book, "one", runs(1), tmp_path / "out").rows) == 1
