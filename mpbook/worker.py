"""One chapter in a process of its own: papermill, and what it cost.

A fresh process for each chapter makes the memory it reports that chapter's, and keeps environment variables and
whatever the kernel prints beside the notebook out of ours. This module imports neither mplib nor torch, so the
process starts at once.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ENVIRONMENT = {
    "TQDM_DISABLE": "1",  # bars are for people; on a page they leave debris
    "PYTHONWARNINGS": "ignore:IProgress not found",  # what tqdm says in a kernel that has no widgets
    "PYTHONHASHSEED": "0",
    "JUPYTER_PREFER_ENV_PATH": "1",  # a kernel called python3 in the user's home must not win over ours
}
RUN = "MPBOOK_RUN"
"""The environment variable in which a kernel finds the id of the run that it is."""


@dataclass(frozen=True)
class Cost:
    """What one chapter took.

    Args:
        seconds: wall time, start of the kernel included.
        peak_mib: largest resident memory of the kernel, in MiB.
        error: how papermill failed, empty if it did not.
    """

    seconds: float
    peak_mib: float
    error: str = ""


def execute(source: Path, target: Path, parameters: dict[str, Any], log: Path, run: str) -> Cost:
    """Execute ``source`` into ``target`` with the ``python3`` kernel of this very interpreter.

    The kernel's working directory is the folder of the source, as it is for someone who opens the notebook.

    Args:
        source: the notebook without outputs.
        target: where papermill writes, also if a cell fails.
        parameters: what is injected; already checked.
        log: what papermill and the kernel write beside the notebook.
        run: the id of this run, for the badge of the page.

    Returns:
        The cost. A failure is reported in it, not raised.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_papermill, source, target, parameters, log, run).result()
        except BrokenProcessPool as error:
            return Cost(0.0, 0.0, f"the process that ran it died ({error})")


def _papermill(source: Path, target: Path, parameters: dict[str, Any], log: Path, run: str) -> Cost:
    os.environ.update({**ENVIRONMENT, RUN: run})
    with open(log, "w", encoding="utf-8") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    import resource

    import papermill

    start, failure = time.monotonic(), ""
    try:
        papermill.execute_notebook(
            _literal(source),
            _literal(target),
            parameters=parameters,
            kernel_name="python3",
            cwd=str(source.parent),
            progress_bar=False,
        )
    # Whatever goes wrong in there is this chapter's failure, and papermill's exceptions do not survive pickling.
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"
    seconds = time.monotonic() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return Cost(seconds, peak / (2**20 if sys.platform == "darwin" else 2**10), failure)


def _literal(path: Path) -> str:
    """papermill formats paths with the parameters, so braces in them have to be doubled."""
    return str(path).replace("{", "{{").replace("}", "}}")
