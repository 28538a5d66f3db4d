"""A sweep: many runs of one chapter, each made once, and a row for each.

The folder of a sweep holds ``notebooks/KEY.ipynb``, the executed notebooks; ``runs/KEY.json``, a run store with a row
for each; and ``failures/KEY.ipynb`` and ``KEY.txt``. A run is done when its notebook has its name: it is written there
whole, and never again. The row is derived from it. So a sweep may be killed at any moment and two may work in one
folder: what is there is complete, and the first to end a run is the one that is kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import nbformat

from mpbook import engines, execution, notebooks
from mpbook.attempts import Attempt, Job
from mpbook.layout import Book
from mpbook.page import OUTCOME
from mplib import provenance
from mplib.errors import MplibError
from mplib.files import atomic_path, write_new, write_text
from mplib.runs import Row, RunStore, make_row, run_key, table

if TYPE_CHECKING:
    import pandas as pd

_PARSING = Lock()  # the parser of Python 3.11 may fail where two threads parse at once


@dataclass(frozen=True)
class Result:
    """What a sweep ends with.

    Args:
        rows: a row for each run that succeeded, in the order of the sweep.
        failures: for each of the others, its key and a sentence.
        table: the file that holds the rows as a table.
    """

    rows: list[Row]
    failures: dict[str, str]
    table: Path


def sweep(
    book: Book,
    chapter: str,
    runs: Sequence[Mapping[str, Any]],
    folder: Path,
    *,
    jobs: int = 1,
    scheduler: str | None = None,
    timeout: float | None = None,
    threads: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Result:
    """Make every run that is not there yet.

    Args:
        book: the book.
        chapter: name of the chapter.
        runs: the parameters of each run, all of them, checked.
        folder: where the sweep is kept.
        jobs: runs at a time on this machine.
        scheduler: address of a Dask scheduler, whose workers then make the runs.
        timeout: seconds for a run; no limit if None.
        threads: of each kernel; as many as it likes if None.
        say: called with a line for people as things happen.

    Returns:
        Rows, failures, and the table. A run that fails does not stop the others and is tried again next time.

    Raises:
        MplibError: a bad source, a folder that cannot be written to, or a scheduler that does not answer.
    """
    with _PARSING:
        faults = notebooks.problems(book.source(chapter))
        if faults:
            raise MplibError("\n".join(faults))
        source = notebooks.read(book.source(chapter))
        code, method = execution.code_hash(book, chapter), provenance.source_hash()
    shelf = _Shelf(folder, source)
    wanted: dict[str, Job] = {}
    for parameters in runs:
        job = Job(str(book.root), chapter, dict(parameters), code, method, timeout, threads)
        wanted[run_key(_config(job), method)] = job
    waiting = {key: job for key, job in wanted.items() if not shelf.has(key)}
    varying = _varying([job.parameters for job in wanted.values()])
    say(f"{chapter}: {len(wanted)} runs, {len(wanted) - len(waiting)} of them done before")

    failures: dict[str, str] = {}
    if scheduler is None:
        ended = engines.run_here(list(waiting.values()), jobs)
    else:
        ended = engines.run_on_cluster(list(waiting.values()), scheduler)
    for count, (job, attempt) in enumerate(ended, 1):
        key = run_key(_config(job), method)
        settings = " ".join(f"{name}={job.parameters[name]}" for name in varying)
        if attempt.problems and shelf.has(key):
            say(f"[{count}/{len(waiting)}] {key} {settings}: failed here, but another sweep has made it")
        elif attempt.problems:
            failures[key] = f"{settings}: {attempt.problems[0]}"
            shelf.put_failure(key, job, attempt)
            say(f"[{count}/{len(waiting)}] {key} {settings}: FAILED, {attempt.problems[0]}")
        else:
            shelf.put(key, job, attempt)
            say(f"[{count}/{len(waiting)}] {key} {settings}: done in {attempt.seconds:.1f} s")

    rows = [shelf.row(key) for key in wanted if key not in failures]
    path = folder / "table.csv"
    if rows:
        with atomic_path(path) as temporary:
            tidy(rows).to_csv(temporary, index=False)
    return Result(rows, failures, path)


def tidy(rows: Sequence[Row]) -> pd.DataFrame:
    """The rows of a sweep as a table: each parameter, each number of the outcome, what it was made with and took."""
    frame = table(rows).drop(columns=["experiment"])
    names = {name: name.removeprefix("parameters.") for name in frame if name.startswith("parameters.")}
    # An outcome, or the device that was used, may be called like a parameter.
    names |= {new: f"made.{new}" for new in names.values() if new in frame}
    return frame.rename(columns=names)


def summary(rows: Sequence[Row]) -> pd.DataFrame:
    """What is worth a line each: the parameters that differ between the rows, the outcome, and the seconds."""
    varying = _varying([row["config"]["parameters"] for row in rows])
    frame = tidy(rows)
    results = list(
        dict.fromkeys(f"made.{name}" if f"made.{name}" in frame else name for row in rows for name in row["result"])
    )
    return frame[["key", *varying, *results, "seconds"]]


@dataclass(frozen=True)
class _Shelf:
    """The folder of a sweep."""

    folder: Path
    source: nbformat.NotebookNode

    @property
    def store(self) -> RunStore:
        return RunStore(self.folder / "runs")

    def has(self, key: str) -> bool:
        return self._notebook(key).exists()

    def put(self, key: str, job: Job, attempt: Attempt) -> None:
        note = {
            "chapter": job.chapter,
            "preset": "custom",
            "parameters": job.parameters,
            "key": key,
            "config": _config(job),
            "environment": attempt.environment,
            "seconds": attempt.seconds,
        }
        run = nbformat.reads(attempt.notebook, as_version=4)
        write_new(self._notebook(key), nbformat.writes(notebooks.combine(self.source, run, note)))
        self.row(key)
        for kept in (self._failure(key, "ipynb"), self._failure(key, "txt")):
            kept.unlink(missing_ok=True)

    def put_failure(self, key: str, job: Job, attempt: Attempt) -> None:
        if attempt.notebook:
            write_text(self._failure(key, "ipynb"), attempt.notebook)
        parameters = json.dumps(job.parameters, indent=2)
        parts = [*attempt.problems, f"chapter {job.chapter}, parameters {parameters}", attempt.report]
        write_text(self._failure(key, "txt"), "\n\n".join(parts) + "\n")

    def row(self, key: str) -> Row:
        """The row of a run that is done; a sweep killed between notebook and row has left only the former."""
        if key not in self.store:
            notebook = notebooks.read(self._notebook(key))
            note = notebook["metadata"]["mpbook"]
            self.store.add(make_row(note["config"], _outcome(notebook), note["environment"], note["seconds"]))
        return self.store.read(key)

    def _notebook(self, key: str) -> Path:
        return self.folder / "notebooks" / f"{key}.ipynb"

    def _failure(self, key: str, suffix: str) -> Path:
        return self.folder / "failures" / f"{key}.{suffix}"


def _config(job: Job) -> dict[str, Any]:
    return {"experiment": "sweep", "chapter": job.chapter, "parameters": job.parameters, "code": job.code}


def _outcome(notebook: nbformat.NotebookNode) -> dict[str, Any]:
    """What the chapter's cells with ``mpbook.page.outcome`` declare."""
    found: dict[str, Any] = {}
    for cell in notebooks.code_cells(notebook):
        for output in cell["outputs"]:
            found |= output.get("metadata", {}).get(OUTCOME, {})
    return found


def _varying(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The parameters that are not the same in all of them."""
    return (
        [name for name in settings[0] if any(other[name] != settings[0][name] for other in settings)]
        if settings
        else []
    )
