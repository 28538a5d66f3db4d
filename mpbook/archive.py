"""The whole book in one file: a zip of the pages that opens without a network."""

from __future__ import annotations

import zipfile
from pathlib import Path

from mplib.errors import MplibError
from mplib.files import atomic_path

NAME = "metaperturb-book.zip"
FOLDER = "metaperturb-book"
"""What the archive unpacks to; ``index.html`` is in it."""
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # of the format; the files' own times would make two equal books differ


def write(html: Path, target: Path) -> Path:
    """Pack built pages. Equal pages give equal archives.

    Args:
        html: the root of the pages.
        target: the file to write.

    Raises:
        MplibError: there are no pages.
    """
    if not (html / "index.html").is_file():
        raise MplibError(f"there is no {html / 'index.html'}, expected a built book: make book")
    files = sorted(path for path in html.rglob("*") if path.is_file() and path.resolve() != target.resolve())
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            entry = zipfile.ZipInfo(f"{FOLDER}/{path.relative_to(html).as_posix()}", _EARLIEST)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes())
    return target
