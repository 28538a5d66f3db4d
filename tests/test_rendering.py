"""The pages: built from nothing, warnings are errors, and only what passes is published."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mpbook import htmlcheck, notebooks, rendering
from mpbook.layout import Book
from mplib.errors import MplibError
from tests.tiny import ALT, CHECKED, Tiny, chapter, code


def _copy(book: Book, folder: Path) -> Book:
    shutil.copytree(book.root, folder, ignore=shutil.ignore_patterns("_build", "pages", "site"))
    return Book(folder)


def test_the_pages_show_the_outputs_of_the_run(rendered: Book) -> None:
    page = (rendered.root / "_build" / "html" / "book" / "one.html").read_text()
    assert "Set by the preset" in page
    assert f'alt="{ALT}"' in page
    assert "Fig. 1" in page
    assert re.search(r"<pre><span></span>4\n</pre>", page)
    assert "colab" not in page


def test_a_figure_without_alternative_text_and_a_dead_anchor_are_found_on_real_pages(
    rendered: Book, tmp_path: Path
) -> None:
    html = tmp_path / "html"
    shutil.copytree(rendered.root / "_build" / "html", html)
    page = html / "book" / "one.html"
    page.write_text(page.read_text().replace(f'alt="{ALT}"', 'alt="../_images/a.png"').replace('id="fig-line"', ""))
    found = htmlcheck.problems(html)
    assert any("which is a file's name" in problem for problem in found)
    assert any("#fig-line leads to no such place" in problem for problem in found)


@pytest.mark.slow
def test_a_broken_reference_fails_and_leaves_the_old_pages(rendered: Book, tmp_path: Path) -> None:
    book = _copy(rendered, tmp_path / "copy")
    old = rendering.publish(rendered.root / "_build" / "html", book.root / "_build" / "html")
    before = old.read_text()
    (book.root / "book" / "index.md").write_text("# A tiny book\n\n[No such page](nowhere.md), {numref}`fig-none`.\n")
    with pytest.raises(MplibError) as error:
        rendering.render(book, "smoke")
    assert "jupyter-book failed" in str(error.value)
    assert re.search(r"book/index\.md:3: WARNING: .*nowhere\.md", str(error.value))
    assert "fig-none" in str(error.value)
    assert old.read_text() == before


def test_refuses_chapters_without_current_outputs(executed: Book, tmp_path: Path) -> None:
    book = _copy(executed, tmp_path / "copy")
    with pytest.raises(MplibError, match="no up-to-date outputs of one, expected 'python -m mpbook run --preset fast'"):
        rendering.render(book, "fast")
    Tiny(book.root).write("one", [*chapter(), code("more", CHECKED)])
    with pytest.raises(MplibError, match="no up-to-date outputs of one"):
        rendering.render(book, "smoke")


def test_the_source_tree_is_clean(executed: Book, tmp_path: Path) -> None:
    book = _copy(executed, tmp_path / "copy")
    (book.build("smoke") / "site" / "book").mkdir(parents=True)
    (book.build("smoke") / "site" / "book" / "old.md").touch()
    (book.root / "book" / "draft.ipynb").touch()
    site = rendering.assemble(book, "smoke")
    files = {str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()}
    assert {"_config.yml", "_toc.yml", "book/index.md", "book/one.ipynb"} <= files
    assert not {"book/old.md", "book/draft.ipynb"} & files
    published, made = notebooks.read(site / "book" / "one.ipynb"), notebooks.read(book.executed("smoke", "one"))
    assert published["cells"][:-1] == made["cells"]
    assert published["cells"][-1]["id"] == "foot"


def test_nothing_is_executed_and_there_are_no_buttons_without_an_address(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tiny.root.parent))
    book = Book(tiny())
    config = rendering.configuration(book)
    assert config["execute"]["execute_notebooks"] == "off"
    assert "launch_buttons" not in config
    assert config["html"] == {}
    monkeypatch.setenv("GITHUB_REPOSITORY", "someone/book")
    config = rendering.configuration(book)
    assert config["repository"]["url"] == "https://github.com/someone/book"
    assert config["html"] == {"use_repository_button": True}
    assert "launch_buttons" in config
    (book.root / "pyproject.toml").write_text('[project]\nurls = {Repository = "https://example.org/x"}\n')
    assert rendering.repository(book.root) == "https://example.org/x"


@pytest.mark.parametrize(
    ("origin", "address"),
    [
        ("https://github.com/a/b.git", "https://github.com/a/b"),
        ("https://token@github.com/a/b", "https://github.com/a/b"),
        ("git@github.com:a/b.c.git", "https://github.com/a/b.c"),
        ("ssh://git@gitlab.com/a/b.git", "https://gitlab.com/a/b"),
        ("/srv/a/b.git", ""),
        ("https://example.org/a/b", ""),
    ],
)
def test_the_address_comes_from_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: str, address: str) -> None:
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    subprocess.run(["git", "-C", str(tmp_path), "remote", "add", "origin", origin], check=True)
    assert rendering.repository(tmp_path) == address
