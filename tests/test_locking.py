"""A lock is held by one process at a time, and ends with it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from mplib.data.locking import locked

pytest.importorskip("fcntl")
HOLD = """
import sys, time
from pathlib import Path
from mplib.data.locking import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "file"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    waiter = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        time.sleep(0.2)
        assert waiter.poll() is None
        holder.kill()
        assert waiter.stdout is not None and waiter.stdout.readline() == "held\n"
    finally:
        for process in (holder, waiter):
            process.kill()
            with process:
                pass


def test_leaves_only_an_empty_neighbour(tmp_path: Path) -> None:
    with locked(tmp_path / "file"):
        pass
    with locked(tmp_path / "file"):
        (tmp_path / "file").write_text("x")
    assert sorted((p.name, p.stat().st_size) for p in tmp_path.iterdir()) == [(".file.lock", 0), ("file", 1)]
    with pytest.raises(OSError), locked(tmp_path / "none" / "file"):
        pass
