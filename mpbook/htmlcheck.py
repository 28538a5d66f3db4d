"""The built pages as a reader gets them: images that say what they show, links that lead somewhere, no debris.

Sphinx warns about many mistakes in the sources. This looks at the result, and finds what no source check can:
alternative text that is a file name, an anchor that is gone, a traceback among the outputs, a run without its row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, Tag

from mplib.errors import MplibError

SHORTEST_ALT, LONGEST_ALT = 15, 600  # characters: a sentence, not a word and not a page
LONGEST_OUTPUT = 60  # lines of text or rows of a table: about a page
# Written by Sphinx for its own use; a reader does not read them.
GENERATED = {"genindex.html", "search.html", "py-modindex.html"}


def problems(folder: Path) -> list[str]:
    """Everything that is wrong with the pages of a folder, one line each, starting with the page.

    Args:
        folder: the root of the built pages.

    Raises:
        MplibError: there is no ``index.html``.
    """
    if not (folder / "index.html").is_file():
        raise MplibError(f"there is no {folder / 'index.html'}, expected a built book")
    found = []
    for path in sorted(folder.rglob("*.html")):
        page = path.relative_to(folder)
        if "_static" in page.parts:
            continue
        soup = _parse(path)
        checks = [_links(soup, path, folder), _network(soup)]
        if page.name not in GENERATED and not _redirects(soup):
            checks += [_images(soup), _headings(soup), _debris(soup), _lengths(soup), _runs(soup, path, folder)]
        found += [f"{page}: {problem}" for check in checks for problem in check]
    return found


def pages(folder: Path) -> list[Path]:
    """The pages that a reader reads: not those that Sphinx makes for itself, and not redirects."""
    found = [path for path in sorted(folder.rglob("*.html")) if "_static" not in path.relative_to(folder).parts]
    return [path for path in found if path.name not in GENERATED and not _redirects(_parse(path))]


@cache
def _cached(path: Path, changed: int) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def _parse(path: Path) -> BeautifulSoup:
    """A page is asked for again by each page that links to it."""
    return _cached(path, path.stat().st_mtime_ns)


def _content(soup: BeautifulSoup) -> Tag:
    """The article without the theme's navigation around it."""
    return soup.find("article") or soup.find("main") or soup


def _redirects(soup: BeautifulSoup) -> bool:
    return soup.find("meta", attrs={"http-equiv": re.compile("refresh", re.IGNORECASE)}) is not None


def _images(soup: BeautifulSoup) -> Iterator[str]:
    seen: set[str] = set()
    for image in soup.find_all("img"):
        source, alt = _attribute(image, "src"), _attribute(image, "alt").strip()
        name = f"the image {source[:60]}"
        if not alt:
            yield f"{name} has no alternative text, expected a sentence that says what it shows"
        elif re.search(r"\.(png|svg|jpe?g|gif|webp)$|^\S*/\S*$|^_images", alt, re.IGNORECASE):
            yield f"{name} has the alternative text {alt!r}, which is a file's name, expected what it shows"
        elif not SHORTEST_ALT <= len(alt) <= LONGEST_ALT:
            yield f"{name} has an alternative text of {len(alt)} characters, expected a sentence or two"
        elif alt in seen:
            yield f"{name} has the alternative text of another image of the page, expected one of its own"
        seen.add(alt)


def _links(soup: BeautifulSoup, path: Path, folder: Path) -> Iterator[str]:
    for tag, key in (("a", "href"), ("img", "src"), ("link", "href"), ("script", "src")):
        for element in soup.find_all(tag):
            target = _attribute(element, key)
            parts = urlsplit(target)
            if not target or parts.scheme or parts.netloc:
                continue
            file = path
            if parts.path:
                file = (path.parent / unquote(parts.path)).resolve()
                file = file / "index.html" if file.is_dir() else file
            if not file.is_file() or not file.resolve().is_relative_to(folder.resolve()):
                yield f"the link {target} leads to no file"
            elif (
                tag == "a"
                and parts.fragment
                and file.suffix == ".html"
                and unquote(parts.fragment) not in _anchors(file)
            ):
                yield f"the link {target} leads to no such place on its page"


def _network(soup: BeautifulSoup) -> Iterator[str]:
    """What a page would fetch from elsewhere: it has to open from a disk, without a network."""
    for tag, key in (("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src")):
        for element in soup.find_all(tag):
            target = _attribute(element, key)
            rel = _attribute(element, "rel")
            if urlsplit(target).netloc and (tag != "link" or re.search("stylesheet|preload|icon", rel)):
                yield f"the page needs {target} from the network, expected a file beside it"


def _anchors(path: Path) -> set[str]:
    return _anchors_of(path, path.stat().st_mtime_ns)


@cache
def _anchors_of(path: Path, changed: int) -> set[str]:
    soup = _parse(path)
    return {_attribute(tag, key) for tag in soup.find_all(True) for key in ("id", "name") if key in tag.attrs}


def _headings(soup: BeautifulSoup) -> Iterator[str]:
    headings = _content(soup).find_all(re.compile(r"^h[1-6]$"))
    levels = [int(heading.name[1]) for heading in headings]
    if levels.count(1) != 1:
        yield f"there are {levels.count(1)} headings of the first level, expected one"
    for before, after, heading in zip(levels, levels[1:], headings[1:], strict=False):
        if after > before + 1:
            title = heading.get_text().rstrip("#").strip()
            yield f"the heading {title!r} is of level {after} after one of level {before}"


def _debris(soup: BeautifulSoup) -> Iterator[str]:
    """What a run or a build leaves on a page when something went wrong."""
    content = _content(soup)
    for output in content.find_all(class_="cell_output"):
        text = output.get_text()
        if "Traceback (most recent call last)" in text or output.select(".traceback, .highlight-ipythontb"):
            yield f"an output holds a traceback: {_shorten(text)}"
        if output.select(".stderr"):
            yield f"an output holds what was written to stderr: {_shorten(output.select('.stderr')[0].get_text())}"
        if re.search(r"(?<![\w.-])nan(?![\w-])", text):
            yield f"an output holds 'nan': {_shorten(text)}"
    for tag in content.find_all(class_=["system-message", "problematic"]):
        yield f"the page holds a message of the build: {_shorten(tag.get_text())}"
    prose = "".join(_prose(content))
    for text in re.findall(r".{0,30}(?:\?{2,}|\{(?:ref|numref|cite|eq|doc|term)\}).{0,30}", prose):
        yield f"the text holds an unresolved reference: {_shorten(text)}"


def _prose(tag: Tag) -> Iterator[str]:
    """The strings of a page that are neither code nor mathematics."""
    for child in tag.children:
        if not isinstance(child, Tag):
            yield str(child)
        elif child.name not in ("pre", "code", "script") and "math" not in _attribute(child, "class").split():
            yield from _prose(child)


def _lengths(soup: BeautifulSoup) -> Iterator[str]:
    """No output is longer than a page: what nobody reads is no result."""
    for output in _content(soup).find_all(class_="cell_output"):
        for kind, parts in (("lines", [text.get_text().count("\n") for text in output.find_all("pre")]),
                            ("rows", [len(table.find_all("tr")) for table in output.find_all("table")])):  # fmt: skip
            for length in parts:
                if length > LONGEST_OUTPUT:
                    start = _shorten(output.get_text())
                    yield f"an output has {length} {kind}, expected at most {LONGEST_OUTPUT}: {start}"


def _runs(soup: BeautifulSoup, path: Path, folder: Path) -> Iterator[str]:
    """Every run that is named has its row among the pages, and a link to it for the reader."""
    for element in soup.find_all(lambda tag: tag.has_attr("data-runs")):
        links = {(path.parent / _attribute(link, "href")).resolve() for link in element.find_all("a")}
        for name in _attribute(element, "data-runs").split():
            row = folder / "runs" / f"{name}.json"
            if not row.is_file():
                yield f"the run {name} is named and has no row among the pages"
            elif row.resolve() not in links:
                yield f"the run {name} is named without a link to its row"


def _shorten(text: str) -> str:
    return " ".join(text.split())[:100]


def _attribute(tag: Tag, name: str) -> str:
    """An attribute as text; those that hold several values are joined."""
    value = tag.get(name) or ""
    return value if isinstance(value, str) else " ".join(value)
