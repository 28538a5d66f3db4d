"""What the recorded rows of the book say of the phis in the wheel, written onto their model cards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpbook.layout import Book
from mplib.experiments import fingerprint
from mplib.files import read_json, write_json
from mplib.perturb import MetaPerturb, pretrained_names
from mplib.reproduction.publishing import effects
from mplib.runs import RunStore

AUTHORS = "b3aaeae5c99a2012"
"""The fingerprint of the phi in the authors' release, which has rows here and is not shipped."""


def measured(book: Book) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The file and the content of each card that the recorded rows say something of.

    Phis that another was written in fewer numbers of have no card of their own kind, and are left out.

    Args:
        book: whose ``book/results`` is read, and beside whose ``book`` the package lies.
    """
    folder = book.root / "mplib" / "pretrained"
    stores = sorted(path for path in (book.root / "book" / "results").iterdir() if path.is_dir())
    rows = [row for store in stores for row in RunStore(store).rows()]
    for name in pretrained_names():
        phi = MetaPerturb.from_pretrained(name)
        if "of" in phi.provenance:
            continue
        file = folder / f"{name}.json"
        known = read_json(file) if file.exists() else {}
        yield file, {**known, **effects(rows, fingerprint(phi), AUTHORS)}


def write(book: Book) -> list[Path]:
    """Write the cards anew.

    Args:
        book: the book.

    Returns:
        The files.
    """
    found = list(measured(book))
    for file, content in found:
        write_json(file, content)
    return [file for file, _ in found]
