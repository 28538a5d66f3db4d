"""Sources of chapters: what is refused before anything runs, and how outputs are put into them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import nbformat
import pytest

from mpbook import notebooks
from mplib.errors import MplibError
from tests.tiny import PARAMETERS, Tiny, chapter, code, markdown

EXERCISE = "```{exercise} Why\n:label: ex-a\n\nIs it so?\n```\n"
SOLUTION = "```{solution} ex-a\n:class: dropdown\n\nYes.\n```\n"

Cells = list[dict[str, Any]]


def test_a_right_chapter_has_no_problems(tiny: Tiny) -> None:
    root = tiny()
    assert notebooks.problems(root / "book" / "one.ipynb") == []


def test_an_exercise_with_its_solution_and_a_command_are_right(tiny: Tiny) -> None:
    text = EXERCISE + "\n" + SOLUTION + "\n```\npython -m mpbook run one\n```"
    assert notebooks.problems(tiny({"one": [*chapter(), markdown("ex", text)]}) / "book" / "one.ipynb") == []


def _edit(number: int, **changes: Any) -> Callable[[Cells], None]:
    return lambda cells: cells[number].update(changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_edit(0, source="No title"), "holds no title"),
        (_edit(1, metadata={}), "no cell tagged 'parameters'"),
        (_edit(1, source="steps: int = 3"), "does not declare its preset"),
        (_edit(1, source='preset: str = "smoke"'), "does not declare its preset"),
        (_edit(1, source=PARAMETERS + "\ntwice = steps * 2"), "expected only annotated plain assignments"),
        (lambda cells: cells.insert(1, code("early", "1")), "first code cell"),
        (lambda cells: cells.append(code("late", "a: int = 1", "parameters")), "first code cell"),
        (_edit(2, metadata={}), "no cell is tagged 'nbval-check-output'"),
        (_edit(2, id="title"), "has two cells with the id 'title'"),
        (_edit(2, execution_count=1), "cell double: has outputs or an execution count"),
        (_edit(2, source="1\n" * 31), "cell double: has 31 lines, expected at most 30"),
        (lambda cells: cells.append(markdown("ex", EXERCISE)), "the exercise ex-a has no solution"),
        (lambda cells: cells.append(markdown("ex", SOLUTION)), "a solution of ex-a, which is no exercise here"),
        (lambda cells: cells.append(markdown("py", "```python\n1 + 1\n```")), "holds Python in a fence"),
        (_edit(2, metadata={"tags": ["nbval-check-output", "raises-exception"]}), "is tagged raises-exception"),
        (_edit(2, metadata={"tags": ["nbval-check-output"], "papermill": {}}), "has the metadata papermill"),
        (_edit(3, metadata={"mystnb": {"figure": {"caption": "A", "name": "b"}}}), "without alternative text"),
        (_edit(3, metadata={"mystnb": {"image": {"alt": "A"}, "figure": {"name": "b"}}}), "without a caption"),
        (lambda cells: cells[0].pop("id"), "expected 4.5 with an id for every cell"),
        (lambda cells: cells[2].pop("outputs"), "not a valid notebook"),
    ],
)
def test_refuses_a_wrong_chapter(tiny: Tiny, change: Callable[[Cells], None], message: str) -> None:
    cells = chapter()
    change(cells)
    root = tiny({"one": cells})
    (problem,) = notebooks.problems(root / "book" / "one.ipynb")
    assert message in problem
    assert "one.ipynb" in problem


def test_refuses_what_is_not_a_notebook(tiny: Tiny) -> None:
    path = tiny() / "book" / "one.ipynb"
    for content in ("{", "[]", '{"cells": []}'):
        path.write_text(content)
        with pytest.raises(MplibError, match="not a notebook"):
            notebooks.read(path)
    notebook = json.loads(tiny_source(tiny))
    notebook["metadata"]["kernelspec"]["name"] = "julia"
    path.write_text(json.dumps(notebook))
    assert "the kernel is not python3" in notebooks.problems(path)[0]


def tiny_source(tiny: Tiny) -> str:
    return (tiny() / "book" / "one.ipynb").read_text()


def test_outputs_go_into_the_source_and_nothing_volatile_stays(tiny: Tiny) -> None:
    source = notebooks.read(tiny() / "book" / "one.ipynb")
    run = copy.deepcopy(source)
    for count, cell in enumerate(notebooks.code_cells(run), 1):
        cell["metadata"]["papermill"] = {"duration": 0.1}
        cell["execution_count"] = count
    run["cells"][2]["outputs"] = [nbformat.v4.new_output("stream", text="6\n")]
    injected = nbformat.v4.new_code_cell("# Parameters\nsteps = 3", metadata={"tags": ["injected-parameters"]})
    run["cells"].insert(2, injected)
    run["metadata"]["papermill"] = {"start_time": "now"}

    source["cells"][0]["source"] = "# A new title"
    result = notebooks.combine(source, run, {"preset": "smoke"})
    assert [cell["id"] for cell in result["cells"]] == [
        "title",
        "parameters",
        "injected-parameters",
        "double",
        "figure",
    ]
    assert result["cells"][0]["source"] == "# A new title"
    assert result["cells"][2]["source"] == "# Set by the preset 'smoke'\nsteps = 3"
    assert result["cells"][3]["outputs"][0]["text"] == "6\n"
    assert "papermill" not in nbformat.writes(result)
    assert notebooks.combine(source, result, {"preset": "smoke"}) == result
    assert notebooks.code(result) == notebooks.code(source)


def test_text_cells_do_not_count_as_code(tiny: Tiny) -> None:
    one = notebooks.read(tiny() / "book" / "one.ipynb")
    two = notebooks.read(tiny({"one": [*chapter(), markdown("more", "More text.")]}) / "book" / "one.ipynb")
    assert notebooks.code(one) == notebooks.code(two)
