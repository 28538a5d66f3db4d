"""Each chapter runs once per preset; a run is repeated only if something that it depends on has changed.

papermill executes ``book/X.ipynb`` in a process of its own, the result is checked, and only a complete notebook
gets the name ``build/<preset>/book/X.ipynb``. Its metadata carries a key made of the code, the parameters, the
source of the packages and the recorded rows; while the key is the same the notebook is left alone, or, if only
its text was edited, given the new text. A failed notebook is kept under ``build/<preset>/failed/``. The run itself is
a row of the store ``build/<preset>/runs``, whose key the badge of the page shows.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from mpbook import notebooks, presets, worker
from mpbook.layout import Book
from mplib import devices, provenance
from mplib.errors import MplibError
from mplib.files import write_json

PACKAGES = Path(__file__).resolve().parent.parent
# A chapter's outputs depend on these of our own modules: on what it imports, and on what runs it. The others
# only read finished notebooks, so a change in them repeats nothing.
_OWN = ("page", "layout", "execution", "worker", "claims", "comparing", "pairing", "verdicts", "findings")
OWN_MODULES = tuple(f"mpbook/{name}.py" for name in _OWN)
DATA_FILES = ("claims.yml", "claims_before_review.yml", "paper_figures.yml")  # of the book, read by chapters
LIBRARIES = ("torch", "numpy", "matplotlib", "scikit-image", "mlxtend", "scikit-learn")


def run(
    book: Book,
    preset: str,
    chapters: Iterable[str] = (),
    overrides: Iterable[str] = (),
    force: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Execute chapters, one after another, where needed.

    Everything is checked before the first kernel starts. A chapter that fails does not stop the others; the
    error at the end names each of them.

    Args:
        book: the book.
        preset: ``smoke``, ``fast`` or ``full``.
        chapters: names; default all, in reading order.
        overrides: ``name=value`` texts; the results then go to ``build/custom`` and never mix with a preset's.
        force: run again although nothing has changed.
        say: called with a line for people as things happen.

    Returns:
        The executed notebooks.

    Raises:
        MplibError: a bad source, preset or parameter, or failed chapters, each with its cell and its error.
    """
    overrides = list(overrides)
    names = list(chapters) or list(book.chapters)
    faults = [problem for name in names for problem in notebooks.problems(book.source(name))]
    if faults:
        raise MplibError("\n".join(faults))
    presets.check(book)
    parameters = {name: presets.resolve(book, preset, name, overrides) for name in names}
    folder = "custom" if overrides else preset
    packages = _packages_hash(book)

    failures = []
    for name in names:
        try:
            _run_chapter(book, folder, name, parameters[name], packages, force, say)
        except MplibError as error:
            say(f"{name}: FAILED")
            failures.append(str(error))
    _write_costs(book, folder)
    if failures:
        raise MplibError("\n\n".join(failures))
    return [book.executed(folder, name) for name in names]


def up_to_date(book: Book, preset: str, chapter: str) -> bool:
    """Whether the executed notebook exists and was made from the code that the chapter has now."""
    path = book.executed(preset, chapter)
    return path.is_file() and notebooks.code(notebooks.read(path)) == notebooks.code(
        notebooks.read(book.source(chapter))
    )


def runs(book: Book, preset: str) -> Path:
    """The store with a row for each executed chapter."""
    return book.build(preset) / "runs"


def _run_chapter(
    book: Book,
    preset: str,
    name: str,
    parameters: dict[str, Any],
    packages: str,
    force: bool,
    say: Callable[[str], None],
) -> None:
    source, final = notebooks.read(book.source(name)), book.executed(preset, name)
    key = _hash(json.dumps([notebooks.code(source), parameters, packages], sort_keys=True))
    row = runs(book, preset) / f"{key[:16]}.json"
    if final.is_file() and row.is_file() and not force:
        done = notebooks.read(final)
        note = done["metadata"].get("mpbook", {})
        if note.get("key") == key:
            refreshed = notebooks.combine(source, done, note)
            if refreshed != done:
                notebooks.write(final, refreshed)
            say(f"{name}: unchanged")
            return
    say(f"{name}: running")
    working = book.build(preset) / "running" / f"{name}.ipynb"
    failed = book.build(preset) / "failed" / f"{name}.ipynb"
    failed.unlink(missing_ok=True)
    working.parent.mkdir(parents=True, exist_ok=True)
    log = book.build(preset) / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    injected = overriding(book, name, parameters)
    cost = worker.execute(book.source(name), working, injected, log, {worker.RUN: row.stem})
    problems = run_problems(working, injected, cost)
    if problems:
        if working.is_file():
            failed.parent.mkdir(parents=True, exist_ok=True)
            os.replace(working, failed)
        kept = f"\n  the failed notebook is {failed}" if failed.is_file() else ""
        raise MplibError("\n".join(f"{name}, {problem}" for problem in problems) + f"{kept}\n  the log is {log}")
    note = {
        "chapter": name,
        "preset": preset,
        "parameters": parameters,
        "key": key,
        "run": row.stem,
        "seconds": round(cost.seconds, 1),
        "peak_mib": round(cost.peak_mib),
        "cpus": os.cpu_count(),
    }
    finished = notebooks.combine(source, notebooks.read(working), note)
    notebooks.write(final, finished)
    write_json(row, _row(note, finished))
    working.unlink()
    say(f"{name}: done in {cost.seconds:.1f} s, {cost.peak_mib:.0f} MiB")


def _row(note: dict[str, Any], finished: Mapping[str, Any]) -> dict[str, Any]:
    """The run of a chapter as a row, in the form of :class:`mplib.runs.RunStore`."""
    outputs = [(cell["id"], cell["outputs"]) for cell in notebooks.code_cells(finished)]
    parameters = note["parameters"]
    return {
        "key": note["run"],
        "config": {"experiment": "page", "chapter": note["chapter"], **parameters},
        "result": {
            "outputs": _hash(json.dumps(outputs, sort_keys=True)),
            **{name: note[name] for name in ("peak_mib", "cpus")},
        },
        "environment": provenance.environment(devices.resolve(parameters.get("device", "cpu"))),
        "seconds": note["seconds"],
    }


def overriding(book: Book, chapter: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters that differ from their defaults: only these are injected, so a page of defaults needs no cell."""
    declared = notebooks.declared(book.source(chapter))
    return {name: value for name, value in parameters.items() if value != declared[name].default}


def run_problems(path: Path, expected: dict[str, Any], cost: worker.Cost) -> list[str]:
    """Why the notebook that papermill left cannot be used; empty if it can."""
    if not path.is_file():
        return [f"no notebook came back: {cost.error or 'papermill wrote nothing'}"]
    cells = notebooks.code_cells(notebooks.read(path))
    errors = [(cell["id"], out) for cell in cells for out in cell["outputs"] if out["output_type"] == "error"]
    if errors:
        return [f"cell {cell}: {out['ename']}: {out['evalue']}" for cell, out in errors]
    if cost.error:
        return [f"papermill failed: {cost.error}"]
    counts = [cell["execution_count"] for cell in cells if cell["source"].strip()]
    if counts != list(range(1, len(counts) + 1)):
        return [f"the cells ran in the order {counts}, expected 1 to {len(counts)}"]
    source = next((cell["source"] for cell in cells if notebooks.INJECTED in notebooks.tags(cell)), "")
    found = {
        statement.targets[0].id: ast.literal_eval(statement.value)
        for statement in ast.parse(source).body
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
    }
    if found != expected:
        return [f"the injected parameters are {found}, expected {expected}"]
    return []


def _write_costs(book: Book, preset: str) -> None:
    """Collect what every finished chapter took into ``costs.json``."""
    costs = {}
    for name in book.chapters:
        path = book.executed(preset, name)
        if path.is_file():
            note = notebooks.read(path)["metadata"]["mpbook"]
            costs[name] = {key: note[key] for key in ("seconds", "peak_mib", "cpus")}
    write_json(book.build(preset) / "costs.json", costs)


def code_hash(book: Book, chapter: str) -> str:
    """16 hexadecimal digits for everything but the parameters that decides what a run of a chapter gives."""
    return _hash(json.dumps([notebooks.code(notebooks.read(book.source(chapter))), _packages_hash(book)]))[:16]


def _packages_hash(book: Book) -> str:
    """One hash of everything outside a chapter that can change its outputs: packages, versions, recorded rows."""
    package = PACKAGES / "mplib"
    # Comments and docstrings of the package change no output, so editing them repeats nothing.
    modules = {path.relative_to(package).parts[0].removesuffix(".py") for path in package.rglob("*.py")}
    # What compilers leave beside the sources comes and goes while chapters run.
    files = [path for path in sorted(package.rglob("*")) if path.suffix != ".py" and "__pycache__" not in path.parts]
    files += [PACKAGES / name for name in OWN_MODULES]
    files += [book.root / "book" / name for name in DATA_FILES]
    files += sorted((book.root / "book" / "results").rglob("*"))
    parts = [f"python {platform.python_version()}"] + [f"{name} {metadata.version(name)}" for name in LIBRARIES]
    parts.append(provenance.source_hash(modules))
    parts += [f"{path.name} {_hash(path.read_bytes())}" for path in files if path.is_file()]
    return _hash("\n".join(parts))


def _hash(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def clean(book: Book) -> None:
    """Remove everything that the pipeline made."""
    for folder in (book.root / "build", book.root / "_build"):
        shutil.rmtree(folder, ignore_errors=True)
