"""One run of a sweep, wherever it happens: a chapter, its parameters, and what came back.

A run leaves nothing behind on the machine that makes it. It works in a temporary folder and hands the notebook to
whoever asked, as text; so it may as well have been made on another machine that has the same checkout.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mpbook import execution, notebooks, worker
from mpbook.layout import Book
from mpbook.page import SCRATCH
from mplib import devices, provenance
from mplib.errors import MplibError

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_LOG_TAIL = 20_000  # characters


@dataclass(frozen=True)
class Job:
    """What is to be run.

    Args:
        root: root of the book.
        chapter: its name.
        parameters: all of them, checked.
        code: :func:`mpbook.execution.code_hash` of the machine that asks.
        source: :func:`mplib.provenance.source_hash` there.
        timeout: seconds after which it is stopped; no limit if None.
        threads: of the kernel; as many as it likes if None.
    """

    root: str
    chapter: str
    parameters: dict[str, Any]
    code: str
    source: str
    timeout: float | None = None
    threads: int | None = None


@dataclass(frozen=True)
class Attempt:
    """What came back.

    Args:
        problems: why it cannot be used, a sentence each; empty if it can.
        notebook: the executed notebook, if there is one.
        report: tracebacks and the end of the log, for people.
        seconds: wall time, start of the kernel included.
        environment: versions, device, commit, source, threads, and peak memory.
    """

    problems: list[str]
    notebook: str = ""
    report: str = ""
    seconds: float = 0.0
    environment: dict[str, Any] = field(default_factory=dict)


def attempt(job: Job) -> Attempt:
    """Run a chapter in a process of its own.

    Args:
        job: what to run.

    Returns:
        The attempt. A failure is reported in it, not raised, so that a sweep goes on.
    """
    try:
        book = Book(Path(job.root))
        code = execution.code_hash(book, job.chapter)
        made_with = provenance.environment(devices.resolve(job.parameters.get("device", "auto")))
    except MplibError as error:
        return Attempt([str(error)])
    if code != job.code:
        return Attempt([f"the code or the versions here ({code}) are not those that the sweep began with ({job.code})"])
    with tempfile.TemporaryDirectory(prefix="mpbook-") as folder:
        working, log = Path(folder) / f"{job.chapter}.ipynb", Path(folder) / "log.txt"
        injected = execution.overriding(book, job.chapter, job.parameters)
        variables = {SCRATCH: str(Path(folder) / "scratch")}
        if job.threads is not None:
            variables |= dict.fromkeys(_THREADS, str(job.threads))
        cost = worker.execute(book.source(job.chapter), working, injected, log, variables, job.timeout)
        problems = execution.run_problems(working, injected, cost)
        return Attempt(
            problems,
            working.read_text(encoding="utf-8") if working.is_file() else "",
            _report(working, cost.error, log) if problems else "",
            cost.seconds,
            {
                **made_with,
                "source": job.source,
                "threads": job.threads or int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1),
                "cpus": os.cpu_count(),
                "peak_mib": round(cost.peak_mib),
            },
        )


def _report(working: Path, error: str, log: Path) -> str:
    raised = []
    if working.is_file():
        outputs = [out for cell in notebooks.code_cells(notebooks.read(working)) for out in cell["outputs"]]
        raised = ["\n".join(out["traceback"]) for out in outputs if out["output_type"] == "error"]
    parts = [*(raised or [error]), log.read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL:]]
    return re.sub(r"\x1b\[[0-9;]*m", "", "\n\n".join(part for part in parts if part))
