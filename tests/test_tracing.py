"""Numbers and their rows: what is named exists, what comes from a store is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mpbook import execution, htmlcheck, notebooks, tracing
from mpbook.layout import Book
from mplib.files import write_json
from tests.tiny import code, markdown

RUNS = '<details data-runs="{}"></details>'


def _output(text: str = "accuracy 0.5", runs: str = "") -> list[dict[str, Any]]:
    data = {"text/plain": text, **({"text/html": RUNS.format(runs)} if runs else {})}
    return [{"output_type": "execute_result", "data": data, "metadata": {}, "execution_count": 1}]


def _cell(name: str, source: str, outputs: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {**code(name, source), "outputs": outputs or []}


SETUP = _cell("setup", "from mplib.runs import RunStore\nrows = RunStore('x').rows()")


def _copy(book: Book, folder: Path) -> Book:
    shutil.copytree(book.root, folder)
    return Book(folder)


def _change(book: Book, outputs: list[dict[str, Any]]) -> None:
    path = book.executed("smoke", "one")
    notebook = notebooks.read(path)
    notebooks.code_cells(notebook)[-1]["outputs"] = outputs
    path.write_text(json.dumps(notebook))


def test_a_page_without_stored_rows_has_nothing_to_name(executed: Book) -> None:
    assert tracing.problems(executed, "smoke", "one") == []


def test_the_run_of_a_page_is_a_row(executed: Book) -> None:
    own = notebooks.read(executed.executed("smoke", "one"))["metadata"]["mpbook"]["run"]
    row = json.loads(tracing.known(executed, "smoke")[own].read_text())
    assert row["config"] == {"experiment": "page", "chapter": "one", "preset": "smoke", "steps": 2, "rate": 0.1}
    assert row["key"] == own
    assert {"commit", "source", "device"} <= row["environment"].keys()
    assert row["seconds"] > 0 and len(row["result"]["outputs"]) == 64


def test_every_run_that_is_named_has_to_be_a_row(executed: Book, tmp_path: Path) -> None:
    book = _copy(executed, tmp_path / "copy")
    _change(book, _output(runs="0f 1e"))
    found = tracing.problems(book, "smoke", "one")
    assert found == [f"one: cell figure names the run {name}, which is no row of a store" for name in ("0f", "1e")]
    write_json(book.root / "book" / "results" / "transfer" / "0f.json", {"key": "0f"})
    write_json(book.build("smoke") / "scratch" / "runs" / "1e.json", {"key": "another"})
    (problem,) = tracing.problems(book, "smoke", "one")
    assert "names the run 1e" in problem and "is not its row" in problem
    write_json(book.build("smoke") / "scratch" / "runs" / "1e.json", {"key": "1e"})
    assert tracing.problems(book, "smoke", "one") == []


def test_a_badge_names_the_run_of_its_own_page(executed: Book, tmp_path: Path) -> None:
    book = _copy(executed, tmp_path / "copy")
    own = notebooks.read(book.executed("smoke", "one"))["metadata"]["mpbook"]["run"]
    badge = _output()
    badge[0]["data"]["text/html"] = '<div class="mpbook-badge" data-runs=""></div>'
    _change(book, badge)
    (problem,) = tracing.problems(book, "smoke", "one")
    assert problem == f"one: the badge in cell figure does not name the run of the page, {own}"
    badge[0]["data"]["text/html"] = f'<div class="mpbook-badge" data-runs="{own}"></div>'
    _change(book, badge)
    assert tracing.problems(book, "smoke", "one") == []


def test_stored_rows_are_named_in_the_section_that_shows_them() -> None:
    shows = _cell("shows", "rows[0]", _output())
    names = _cell("names", "sources(rows)", _output("From 1 run", "0f"))
    text, head = markdown("text", "More."), markdown("head", "## Next")
    badge = _cell("badge", "badge('fast')", _output(runs="0f"))
    badge["outputs"][0]["data"]["text/html"] = '<div class="mpbook-badge" data-runs="0f"></div>'
    for cells, expected in [
        ([SETUP, shows], ["shows"]),
        ([SETUP, shows, names], []),
        ([SETUP, shows, text, names], []),
        ([SETUP, shows, head, names], ["shows"]),
        ([SETUP, names, head, shows], ["shows"]),
        ([SETUP, badge, shows], ["shows"]),
        ([SETUP, {**shows, "outputs": []}], []),
        ([SETUP, {**shows, "outputs": _output("no number")}], []),
        ([SETUP, _cell("own", "1 + 1", _output("2"))], []),
    ]:
        assert tracing.unnamed({"cells": cells}) == expected


@pytest.mark.parametrize(
    ("source", "marked"),
    [
        ("x = [r['a'] for r in rows]\nx", True),
        ("x = 1\nx", False),
        ("for row in rows:\n    print(row)", True),
        ("rows = [1, 2]\nprint(rows)", False),
        ("found = []\nfound.append(rows[0])\nprint(found)", True),
        ("table = {}\ntable['a'] = rows\nprint(table)", True),
        ("def f(rows):\n    return rows\nf(1)", False),
        ("def f():\n    return rows[0]\nf()", True),
        ("def f():\n    return rows[0]", False),
        ("a, b = rows, 1\nprint(a)", True),
        ("total = 0\ntotal += len(rows)", True),
        ("if rows:\n    x = 1", True),
        ("try:\n    x = 1\nexcept ValueError:\n    x = rows", True),
        ("with open('f') as f:\n    y = rows", True),
        ("with rows as f:\n    pass\nf", True),
        ("try:\n    1 / 0\nexcept ValueError as rows:\n    print(rows)", False),
        ("x = {r: 1 for r in [2]}", False),
    ],
)
def test_what_comes_from_a_store_is_followed(source: str, marked: bool) -> None:
    assert list(tracing.from_stores([SETUP["source"], source]))[1] is marked


def test_only_the_names_that_give_rows_start_a_trace() -> None:
    cells = ["from mplib.experiments import METHODS, compare", "METHODS", "compare([])"]
    assert list(tracing.from_stores(cells)) == [False, False, True]


def test_the_rows_are_put_beside_the_pages(rendered: Book, tmp_path: Path) -> None:
    book = _copy(rendered, tmp_path / "copy")
    write_json(book.root / "book" / "results" / "transfer" / "0f.json", {"key": "0f"})
    _change(book, _output(runs="0f"))
    html = book.root / "_build" / "html"
    before = set((html / "runs").iterdir())
    tracing.publish(book, "smoke", html / "runs")
    assert {path.name for path in set((html / "runs").iterdir()) - before} == {"0f.json"}
    page = html / "book" / "one.html"
    link = '<details data-runs="0f"><a href="../runs/0f.json">0f</a></details></article>'
    page.write_text(page.read_text().replace("</article>", link, 1))
    assert htmlcheck.problems(html) == []


def test_the_run_of_a_page_is_written_again_when_it_is_gone(executed: Book, tmp_path: Path) -> None:
    book = _copy(executed, tmp_path / "copy")
    said: list[str] = []
    shutil.rmtree(execution.runs(book, "smoke"))
    execution.run(book, "smoke", say=said.append)
    assert said[0] == "one: running"
    assert len(list(execution.runs(book, "smoke").iterdir())) == 1
