"""The process in which a chapter runs: its environment, its paths, and that nothing of it reaches ours."""

from __future__ import annotations

import os
import sys
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
    cost = worker.execute(root / "book" / "one.ipynb", target, {"a": 2}, log, "0f")
    assert (cost.error, cost.seconds > 0, cost.peak_mib > 10) == ("", True, True)
    cells = notebooks.code_cells(notebooks.read(target))
    assert cells[1]["source"] == "# Parameters\na = 2\n"
    assert cells[2]["outputs"][0]["text"].splitlines() == [str(root / "book"), sys.prefix, "1", "0f"]
    assert "noise" in log.read_text()
    assert capfd.readouterr() == ("", "")
    assert "TQDM_DISABLE" not in os.environ
    assert worker.RUN not in os.environ


def test_a_failure_is_returned(tmp_path: Path) -> None:
    cost = worker.execute(tmp_path / "none.ipynb", tmp_path / "out.ipynb", {}, tmp_path / "log.txt", "0f")
    assert "No such file" in cost.error
