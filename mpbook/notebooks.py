"""Notebooks as the book stores them: sources without outputs, and the same sources with outputs put in.

A source says by tags what a cell is for (``parameters``, ``nbval-check-output``), and by ``mystnb`` metadata what
its figure shows. Cells are known by their id, which never changes; references and outputs hang on it.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat

from mpbook import parameters
from mplib.errors import MplibError
from mplib.files import write_text

CHECKED = "nbval-check-output"
PARAMETERS = "parameters"
INJECTED = "injected-parameters"
LONGEST = 30  # lines of a code cell
KNOWN_TAGS = {
    PARAMETERS, CHECKED, "hide-input", "hide-output", "hide-cell", "remove-input", "remove-output", "remove-cell",
    "full-width", "margin", "output_scroll",
}  # fmt: skip


def read(path: Path) -> nbformat.NotebookNode:
    """Read a notebook.

    Raises:
        MplibError: no such file, not JSON, or not a notebook of format 4.5 (cells with ids).
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
        version = (content["nbformat"], content["nbformat_minor"])
    except OSError as error:
        raise MplibError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise MplibError(f"{path} is not a notebook, expected the JSON of format 4.5") from error
    ids = [cell.get("id") for cell in content["cells"]]
    if version < (4, 5) or None in ids:
        raise MplibError(f"{path} is of format {version[0]}.{version[1]}, expected 4.5 with an id for every cell")
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise MplibError(f"{path} has two cells with the id {twice[0]!r}, expected unique ids")
    try:
        nbformat.validate(content)
    except nbformat.ValidationError as error:
        raise MplibError(f"{path} is not a valid notebook: {error.message}") from error
    return nbformat.reads(text, as_version=4)


def write(path: Path, notebook: nbformat.NotebookNode) -> None:
    """Write a notebook, whole or not at all."""
    write_text(path, nbformat.writes(notebook))


def tags(cell: Mapping[str, Any]) -> set[str]:
    """The tags of a cell."""
    return set(cell["metadata"].get("tags", []))


def title(notebook: Mapping[str, Any]) -> str:
    """The title of a chapter: the first heading of its first cell."""
    return next(line for line in notebook["cells"][0]["source"].splitlines() if line.startswith("# "))[2:].strip()


def code_cells(notebook: Mapping[str, Any]) -> list[nbformat.NotebookNode]:
    """The code cells in order."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def declared(path: Path) -> dict[str, parameters.Parameter]:
    """The parameters that a chapter declares.

    Raises:
        MplibError: no parameters cell, one that cannot be read, or one without ``preset: str = "fast"``.
    """
    cell = next((cell for cell in code_cells(read(path)) if PARAMETERS in tags(cell)), None)
    if cell is None:
        raise MplibError(f"{path.name} has no cell tagged 'parameters', expected one with 'preset: str = \"fast\"'")
    try:
        found = parameters.parse(cell["source"])
    except MplibError as error:
        raise MplibError(f"{path.name}: {error}") from error
    preset = found.get("preset")
    if preset is None or (preset.type, preset.default) != ("str", "fast"):
        raise MplibError(
            f"{path.name} does not declare its preset, expected 'preset: str = \"fast\"' among the parameters"
        )
    return found


def problems(path: Path) -> list[str]:
    """Everything that is wrong with a chapter's source, one sentence each.

    Looks at what review overlooks: outputs left in, cells without a reference, figures without alternative text.
    """
    try:
        notebook = read(path)
        declared(path)
    except MplibError as error:
        return [str(error)]
    found = []
    cells = notebook["cells"]
    if notebook["metadata"].get("kernelspec", {}).get("name") != "python3":
        found.append("the kernel is not python3, expected metadata.kernelspec.name to be 'python3'")
    if cells[0]["cell_type"] != "markdown" or not re.search(r"^# \S", cells[0]["source"], re.MULTILINE):
        found.append("the first cell holds no title, expected Markdown with one line '# Title'")
    code = code_cells(notebook)
    if PARAMETERS not in tags(code[0]) or sum(PARAMETERS in tags(cell) for cell in code) > 1:
        found.append("the first code cell, and only that one, is to be tagged 'parameters'")
    if not any(CHECKED in tags(cell) for cell in code):
        found.append(f"no cell is tagged {CHECKED!r}, expected at least one whose output is compared with a reference")
    found += _exercise_problems("\n".join(cell["source"] for cell in cells if cell["cell_type"] == "markdown"))
    for cell in cells:
        found += [f"cell {cell['id']}: {problem}" for problem in _cell_problems(cell)]
    return [f"{path.name}: {problem}" for problem in found]


def _exercise_problems(text: str) -> list[str]:
    """Each exercise has a solution; and Python in a solution is a cell, which is run, not an example in the text."""
    exercise = r"^[`:~]{3,}\{exercise(?:-start)?\}[^\n]*\n(?::(?!label)[^\n]*\n)*:label: (\S+)"
    names = re.findall(exercise, text, re.MULTILINE)
    solved = set(re.findall(r"^[`:~]{3,}\{solution(?:-start)?\} (\S+)", text, re.MULTILINE))
    missing = [name for name in names if name not in solved]
    found = [f"the exercise {name} has no solution, expected a {{solution}} {name}" for name in missing]
    found += [f"there is a solution of {name}, which is no exercise here" for name in sorted(solved - set(names))]
    if re.search(r"^[ ]*[`~]{3,}[ ]*(python|\{code-block\} python)", text, re.MULTILINE):
        found.append("a text cell holds Python in a fence, expected a code cell, which is run")
    return found


def _cell_problems(cell: Mapping[str, Any]) -> list[str]:
    found = []
    lines = len(cell["source"].splitlines())
    if cell["cell_type"] == "code" and lines > LONGEST:
        found.append(f"has {lines} lines, expected at most {LONGEST}")
    if cell.get("outputs") or cell.get("execution_count") is not None:
        found.append("has outputs or an execution count, expected a stripped source (nbstripout --keep-id)")
    unknown_tags = sorted(tags(cell) - KNOWN_TAGS)
    if unknown_tags:
        found.append(f"is tagged {', '.join(unknown_tags)}, expected only {', '.join(sorted(KNOWN_TAGS))}")
    other = sorted(set(cell["metadata"]) - {"tags", "mystnb"})
    if other:
        found.append(f"has the metadata {', '.join(other)}, expected only tags and mystnb")
    mystnb = cell["metadata"].get("mystnb", {})
    if "figure" in mystnb:
        if not mystnb.get("image", {}).get("alt", "").strip():
            found.append("shows a figure without alternative text, expected mystnb.image.alt")
        found += [
            f"shows a figure without a {key}, expected mystnb.figure.{key}"
            for key in ("caption", "name")
            if not str(mystnb["figure"].get(key, "")).strip()
        ]
    return found


def combine(
    source: nbformat.NotebookNode, run: nbformat.NotebookNode, note: Mapping[str, Any]
) -> nbformat.NotebookNode:
    """Put the outputs of a run into its source.

    The text, tags and captions are those of the source, so they may be edited without running anything again; the
    run gives outputs, execution counts and the cell of injected parameters. Nothing volatile of the run is kept.

    Args:
        source: the chapter without outputs.
        run: the same code cells after execution.
        note: what is stored as ``metadata.mpbook`` of the result.
    """
    result = copy.deepcopy(source)
    by_id = {cell["id"]: cell for cell in code_cells(run)}
    injected = next((copy.deepcopy(cell) for cell in code_cells(run) if INJECTED in tags(cell)), None)
    cells = []
    for cell in result["cells"]:
        cells.append(cell)
        if cell["cell_type"] != "code":
            continue
        cell["outputs"] = copy.deepcopy(by_id[cell["id"]]["outputs"])
        cell["execution_count"] = by_id[cell["id"]]["execution_count"]
        if injected is not None and PARAMETERS in tags(cell):
            injected["metadata"] = nbformat.NotebookNode(tags=[INJECTED])
            setter = "on the command line" if note["preset"] == "custom" else f"by the preset {note['preset']!r}"
            injected["source"] = injected["source"].replace("# Parameters\n", f"# Set {setter}\n")
            # papermill draws a random id, which would make two equal runs differ
            injected["id"] = INJECTED
            cells.append(injected)
            injected = None
    result["cells"] = cells
    result["metadata"]["mpbook"] = nbformat.from_dict(dict(note))
    return result


def code(notebook: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Id and source of every code cell but the injected one: what a run depends on."""
    return [(cell["id"], cell["source"]) for cell in code_cells(notebook) if INJECTED not in tags(cell)]
