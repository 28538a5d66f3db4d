"""One execution per chapter and preset: when it happens, when it does not, and what a failure leaves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from mpbook import execution, notebooks, worker
from mpbook.layout import Book
from mplib.errors import MplibError
from tests.tiny import ALT, Tiny, chapter, code, markdown


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replaces the kernel by one that prints nothing; returns the parameters of every run."""
    runs: list[dict[str, Any]] = []

    def fake(source: Path, target: Path, parameters: dict[str, Any], log: Path, run: str) -> worker.Cost:
        notebook = notebooks.read(source)
        if parameters:
            text = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
            cell = nbformat.v4.new_code_cell(f"# Parameters\n{text}", metadata={"tags": ["injected-parameters"]})
            notebook["cells"].insert(2, cell)
        for count, cell in enumerate(notebooks.code_cells(notebook), 1):
            cell["execution_count"] = count
        notebooks.write(target, notebook)
        runs.append(parameters)
        return worker.Cost(1.25, 100.4)

    monkeypatch.setattr(worker, "execute", fake)
    return runs


def test_executes_once_with_a_real_kernel(executed: Book) -> None:
    notebook = notebooks.read(executed.executed("smoke", "one"))
    cells = {cell["id"]: cell for cell in notebook["cells"]}
    assert cells["injected-parameters"]["source"] == "# Set by the preset 'smoke'\npreset = \"smoke\"\nsteps = 2\n"
    assert cells["double"]["outputs"][0]["text"] == "4\n"
    assert "image/png" in cells["figure"]["outputs"][0]["data"]
    assert cells["figure"]["metadata"]["mystnb"]["image"]["alt"] == ALT
    assert notebook["metadata"]["mpbook"]["parameters"] == {"preset": "smoke", "steps": 2, "rate": 0.1}
    assert "papermill" not in notebook["metadata"]
    costs = json.loads((executed.build("smoke") / "costs.json").read_text())
    assert 0 < costs["one"]["seconds"] < 100
    assert 20 < costs["one"]["peak_mib"] < 2000
    assert not list((executed.build("smoke") / "running").iterdir())
    said: list[str] = []
    execution.run(executed, "smoke", say=said.append)
    assert said == ["one: unchanged"]


def test_a_failing_cell_is_named_kept_and_does_not_stop_the_others(tiny: Tiny) -> None:
    wrong = [*chapter()[:3], code("divide", "import sys\nprint('started')\n1 / 0"), code("after", "print(1)")]
    book = Book(tiny({"wrong": wrong, "right": chapter()}))
    with pytest.raises(MplibError, match="^wrong, cell divide: ZeroDivisionError: division by zero\n") as error:
        execution.run(book, "smoke")
    kept = book.build("smoke") / "failed" / "wrong.ipynb"
    assert str(kept) in str(error.value)
    assert "started" in kept.read_text()
    assert not book.executed("smoke", "wrong").exists()
    assert book.executed("smoke", "right").exists()


def test_a_kernel_that_dies_is_a_failure(tiny: Tiny) -> None:
    book = Book(tiny({"one": [*chapter()[:3], code("die", "import os\nos._exit(3)")]}))
    with pytest.raises(MplibError, match="one, papermill failed: .*died"):
        execution.run(book, "smoke")
    assert not book.executed("smoke", "one").exists()


def test_only_a_change_that_matters_runs_again(tiny: Tiny, ran: list[dict[str, Any]]) -> None:
    book = Book(tiny())
    again: Callable[[], int] = lambda: (execution.run(book, "smoke"), len(ran))[1]  # noqa: E731
    assert (again(), again()) == (1, 1)

    tiny.write("one", [*chapter(), markdown("more", "More text.")])
    assert again() == 1
    assert notebooks.read(book.executed("smoke", "one"))["cells"][-1]["source"] == "More text."
    assert execution.up_to_date(book, "smoke", "one")

    tiny.write("one", [*chapter(), code("more", "1 + 1")])
    assert not execution.up_to_date(book, "smoke", "one")
    assert (again(), again()) == (2, 2)

    book.preset("smoke").write_text('{"one": {"steps": 7}}')
    assert (again(), again()) == (3, 3)

    (book.root / "book" / "results").mkdir()
    (book.root / "book" / "results" / "rows.json").write_text("[]")
    assert (again(), again()) == (4, 4)

    book.executed("smoke", "one").unlink()
    assert again() == 5
    execution.run(book, "smoke", force=True)
    assert len(ran) == 6


def test_source_of_the_packages_matters(tiny: Tiny, ran: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    book = Book(tiny())
    execution.run(book, "fast")
    monkeypatch.setattr(execution.provenance, "source_hash", lambda parts: "another")
    execution.run(book, "fast")
    assert len(ran) == 2


def test_the_code_of_a_chapter_is_its_cells_the_packages_and_nothing_that_comes_and_goes(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = Book(tiny())
    for name in ("mplib", "mpbook"):
        shutil.copytree(execution.PACKAGES / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(execution, "PACKAGES", tmp_path)
    before = execution.code_hash(book, "one")
    cache = tmp_path / "mplib" / "fused" / "__pycache__"
    cache.mkdir()
    (cache / "kernels.nbi").write_text("what numba keeps")
    assert execution.code_hash(book, "one") == before
    (tmp_path / "mplib" / "pretrained" / "another.safetensors").write_text("")
    assert execution.code_hash(book, "one") != before
    tiny.write("one", [*chapter(), code("more", "1 + 1")])
    assert execution.code_hash(book, "one") != before


def test_only_what_differs_from_the_defaults_is_injected(tiny: Tiny, ran: list[dict[str, Any]]) -> None:
    book = Book(tiny(presets={"smoke": {"one": {"steps": 1, "rate": 0.1}}}))
    execution.run(book, "smoke")
    execution.run(book, "fast")
    assert ran == [{"preset": "smoke", "steps": 1}, {}]


def test_overrides_never_mix_with_a_preset(tiny: Tiny, ran: list[dict[str, Any]]) -> None:
    book = Book(tiny())
    (path,) = execution.run(book, "fast", ["one"], ["steps=50"])
    assert path == book.root / "build" / "custom" / "book" / "one.ipynb"
    assert "# Set on the command line\nsteps = 50" in notebooks.read(path)["cells"][2]["source"]
    assert not book.executed("fast", "one").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overrides": ["stpes=1"]}, "unknown parameter 'stpes', did you mean 'steps'"),
        ({"overrides": ["steps=many"]}, "is the string 'many', expected int"),
        ({"chapters": ["two"]}, "unknown chapter 'two'"),
    ],
)
def test_refuses_before_a_kernel_starts(
    tiny: Tiny, ran: list[dict[str, Any]], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(MplibError, match=message):
        execution.run(Book(tiny()), "fast", **options)
    assert ran == []


def test_refuses_a_bad_source_before_a_kernel_starts(tiny: Tiny, ran: list[dict[str, Any]]) -> None:
    bad = chapter()
    bad[3]["metadata"]["mystnb"]["image"]["alt"] = " "
    book = Book(tiny({"right": chapter(), "wrong": bad}))
    with pytest.raises(MplibError, match="wrong.ipynb: cell figure: shows a figure without alternative text"):
        execution.run(book, "smoke")
    assert ran == []


def test_an_incomplete_run_is_refused(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    book = Book(tiny())

    def half(source: Path, target: Path, parameters: dict[str, Any], log: Path, run: str) -> worker.Cost:
        notebooks.write(target, notebooks.read(source))
        return worker.Cost(1.0, 1.0)

    monkeypatch.setattr(worker, "execute", half)
    with pytest.raises(MplibError, match=r"ran in the order \[None, None, None\], expected 1 to 3"):
        execution.run(book, "smoke")
    monkeypatch.setattr(worker, "execute", lambda *arguments: worker.Cost(0.0, 0.0, "nothing there"))
    with pytest.raises(MplibError, match="no notebook came back: nothing there"):
        execution.run(book, "smoke")


def test_parameters_that_were_not_obeyed_are_refused(
    tiny: Tiny, ran: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = worker.execute
    monkeypatch.setattr(worker, "execute", lambda source, target, parameters, *rest: fake(source, target, {}, *rest))
    with pytest.raises(MplibError, match="the injected parameters are {}, expected {'preset': 'smoke'}"):
        execution.run(Book(tiny()), "smoke")


def test_clean_removes_what_was_made(tiny: Tiny, ran: list[dict[str, Any]]) -> None:
    book = Book(tiny())
    execution.run(book, "smoke")
    execution.clean(book)
    assert sorted(path.name for path in book.root.iterdir()) == ["_config.yml", "_toc.yml", "book"]
