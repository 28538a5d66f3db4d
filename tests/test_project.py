"""The project's own files agree with each other, and the chapters in the repository are as the pipeline needs them."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from mpbook import grids, notebooks, presets, references, sweep_command
from mpbook.layout import Book, read_yaml
from mplib.errors import MplibError

ROOT = Path(__file__).resolve().parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA_NAMES = {"torch": "pytorch"}
# What conda brings beside the packages of pyproject.toml: the interpreter and the tools of the two commands.
CONDA_TOOLS = {"python", "pip", "make", "git"}


def _split(requirement: str) -> tuple[str, frozenset[str]]:
    """A requirement as name and set of bounds, so that their order plays no part."""
    match = re.fullmatch(r"([A-Za-z0-9_.-]+)\s*(.*)", requirement)
    assert match, requirement
    bounds = frozenset(bound.strip() for bound in match[2].split(",") if bound.strip())
    return CONDA_NAMES.get(match[1], match[1]).lower(), bounds


def test_environment_and_project_ask_for_the_same_packages_and_ranges() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    (pip,) = [entry["pip"] for entry in environment if isinstance(entry, dict)]
    assert pip == ["-e .[all]"]
    conda = dict(_split(entry) for entry in environment if isinstance(entry, str))
    wanted = dict(map(_split, PROJECT["dependencies"] + PROJECT["optional-dependencies"]["vision"]))
    assert {name: bounds for name, bounds in conda.items() if name not in CONDA_TOOLS} == wanted
    assert conda["python"] == _split("python" + PROJECT["requires-python"])[1]


def test_all_extras_are_in_all() -> None:
    extras = PROJECT["optional-dependencies"]
    (everything,) = extras["all"]
    match = re.fullmatch(rf"{PROJECT['name']}\[(.*)\]", everything)
    assert match
    assert set(match[1].split(",")) == set(extras) - {"all"}


def test_the_tools_that_broke_others_are_bounded() -> None:
    bounds = dict(map(_split, PROJECT["optional-dependencies"]["book"] + PROJECT["optional-dependencies"]["test"]))
    assert "<2" in bounds["jupyter-book"]  # 2.x ignores _config.yml
    assert "<0.12" in bounds["nbval"]  # mpbook.replay uses names that are not documented


def test_continuous_integration_runs_make_test_and_nothing_else() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = script.read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["#!/usr/bin/env bash", "set -euo pipefail"]
    assert lines[-1] == "make test"
    for workflow in ("test.yml", "book.yml"):
        assert "jobs" in read_yaml(ROOT / ".github" / "workflows" / workflow)


@pytest.mark.parametrize("target", ["install", "book", "test", "bench", "lint", "clean"])
def test_make_has_the_promised_targets(target: str) -> None:
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_nothing_is_executed_by_the_build() -> None:
    config = read_yaml(ROOT / "_config.yml")
    assert config["execute"]["execute_notebooks"] == "off"  # quoted, or YAML reads False
    assert config["only_build_toc_files"] is True
    assert config["sphinx"]["config"]["nb_execution_raise_on_error"] is True


def test_every_chapter_is_as_the_pipeline_needs_it() -> None:
    book = Book(ROOT)
    problems = [problem for name in book.chapters for problem in notebooks.problems(book.source(name))]
    assert problems == []
    presets.check(book)


def test_every_chapter_has_references_for_its_checked_cells() -> None:
    book = Book(ROOT)
    problems = []
    for name in book.chapters:
        try:
            reference = references.load(book.reference(name))
            problems += references.problems(notebooks.read(book.source(name)), reference)
        except MplibError as error:
            problems.append(str(error))
    assert problems == []
    assert references.strays(book) == []


def test_every_page_of_the_book_is_in_the_table_of_contents() -> None:
    book = Book(ROOT)
    pages = {path.relative_to(ROOT) for suffix in ("ipynb", "md") for path in (ROOT / "book").rglob(f"*.{suffix}")}
    hidden = {page for page in pages if any(part.startswith((".", "_")) for part in page.parts)}
    assert pages - hidden == set(book.pages)


def test_the_chapters_keep_their_defaults_in_one_place() -> None:
    """The defaults in the chapters are those of the fast preset: two lists of them would drift apart."""
    assert not any(presets.load(Book(ROOT), "fast").values())


def test_the_sweeps_that_chapters_print_are_accepted() -> None:
    book = Book(ROOT)
    parser = argparse.ArgumentParser()
    sweep_command.add(parser.add_subparsers())
    printed = []
    for name in book.chapters:
        text = "\n".join(cell["source"] for cell in notebooks.read(book.source(name))["cells"])
        printed += re.findall(r"^mplib (sweep .*)$", text.replace("\\\n", " "), re.MULTILINE)
    for line in printed:
        given = parser.parse_args(shlex.split(line, comments=True))
        declared = notebooks.declared(book.source(given.chapter))
        grid = grids.read_grid(declared, given.texts)
        if given.seeds:
            grid = grids.add_seeds(grid, declared, given.seeds)
        assert len(grids.combinations(grid)) > 1, line
    assert len(printed) >= 3
