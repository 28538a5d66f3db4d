from __future__ import annotations

from pathlib import Path

import pytest

from mpbook import pictures
from mpbook.layout import Book
from mplib.errors import MplibError


def test_a_named_figure_becomes_a_file(executed: Book, tmp_path: Path) -> None:
    path = pictures.export(executed, "smoke", "fig-line", tmp_path / "line.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_refuses_figures_that_are_not_there(executed: Book, tmp_path: Path) -> None:
    with pytest.raises(MplibError, match="unknown figure .* 'fig-lines', did you mean 'fig-line'"):
        pictures.export(executed, "smoke", "fig-lines", tmp_path / "line.png")
    with pytest.raises(MplibError, match="there are none"):
        pictures.export(executed, "full", "fig-line", tmp_path / "line.png")
    assert not list(tmp_path.iterdir())
