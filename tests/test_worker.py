"""The process in which a chapter runs: its environment, its paths, and that nothing of it reaches ours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mpbook import notebooks, worker
from tests.tiny import Tiny, code


def test_the_kernel_is_ours_quiet_and_at_home(tiny: Tiny, capfd: pytest.CaptureFixture[str]) -> None:
    names = "os.getcwd(), sys.prefix, os.environ['TQDM_DISABLE'], os.environ['MPBOOK_RUN']"
    look = f"import os, sys\nprint({names}, sep='\\n')\nos.write(2, b'noise')"
    book = tiny.root / "a {b} c"
    book.mkdir()
    root = Tiny(book)({"one": [code("parameters", "a: int = 1", "parameters"), code("look", look)]})
    target, log = root / "out {a}.ipynb", root / "log.txt"
    cost = worker.execute(root / "book" / "one.ipynb", target, {"a": 2}, log, {worker.RUN: "0f"})
    assert (cost.error, cost.seconds > 0, cost.peak_mib > 10) == ("", True, True)
    cells = notebooks.code_cells(notebooks.read(target))
    assert cells[1]["source"] == "# Parameters\na = 2\n"
    assert cells[2]["outputs"][0]["text"].splitlines() == [str(root / "book"), sys.prefix, "1", "0f"]
    assert "noise" in log.read_text()
    assert capfd.readouterr() == ("", "")
    assert "TQDM_DISABLE" not in os.environ
    assert worker.RUN not in os.environ


def test_a_failure_is_returned(tmp_path: Path) -> None:
    cost = worker.execute(tmp_path / "none.ipynb", tmp_path / "out.ipynb", {}, tmp_path / "log.txt")
    assert "No such file" in cost.error


def _sleeper(root: Path) -> Path:
    """A chapter that says which process it is and then does nothing for a long time."""
    sleep = (
        f"import os, pathlib, time\npathlib.Path({str(root / 'pid')!r}).write_text(str(os.getpid()))\ntime.sleep(60)"
    )
    return (
        Tiny(root)({"one": [code("parameters", "a: int = 1", "parameters"), code("sleep", sleep)]}) / "book/one.ipynb"
    )


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _kernel_ends(root: Path) -> None:
    kernel = int((root / "pid").read_text())
    stat = Path(f"/proc/{kernel}/stat")
    _wait(lambda: not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for the kernel in /proc")
def test_a_run_is_stopped_after_its_time_and_its_kernel_with_it(tmp_path: Path) -> None:
    cost = worker.execute(_sleeper(tmp_path), tmp_path / "out.ipynb", {}, tmp_path / "log.txt", timeout=6)
    assert cost.error == "it was stopped after 6 s" and 6 <= cost.seconds < 10
    _kernel_ends(tmp_path)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for the kernel in /proc")
def test_whoever_asked_takes_the_kernel_along_when_killed(tmp_path: Path) -> None:
    source = _sleeper(tmp_path)
    script = f"from pathlib import Path\nfrom mpbook import worker\nt = Path({str(tmp_path)!r})\n"
    script += f"worker.execute(Path({str(source)!r}), t / 'out.ipynb', {{}}, t / 'log.txt')"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    asking = subprocess.Popen([sys.executable, "-c", script], env=environment)
    _wait(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
    asking.send_signal(signal.SIGKILL)
    asking.wait()
    _kernel_ends(tmp_path)


def test_all_runs_of_a_process_can_be_stopped(tmp_path: Path) -> None:
    source, costs = _sleeper(tmp_path), []
    run = lambda: costs.append(worker.execute(source, tmp_path / "out.ipynb", {}, tmp_path / "log.txt"))  # noqa: E731
    thread = threading.Thread(target=run)
    thread.start()
    _wait((tmp_path / "pid").exists)
    worker.stop_all()
    thread.join(10)
    assert "died" in costs[0].error


def test_variables_reach_the_kernel(tiny: Tiny) -> None:
    look = code("look", "import os\nprint(os.environ['MINE'])")
    root = tiny({"one": [code("parameters", "a: int = 1", "parameters"), look]})
    target = root / "out.ipynb"
    worker.execute(root / "book" / "one.ipynb", target, {}, root / "log.txt", environment={"MINE": "yes"})
    assert notebooks.code_cells(notebooks.read(target))[1]["outputs"][0]["text"] == "yes\n"
