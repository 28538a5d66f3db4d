"""What chapters show: the badge, tables, intended errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from bs4 import BeautifulSoup

from mpbook import page
from mplib.errors import MplibError
from mplib.files import write_json
from tests.tiny import Tiny


def test_the_badge_says_what_made_the_page() -> None:
    badge = page.badge("full", seeds=[3], device="cpu")
    text = BeautifulSoup(badge._repr_html_(), "html.parser").get_text()
    for words in ("Full preset", "torch " + torch.__version__, "commit", "; seed 3."):
        assert words in text
        assert words in repr(badge)
    assert repr(badge) == repr(page.badge("full", seeds=[3], device="cpu"))
    assert "; seed" not in repr(page.badge("fast"))
    assert "Do not quote" in repr(page.badge("smoke"))
    with pytest.raises(MplibError, match="unknown preset 'fats', did you mean 'fast'"):
        page.badge("fats")


def test_a_table_has_a_caption_and_headers() -> None:
    frame = pd.DataFrame({"net <a>": ["conv4", "vgg9"], "n": [1, 20], "acc": [0.12345, np.nan], "ok": [True, False]})
    table = page.table(frame, "Two & two", digits=2)
    soup = BeautifulSoup(table._repr_html_(), "html.parser")
    assert soup.caption is not None
    assert soup.caption.get_text() == "Two & two"
    assert [th.get_text() for th in soup.select("th[scope=col]")] == ["net <a>", "n", "acc", "ok"]
    assert [th.get_text() for th in soup.select("th[scope=row]")] == ["conv4", "vgg9"]
    assert [td.get_text() for td in soup.select("td.number")] == ["1", "0.12", "20", "–"]
    assert repr(table).splitlines() == [
        "Two & two",
        "net <a>   n   acc  ok",
        "conv4     1  0.12  True",
        "vgg9     20     –  False",
    ]


def test_a_table_is_typeset_as_the_prose_is() -> None:
    table = page.table([{"phi's": "the authors' code, 'conv1'", "n": -3, "x": -0.65, "y": -0.0001}], "phi's", digits=2)
    soup = BeautifulSoup(table._repr_html_(), "html.parser")
    assert soup.caption is not None and soup.caption.get_text() == "phi’s"
    assert [cell.get_text() for cell in soup.select("tbody th, tbody td")] == [
        "the authors’ code, 'conv1'", "−3", "−0.65", "0.00",
    ]  # fmt: skip


ROW: dict[str, Any] = {"key": "0f", "environment": {"device": "cpu <1>", "source": "s", "commit": "c"}}


def test_the_badge_names_the_run_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 'data-runs=""' in page.badge("fast")._repr_html_()
    assert "Run by hand" in repr(page.badge("fast"))
    monkeypatch.setenv("MPBOOK_RUN", "0f1e")
    soup = BeautifulSoup(page.badge("fast")._repr_html_(), "html.parser")
    assert soup.select_one('.mpbook-badge[data-runs="0f1e"] a[href="../runs/0f1e.json"]')
    assert "is run 0f1e." in repr(page.badge("fast"))


def test_a_table_names_the_runs_behind_it(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tiny()
    monkeypatch.chdir(root)
    write_json(root / "book" / "results" / "transfer" / "0f.json", ROW)
    other = {**ROW, "key": "1e"}
    table = page.table([{"a": 1}], "One", runs=[ROW, other, ROW])
    soup = BeautifulSoup(table._repr_html_(), "html.parser")
    assert [link["href"] for link in soup.select('details[data-runs="0f 1e"] a')] == [
        "../runs/0f.json",
        "../runs/1e.json",
    ]
    assert soup.summary is not None
    assert soup.summary.get_text() == "From 2 runs (stores of this page, transfer; device cpu <1>; source s; commit c)"
    assert repr(table).endswith("\nFrom 2 runs")
    assert "data-runs" not in page.table([{"a": 1}], "One")._repr_html_()
    with pytest.raises(MplibError, match="no rows to name"):
        page.sources([])


def test_a_cell_may_be_something_shown(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny())
    table = page.table([{"a <b>": "<i>", "chapter": page.chapter("one"), "runs": page.sources([ROW])}], "One")
    soup = BeautifulSoup(table._repr_html_(), "html.parser")
    assert [link["href"] for link in soup.select("td a")] == ["one.html", "../runs/0f.json"]
    assert soup.select("td a")[0].get_text() == "A tiny chapter"
    assert [cell.get_text() for cell in soup.select("th")] == ["a <b>", "chapter", "runs", "<i>"]
    assert repr(table).splitlines()[2].split() == ["<i>", "one", "From", "1", "run"]
    with pytest.raises(MplibError, match="unknown chapter 'two'"):
        page.chapter("two")


def test_a_table_has_rows() -> None:
    with pytest.raises(MplibError, match="has no rows"):
        page.table([], "Nothing")


def test_an_outcome_is_a_table_for_people_and_data_for_a_sweep() -> None:
    made = page.outcome(accuracy=np.float32(0.5), n=np.int64(3), lost=float("nan"), none=None, method="phi", quick=True)
    _, metadata = made._repr_mimebundle_()
    data = metadata[page.OUTCOME]
    assert data == {"accuracy": 0.5, "n": 3, "lost": None, "none": None, "method": "phi", "quick": True}
    assert json.loads(json.dumps(data)) == data
    assert "accuracy  0.500" in repr(made) and "lost      –" in repr(made)
    with pytest.raises(MplibError, match="outcome scores is a list, expected a number"):
        page.outcome(scores=[1])
    with pytest.raises(MplibError, match="has no rows"):
        page.outcome()


def test_shows_only_the_error_that_is_meant(capsys: pytest.CaptureFixture[str]) -> None:
    with page.shows(MplibError, KeyError):
        raise MplibError("steps is -3, expected at least 1")
    assert capsys.readouterr().out == "MplibError: steps is -3, expected at least 1\n"
    with pytest.raises(ZeroDivisionError), page.shows(MplibError):
        _ = 1 / 0
    with pytest.raises(AssertionError, match="nothing was raised, expected MplibError"), page.shows(MplibError):
        pass


def test_files_are_found_from_the_chapter(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = tiny()
    monkeypatch.chdir(root / "book")
    assert page.root() == root
    assert page.results("transfer", "rows.json") == root / "book" / "results" / "transfer" / "rows.json"
    folder = page.scratch("smoke", "runs")
    assert folder == root / "build" / "smoke" / "scratch" / "runs"
    assert folder.is_dir()
    monkeypatch.setenv(page.SCRATCH, str(tmp_path / "own"))
    assert page.scratch("smoke", "runs") == tmp_path / "own" / "runs"
