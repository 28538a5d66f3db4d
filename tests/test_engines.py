"""Where runs happen: in threads of this process, and on real Dask workers, one of which is killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpbook import engines, worker
from mpbook.attempts import Attempt, Job
from mpbook.layout import Book
from mplib.errors import MplibError
from mplib.runs import RunStore
from tests.tiny import Tiny, swept

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "OMP_NUM_THREADS": "1"}


def job(steps: int) -> Job:
    return Job("nowhere", "one", {"steps": steps}, "", "")


def test_runs_side_by_side_as_many_as_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    together, most, lock = 0, 0, threading.Lock()

    def attempt(job: Job) -> Attempt:
        nonlocal together, most
        with lock:
            together += 1
            most = max(most, together)
        time.sleep(0.02)
        with lock:
            together -= 1
        return Attempt([str(job.parameters["steps"])])

    monkeypatch.setattr(engines, "attempt", attempt)
    ended = list(engines.run_here([job(steps) for steps in range(9)], 3))
    assert sorted(int(done.problems[0]) for _, done in ended) == list(range(9)) and most == 3
    assert all(asked.parameters["steps"] == int(done.problems[0]) for asked, done in ended)


def test_whoever_stops_waiting_stops_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    stopped = threading.Event()

    def attempt(job: Job) -> Attempt:
        begun.append(job.parameters["steps"])
        if job.parameters["steps"] > 0:
            stopped.wait(10)
        return Attempt([])

    monkeypatch.setattr(engines, "attempt", attempt)
    monkeypatch.setattr(worker, "stop_all", stopped.set)
    ending = engines.run_here([job(steps) for steps in range(9)], 2)
    next(ending)
    ending.close()  # as an interrupt does
    assert stopped.is_set() and len(begun) < 9


def test_says_when_no_scheduler_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "CONNECT", 1)
    with pytest.raises(MplibError, match=r"no Dask scheduler answers at 'tcp://127.0.0.1:9'"):
        list(engines.run_on_cluster([job(1)], "tcp://127.0.0.1:9"))
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MplibError, match="expected 'pip install metaperturb-book"):
        list(engines.run_on_cluster([job(1)], "tcp://127.0.0.1:9"))


@contextlib.contextmanager
def _cluster(folder: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and two workers on loopback, as a user would start them."""
    file = folder / "scheduler.json"
    base = [sys.executable, "-m", "dask"]
    options = ["--host", "127.0.0.1", "--no-dashboard"]
    with contextlib.ExitStack() as stack:

        def start(*words: str) -> subprocess.Popen[bytes]:
            log = stack.enter_context(open(folder / f"{words[0]}-{time.monotonic_ns()}.log", "wb"))
            process = subprocess.Popen([*base, *words, *options], env=ENVIRONMENT, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        start("scheduler", "--port", "0", "--scheduler-file", str(file))
        deadline = time.monotonic() + 20
        while not file.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        yield address, [start("worker", address, "--no-nanny", "--nthreads", "1") for _ in range(2)]


@pytest.mark.slow
def test_a_cluster_loses_a_worker_and_no_run(tiny: Tiny, tmp_path: Path) -> None:
    root = Book(tiny({"one": swept()})).root
    out = tmp_path / "out"
    command = [sys.executable, "-m", "mpbook", "--root", str(root), "sweep", "one", "-p", "steps=1,2,13,3"]
    command += ["--out", str(out), "--scheduler"]
    with (
        _cluster(tmp_path) as (address, workers),
        subprocess.Popen([*command, address], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as sweep,
    ):
        assert sweep.stdout is not None
        lines = [sweep.stdout.readline(), sweep.stdout.readline()]  # the first run has ended, others are under way
        workers[0].send_signal(signal.SIGKILL)
        lines += sweep.stdout.readlines()
        assert sweep.wait() == 1  # 13 steps fail, on whatever machine
        assert workers[1].poll() is None
    store = RunStore(out / "runs")
    assert sorted(row["config"]["parameters"]["steps"] for row in store.rows()) == [1, 2, 3]
    assert store.verify() == [] and len(list((out / "failures").glob("*.txt"))) == 1
    assert sum("FAILED, cell outcome: AssertionError: unlucky" in line for line in lines) == 1
