"""One run of a sweep: what comes back, from which code, and that nothing is left behind."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mpbook import execution
from mpbook.attempts import Job, attempt
from mpbook.layout import Book
from mplib import provenance
from tests.tiny import Tiny, code, swept

PARAMETERS: dict[str, Any] = {"preset": "fast", "steps": 5, "rate": 0.1, "seeds": [0], "jobs": 1}
LOOK = (
    "import os, pathlib\nfrom mpbook.page import scratch\n"
    "print(scratch(preset), os.environ['OMP_NUM_THREADS'])\n(scratch(preset) / 'x').write_text('x')"
)


@pytest.fixture
def job(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Job]:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))

    def make(cells: list[dict[str, Any]], **changes: Any) -> Job:
        book = Book(tiny({"one": cells}))
        made = Job(str(book.root), "one", PARAMETERS, execution.code_hash(book, "one"), provenance.source_hash())
        return replace(made, **changes)

    return make


def test_gives_the_notebook_and_what_it_was_made_with(job: Callable[..., Job], tmp_path: Path) -> None:
    done = attempt(job([*swept(), code("look", LOOK)], threads=1))
    assert done.problems == [] and done.report == "" and done.seconds > 0
    assert "steps = 5" in done.notebook and str(tmp_path / "tmp") in done.notebook  # a scratch folder of its own
    assert done.environment["threads"] == 1 and done.environment["peak_mib"] > 20
    assert done.environment["source"] == provenance.source_hash() and "commit" in done.environment
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_failure_is_reported_with_its_traceback(job: Callable[..., Job], tmp_path: Path) -> None:
    done = attempt(job(swept(), parameters={**PARAMETERS, "steps": 13}))
    assert done.problems == ["cell outcome: AssertionError: unlucky"]
    assert "----> 1 assert steps != 13" in done.report and "\x1b" not in done.report
    assert "unlucky" in done.notebook
    assert list((tmp_path / "tmp").iterdir()) == []


def test_refuses_without_a_kernel(job: Callable[..., Job], tmp_path: Path) -> None:
    assert "are not those that the sweep began with (" in attempt(job(swept(), code="other")).problems[0]
    assert "is not a book" in attempt(job(swept(), root=str(tmp_path / "tmp"))).problems[0]
    gone = attempt(job(swept(), parameters={**PARAMETERS, "device": "abacus"}))
    assert "abacus" in gone.problems[0]
    assert gone.notebook == ""
