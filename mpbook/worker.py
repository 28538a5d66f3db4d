"""One chapter in a process of its own: papermill, and what it cost.

A fresh process for each chapter makes the memory it reports that chapter's, and keeps environment variables and
whatever the kernel prints beside the notebook out of ours. It reads what to do from its standard input, which stays
open: when that ends, whoever asked is gone, so it ends too, and its kernel with it. This file is run as a program and
imports neither mplib nor torch, so the process starts at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
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
_LONGEST_ERROR = 30_000  # characters, so that a cost always fits into the pipe

_running: set[subprocess.Popen[str]] = set()


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


def execute(
    source: Path,
    target: Path,
    parameters: dict[str, Any],
    log: Path,
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> Cost:
    """Execute ``source`` into ``target`` with the ``python3`` kernel of this very interpreter.

    The kernel's working directory is the folder of the source, as it is for someone who opens the notebook.

    Args:
        source: the notebook without outputs.
        target: where papermill writes, also if a cell fails.
        parameters: what is injected; already checked.
        log: what papermill and the kernel write beside the notebook.
        environment: variables of the kernel beside ours.
        timeout: seconds after which it is killed; no limit if None.

    Returns:
        The cost. A failure is reported in it, not raised.
    """
    job = {"source": str(source), "target": str(target), "parameters": parameters}
    variables = {**os.environ, **ENVIRONMENT, **(environment or {})}
    with (
        open(log, "w", encoding="utf-8") as stream,
        # Run by its path and without its folder on the search path, it needs nothing of ours to be installed.
        subprocess.Popen(
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stream,
            env=variables,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None and process.stdout is not None
        _running.add(process)
        started = time.monotonic()
        try:
            with contextlib.suppress(BrokenPipeError):  # it has died already, which is noticed below
                process.stdin.write(json.dumps(job) + "\n")
                process.stdin.flush()
            process.wait(timeout)
            answer = process.stdout.read()
        except subprocess.TimeoutExpired:
            return Cost(time.monotonic() - started, 0.0, f"it was stopped after {timeout:g} s")
        finally:
            process.kill()
            _running.discard(process)
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
    if not answer:
        return Cost(time.monotonic() - started, 0.0, f"the process that ran it died (status {process.returncode})")
    return Cost(**json.loads(answer))


def stop_all() -> None:
    """Kill every process of :func:`execute` that is under way in other threads of this process."""
    for process in list(_running):
        process.kill()


def main() -> None:
    """Do what the first line of the standard input says, and write the cost to the standard output."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the kernel and papermill print goes to the log
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_input, daemon=True).start()
    answer.write(json.dumps(asdict(_papermill(Path(job["source"]), Path(job["target"]), job["parameters"]))))
    answer.flush()


def _end_with_the_input() -> None:
    os.read(0, 1)  # not through sys.stdin, whose lock would be held when the interpreter ends
    os._exit(1)  # the kernel notices within a second that its parent is gone


def _papermill(source: Path, target: Path, parameters: dict[str, Any]) -> Cost:
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
    # Whatever goes wrong in there is this chapter's failure.
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"[-_LONGEST_ERROR:]
    seconds = time.monotonic() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return Cost(seconds, peak / (2**20 if sys.platform == "darwin" else 2**10), failure)


def _literal(path: Path) -> str:
    """papermill formats paths with the parameters, so braces in them have to be doubled."""
    return str(path).replace("{", "{{").replace("}", "}}")


if __name__ == "__main__":
    main()
