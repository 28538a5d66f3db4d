"""Published notebooks: the cell that installs, the foot with the run, the rows to download."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from importlib import util
from pathlib import Path
from typing import Any

import pytest

from mpbook import execution, notebooks, published
from mpbook.layout import Book

ADDRESS = "https://example.org/someone/book"


def test_the_first_code_cell_installs_only_with_an_address_and_is_not_shown(executed: Book) -> None:
    with_address = published.notebook(executed, "smoke", "one", ADDRESS)
    first = notebooks.code_cells(with_address)[0]
    assert first["id"] == "install"
    assert notebooks.tags(first) == {"remove-cell"}
    assert ADDRESS in first["source"]
    without = published.notebook(executed, "smoke", "one", "")
    ids = [cell["id"] for cell in without["cells"]]
    assert ids == ["title", "parameters", "injected-parameters", "double", "figure", "foot"]


def test_the_first_cell_does_nothing_where_the_book_is_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: ran.append(command))
    monkeypatch.chdir(tmp_path)
    exec(compile(published.INSTALL.format(address=ADDRESS), "cell", "exec"), {})
    assert ran == []
    assert Path.cwd() == tmp_path


def test_the_first_cell_fetches_installs_and_goes_to_the_book_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran: list[list[str]] = []

    def run(command: list[str], check: bool) -> None:
        ran.append(command)
        (tmp_path / "metaperturb-book" / "book").mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    exec(compile(published.INSTALL.format(address=ADDRESS), "cell", "exec"), {})
    assert ran[0][:2] == ["git", "clone"]
    assert ran[0][-2:] == [ADDRESS, "metaperturb-book"]
    assert ran[1][1:4] == ["-m", "pip", "install"]
    assert Path.cwd() == tmp_path / "metaperturb-book" / "book"
    os.chdir(tmp_path)


def test_the_foot_gives_the_run_and_what_can_be_downloaded(rendered: Book) -> None:
    html = rendered.root / "_build" / "html"
    page = (html / "book" / "one.html").read_text()
    run = notebooks.read(rendered.executed("smoke", "one"))["metadata"]["mpbook"]["run"]
    assert f'<div class="mpbook-footer" data-runs="{run}">' in page
    assert (html / "runs" / f"{run}.json").is_file()
    assert (html / "_sources" / "book" / "one.ipynb").is_file()
    lines = (html / "runs" / "one.jsonl").read_text().splitlines()
    assert [json.loads(line)["key"] for line in lines] == [run]
    with (html / "runs" / "one.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["key"], row["steps"], row["chapter"]) == (run, "2", "one")


def test_a_chapter_s_rows_are_those_that_it_names(executed: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    path = execution.runs(executed, "smoke") / "0f.json"
    own: dict[str, Any] = json.loads(next(execution.runs(executed, "smoke").glob("*.json")).read_text())
    known = {"0f": path, own["key"]: execution.runs(executed, "smoke") / f"{own['key']}.json"}
    monkeypatch.setattr("mpbook.tracing.known", lambda book, preset: known)
    monkeypatch.setattr("mpbook.tracing.named", lambda cell: [own["key"]] if cell["id"] == "double" else [])
    assert published.rows(executed, "smoke", "one") == [own]
