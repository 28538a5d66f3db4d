"""The reference outputs of checked cells: what is kept of an output, and what is missed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest

from mpbook import notebooks, references
from mpbook.layout import Book
from mplib.errors import MplibError
from tests.tiny import CHECKED, Tiny, chapter, code


def _executed(outputs: list[Any]) -> nbformat.NotebookNode:
    notebook = nbformat.from_dict({"cells": chapter(), "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    notebook["cells"][2]["outputs"] = outputs
    return notebook


def test_keeps_text_and_merges_streams() -> None:
    out = nbformat.v4.new_output
    figure = {"text/plain": "<Figure size 1x1>", "image/png": "AAAA", "text/html": "<b>x</b>"}
    outputs = [
        out("stream", name="stdout", text="a\n"),
        out("display_data", data=figure),
        out("stream", name="stdout", text="b\n"),
        out("stream", name="stderr", text="c\n"),
        out("display_data", data={"image/png": "AAAA"}),
    ]
    first, second, third = references.comparable(outputs)
    assert (first["name"], first["text"]) == ("stdout", "a\nb\n")
    assert second["data"] == {"text/plain": "<Figure size 1x1>"}
    assert (third["name"], third["text"]) == ("stderr", "c\n")
    assert outputs[0]["text"] == "a\n"


def test_is_made_from_the_smoke_run(executed: Book) -> None:
    reference = json.loads(executed.reference("one").read_text())
    output = {"name": "stdout", "output_type": "stream", "text": "4\n"}
    assert reference == {"double": {"outputs": [output], "source": CHECKED}}
    assert references.load(executed.reference("one")) == reference
    assert references.problems(notebooks.read(executed.executed("smoke", "one")), reference) == []


def test_a_checked_cell_prints_something() -> None:
    with pytest.raises(MplibError, match="the checked cell double prints nothing"):
        references.extract(_executed([]))
    notebook = _executed([])
    notebook["cells"][2]["metadata"] = {}
    with pytest.raises(MplibError, match="no cell is tagged 'nbval-check-output'"):
        references.extract(notebook)


def test_needs_a_current_smoke_run(tiny: Tiny) -> None:
    with pytest.raises(MplibError, match="one has no up-to-date smoke run, expected 'python -m mpbook run"):
        references.record(Book(tiny()))


def test_says_what_does_not_fit() -> None:
    notebook = _executed([nbformat.v4.new_output("stream", text="6\n")])
    reference = references.extract(notebook)
    notebook["cells"].append(nbformat.from_dict(code("new", "1", "nbval-check-output")))
    assert references.problems(notebook, reference) == ["checked cell new has no reference"]
    notebook["cells"][2]["source"] += "  # edited"
    notebook["cells"].pop()
    assert "source of checked cell double is not the one" in references.problems(notebook, reference)[0]
    notebook["cells"][2]["metadata"] = {}
    assert references.problems(notebook, reference) == [
        "the reference has cell double, which is not checked any more",
        "no cell is tagged 'nbval-check-output'",
    ]


def test_refuses_a_missing_or_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    with pytest.raises(
        MplibError, match="there is no reference .*expected one made by 'python -m mpbook reference one'"
    ):
        references.load(path)
    for content, message in [
        ("{", "not valid JSON"),
        ("[]", "is not a reference"),
        ('{"a": {}}', "is not a reference"),
    ]:
        path.write_text(content)
        with pytest.raises(MplibError, match=message):
            references.load(path)


def test_finds_references_of_no_chapter(executed: Book, tmp_path: Path) -> None:
    assert references.strays(executed) == []
    root = tmp_path / "copy"
    shutil.copytree(executed.root, root, ignore=shutil.ignore_patterns("build", "_build"))
    book = Book(root)
    shutil.copy(book.reference("one"), book.reference("two"))
    assert references.strays(book) == [book.reference("two")]
