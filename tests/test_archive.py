"""The book in one file: everything is in it, equal books give equal files, and it opens from a disk."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from mpbook import archive
from mpbook.layout import Book
from mplib.errors import MplibError


def _pages(folder: Path) -> Path:
    (folder / "book").mkdir(parents=True)
    (folder / "index.html").write_text("<p>front</p>")
    (folder / "book" / "one.html").write_text("<p>one</p>")
    return folder


def test_everything_is_in_it_and_equal_pages_give_equal_files(tmp_path: Path) -> None:
    first, second = _pages(tmp_path / "a"), _pages(tmp_path / "b")
    os.utime(second / "index.html", (1, 1))
    one, two = archive.write(first, tmp_path / "one.zip"), archive.write(second, tmp_path / "two.zip")
    assert one.read_bytes() == two.read_bytes()
    with zipfile.ZipFile(one) as found:
        assert found.testzip() is None
        assert found.namelist() == ["metaperturb-book/book/one.html", "metaperturb-book/index.html"]
        assert found.read("metaperturb-book/index.html") == b"<p>front</p>"


def test_an_archive_among_the_pages_does_not_hold_itself(tmp_path: Path) -> None:
    pages = _pages(tmp_path / "a")
    first = archive.write(pages, pages / archive.NAME).read_bytes()
    assert archive.write(pages, pages / archive.NAME).read_bytes() == first


def test_there_has_to_be_a_book(tmp_path: Path) -> None:
    with pytest.raises(MplibError, match=r"no .*index\.html, expected a built book"):
        archive.write(tmp_path, tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists()


def test_a_real_book_unpacks_to_its_pages(rendered: Book, tmp_path: Path) -> None:
    pages = rendered.root / "_build" / "html"
    with zipfile.ZipFile(archive.write(pages, tmp_path / "book.zip")) as found:
        found.extractall(tmp_path)
    unpacked = tmp_path / archive.FOLDER
    assert {path.relative_to(unpacked) for path in unpacked.rglob("*") if path.is_file()} == {
        path.relative_to(pages) for path in pages.rglob("*") if path.is_file()
    }
