"""Books of a few cells for the tests of the book's tooling."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TITLE = "# A tiny chapter\n\nOne paragraph."
PARAMETERS = 'preset: str = "fast"\nsteps: int = 3  # steps\nrate: float = 0.1'
CHECKED = "print(steps * 2)"
FIGURE = "import matplotlib.pyplot as plt\nfig, ax = plt.subplots(figsize=(2, 1))\nax.plot([0, steps])\nplt.show()"
ALT = "A straight line that rises from zero."


def markdown(name: str, source: str) -> dict[str, Any]:
    """A text cell."""
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": source}


def code(name: str, source: str, *tags: str, **mystnb: Any) -> dict[str, Any]:
    """A code cell without outputs."""
    metadata: dict[str, Any] = {"tags": list(tags)} if tags else {}
    if mystnb:
        metadata["mystnb"] = mystnb
    return {
        "cell_type": "code", "id": name, "metadata": metadata, "source": source, "outputs": [], "execution_count": None
    }  # fmt: skip


def chapter() -> list[dict[str, Any]]:
    """The cells of a chapter in which everything is right."""
    return [
        markdown("title", TITLE),
        code("parameters", PARAMETERS, "parameters"),
        code("double", CHECKED, "nbval-check-output"),
        code("figure", FIGURE, image={"alt": ALT}, figure={"caption": "A line.", "name": "fig-line"}),
    ]


def swept() -> list[dict[str, Any]]:
    """The cells of a chapter that is worth a sweep: it has seeds, an outcome, and fails for 13 steps."""
    source = "assert steps != 13, 'unlucky'\nfrom mpbook.page import outcome\noutcome(double=steps * 2, seed=seeds[0])"
    return [
        markdown("title", TITLE),
        code("parameters", PARAMETERS + "\nseeds: list[int] = [0]\njobs: int = 2", "parameters"),
        code("double", CHECKED, "nbval-check-output"),
        code("outcome", source),
    ]


class Tiny:
    """Writes a book of a few cells."""

    markdown = staticmethod(markdown)
    code = staticmethod(code)
    chapter = staticmethod(chapter)

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(
        self,
        chapters: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
        presets: Mapping[str, Mapping[str, Any]] | None = None,
        index: str = "# A tiny book\n\nIt says little.\n",
    ) -> Path:
        """Write a book and return its root.

        Args:
            chapters: cells by name; default one right chapter called ``one``.
            presets: overrides by preset and chapter; default ``{}`` everywhere.
            index: the front page.
        """
        chapters = chapters if chapters is not None else {"one": chapter()}
        presets = presets or {}
        (self.root / "book" / "presets").mkdir(parents=True, exist_ok=True)
        (self.root / "book" / "index.md").write_text(index)
        (self.root / "_config.yml").write_text(
            "title: Tiny\nauthor: Nobody\nonly_build_toc_files: true\nhtml: {use_repository_button: true}\n"
            "launch_buttons: {colab_url: 'https://colab.research.google.com'}\n"
            "sphinx: {extra_extensions: [mpbook.scripts], "
            "config: {numfig: true, html_context: {default_mode: auto}}}\n"
        )
        toc = ["format: jb-book", "root: book/index", "chapters:", *(f"  - file: book/{name}" for name in chapters)]
        (self.root / "_toc.yml").write_text("\n".join(toc) + "\n")
        for preset in ("smoke", "fast", "full"):
            content = {name: {} for name in chapters} | dict(presets.get(preset, {}))
            (self.root / "book" / "presets" / f"{preset}.yml").write_text(json.dumps(content))
        for name, cells in chapters.items():
            self.write(name, cells)
        return self.root

    def write(self, name: str, cells: Sequence[Mapping[str, Any]]) -> None:
        """Write one chapter's notebook."""
        kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
        notebook = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
        (self.root / "book" / f"{name}.ipynb").write_text(json.dumps(notebook, indent=1))
