"""A chapter as it is published: the executed notebook, a cell that makes it run elsewhere, and where its numbers are.

The sources in ``book/`` have neither. The first cell does nothing where the book is installed; on Colab it fetches and
installs it. The foot of the page gives its run and the rows behind its figures and tables, as files to download.
"""

from __future__ import annotations

import html
import json
from pathlib import Path

import nbformat

from mpbook import execution, notebooks, tracing
from mpbook.layout import Book
from mplib.files import atomic_path, read_json, write_text
from mplib.runs import Row, table

INSTALL = """\
# Where the book is not installed, as on Colab, this fetches and installs it; elsewhere it does nothing.
import importlib.util, os, subprocess, sys

if importlib.util.find_spec("mpbook") is None:
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", "{address}", "metaperturb-book"], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "./metaperturb-book[attacks]"], check=True)
    importlib.invalidate_caches()
    os.chdir("metaperturb-book/book")"""

BRANCH = "notebooks"
"""The branch that has the published notebooks in the place of the sources, for the launch buttons."""


def notebook(book: Book, preset: str, chapter: str, address: str) -> nbformat.NotebookNode:
    """The notebook of a page.

    Args:
        book: the book.
        preset: whose run.
        chapter: its name.
        address: the public address of the repository; without one there is no cell that installs.
    """
    made = notebooks.read(book.executed(preset, chapter))
    if address:
        cell = nbformat.v4.new_code_cell(INSTALL.format(address=address), metadata={"tags": ["remove-cell"]})
        cell["id"] = "install"
        made["cells"].insert(1, cell)
    foot = nbformat.v4.new_markdown_cell(_foot(book, preset, chapter, made))
    foot["id"] = "foot"
    made["cells"].append(foot)
    return made


def rows(book: Book, preset: str, chapter: str) -> list[Row]:
    """The rows behind a chapter's figures and tables: its own run and those that it names, each once."""
    known = tracing.known(book, preset)
    made = notebooks.read(book.executed(preset, chapter))
    names = {made["metadata"]["mpbook"]["run"]}
    names |= {name for cell in notebooks.code_cells(made) for name in tracing.named(cell)}
    return [read_json(known[name]) for name in sorted(names)]


def publish_rows(book: Book, preset: str, folder: Path) -> None:
    """Write the rows of each chapter into a folder beside the pages: JSON lines, and a table for spreadsheets."""
    for chapter in book.chapters:
        found = rows(book, preset, chapter)
        lines = "".join(json.dumps(row, sort_keys=True) + "\n" for row in found)
        write_text(folder / f"{chapter}.jsonl", lines)
        with atomic_path(folder / f"{chapter}.csv") as path:
            table(found).to_csv(path, index=False)


def _foot(book: Book, preset: str, chapter: str, made: nbformat.NotebookNode) -> str:
    """The last lines of a page: its run, what it took, and what can be downloaded."""
    run = made["metadata"]["mpbook"]["run"]
    row = read_json(execution.runs(book, preset) / f"{run}.json")
    environment, count = row["environment"], len(rows(book, preset, chapter))
    took = f"{row['seconds']:.0f} s and {row['result']['peak_mib']} MiB on {environment['device']}"
    versions = f"torch {environment['torch']}, mplib {environment['mplib']}, commit {environment['commit']}"
    links = ", ".join(
        f'<a href="{target}" download>{words}</a>'
        for target, words in (
            (f"../_sources/{book.relative(chapter)}", "this page as a notebook"),
            (f"../runs/{chapter}.csv", "its rows as a table (CSV)"),
            (f"../runs/{chapter}.jsonl", "the same rows, whole (JSON lines)"),
        )
    )
    return (
        f'<div class="mpbook-footer" data-runs="{run}"><p>Run <a href="../runs/{run}.json"><code>{run}</code></a> with '
        f"the {preset} preset: {html.escape(took)}; {html.escape(versions)}.</p>"
        f"<p>Download: {links}. {count} {'row' if count == 1 else 'rows'}.</p></div>"
    )
