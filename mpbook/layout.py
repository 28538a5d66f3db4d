"""Where everything of a book lies.

A book is a folder with ``_config.yml`` and ``_toc.yml`` at its root and pages under ``book/``. The table of
contents is the only list of chapters: a chapter is an entry that is a notebook, its name is the file's stem.
What the pipeline makes goes to ``build/<preset>/``, the finished pages to ``_build/html/``.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mplib.errors import MplibError, unknown

PRESETS = ("smoke", "fast", "full")


@dataclass(frozen=True)
class Book:
    """The paths of one book.

    Args:
        root: the folder that holds ``_config.yml`` and ``_toc.yml``.
    """

    root: Path

    def __post_init__(self) -> None:
        for name in ("_config.yml", "_toc.yml"):
            if not (self.root / name).is_file():
                raise MplibError(f"{self.root} is not a book: it has no {name}, expected the root of the repository")

    @functools.cached_property
    def pages(self) -> tuple[Path, ...]:
        """The source file of every page, in reading order, relative to the root."""
        pages = tuple(self._resolve(entry) for entry in _entries(read_yaml(self.root / "_toc.yml")))
        stems = [page.with_suffix("") for page in pages]
        for stem in stems:
            if stems.count(stem) > 1:
                raise MplibError(f"_toc.yml names {stem} twice, expected every page once")
        return pages

    @functools.cached_property
    def chapters(self) -> tuple[str, ...]:
        """The names of the chapters, in reading order."""
        names = tuple(page.stem for page in self.pages if page.suffix == ".ipynb")
        for name in names:
            if names.count(name) > 1:
                raise MplibError(f"two chapters are called {name!r}, expected every notebook's stem to be unique")
        if not names:
            raise MplibError("_toc.yml names no notebook, expected at least one chapter")
        return names

    @functools.cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each numbered page: they go on from one numbered part of the contents to the next."""
        contents = read_yaml(self.root / "_toc.yml")
        counted = [part for part in contents.get("parts", []) if part.get("numbered")]
        files = [str(entry["file"]) for part in counted for entry in part["chapters"]]
        return {Path(file).stem: count for count, file in enumerate(files, 1)}

    def _resolve(self, entry: str) -> Path:
        found = [entry + suffix for suffix in ("", ".ipynb", ".md") if (self.root / (entry + suffix)).is_file()]
        if len(found) != 1:
            raise MplibError(
                f"_toc.yml names {entry!r} and there is {' and '.join(found) or 'no such page'}, "
                "expected exactly one .ipynb or .md file"
            )
        return Path(found[0])

    def relative(self, chapter: str) -> Path:
        """The path of a chapter's notebook relative to the root."""
        if chapter not in self.chapters:
            raise unknown("chapter", chapter, self.chapters)
        return next(page for page in self.pages if page.stem == chapter and page.suffix == ".ipynb")

    def source(self, chapter: str) -> Path:
        """The notebook that people edit, without outputs."""
        return self.root / self.relative(chapter)

    def build(self, preset: str) -> Path:
        """The folder of everything made from one preset."""
        return self.root / "build" / preset

    def executed(self, preset: str, chapter: str) -> Path:
        """The notebook with the outputs of one preset; it exists only when it is complete."""
        return self.build(preset) / self.relative(chapter)

    def reference(self, chapter: str) -> Path:
        """The committed outputs of the checked cells."""
        return self.root / "book" / "reference" / f"{chapter}.json"

    def preset(self, preset: str) -> Path:
        """The file that holds the parameters of one preset."""
        if preset not in PRESETS:
            raise unknown("preset", preset, PRESETS)
        return self.root / "book" / "presets" / f"{preset}.yml"


def find(start: Path | None = None) -> Book:
    """The book that holds ``start`` (default: the working directory), looking upwards.

    Raises:
        MplibError: no folder above holds a book.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "_toc.yml").is_file() and (folder / "_config.yml").is_file():
            return Book(folder)
    raise MplibError(f"no book at or above {here}, expected a folder with _config.yml and _toc.yml")


def read_yaml(path: Path) -> Any:
    """Read a YAML file; what cannot be read is an error that names the file."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MplibError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise MplibError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error


def _entries(node: Any) -> list[str]:
    """Every file named in a table of contents, in order."""
    if isinstance(node, list):
        return [entry for item in node for entry in _entries(item)]
    if not isinstance(node, dict):
        return []
    own = [str(node[key]) for key in ("root", "file") if key in node]
    return own + [
        entry for key in ("parts", "chapters", "sections", "subtrees", "entries") for entry in _entries(node.get(key))
    ]
