"""Docstrings as the reference renders them: no words before a colon become a type, no field is without a meaning."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, GoogleDocstring

from mpbook import descriptions

PACKAGE = Path(__file__).resolve().parent.parent / "mplib"
MODULES = sorted(PACKAGE.rglob("*.py"))
TYPE = re.compile(r"^:r?type:[ ]*(.*)$", re.MULTILINE)
WORD = re.compile(r"[\w.]+(\[[\w., \[\]]+\])?")


def _types(text: str) -> list[str]:
    """The types that napoleon finds in the docstring of a function."""
    return TYPE.findall(str(GoogleDocstring(inspect.cleandoc(text), Config(), what="function", name="x")))


def _definitions(path: Path) -> list[ast.FunctionDef | ast.ClassDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)]


def test_a_colon_in_the_wrong_place_is_found() -> None:
    assert _types("X.\n\nReturns:\n    One row for each: all.\n") == ["One row for each"]
    assert _types("X.\n\nReturns:\n    One row for each :data:`x`.\n") == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_sentence_is_torn_into_a_type(path: Path) -> None:
    found = {node.name: _types(ast.get_docstring(node) or "") for node in _definitions(path)}
    assert not [(name, each) for name, types in found.items() for each in types if not WORD.fullmatch(each)]


def test_every_field_of_a_named_tuple_has_a_meaning() -> None:
    """The pages leave the fields out (see mpbook.descriptions), so the docstring of the class has to name them."""
    shown = [path for path in MODULES if not {"benchmark", "cuda"} & set(path.parts)]
    found = [
        node
        for node in (node for path in shown for node in _definitions(path))
        if isinstance(node, ast.ClassDef) and "NamedTuple" in map(ast.unparse, node.bases) and node.name[0] != "_"
    ]
    assert len(found) > 15
    for node in found:
        text = ast.get_docstring(node) or ""
        fields = [ast.unparse(each.target) for each in node.body if isinstance(each, ast.AnnAssign)]
        assert [name for name in fields if f"\n    {name}: " not in text] == [], node.name


class _Recorder:
    """Takes what an extension connects, in the place of Sphinx."""

    def __init__(self) -> None:
        self.events: dict[str, Callable[..., Any]] = {}

    def connect(self, event: str, function: Callable[..., Any], priority: int = 500) -> None:
        self.events[event] = function


def _event(name: str, *arguments: Any) -> Any:
    recorder = _Recorder()
    descriptions.setup(cast(Sphinx, recorder))
    return recorder.events[name](None, *arguments)


def test_fillers_are_left_out_and_nothing_else() -> None:
    class Pair(NamedTuple):
        first: int

    def skips(thing: object, name: str = "x") -> object:
        return _event("autodoc-skip-member", "class", name, thing, False, None)

    assert skips(Pair.first) is True
    assert skips(Pair._asdict, "extra_repr") is True
    assert skips(Pair) is None  # as autodoc itself decides


def test_a_colon_in_an_attribute_stays_a_colon() -> None:
    lines = ["Steps: the first are slow."]
    _event("autodoc-process-docstring", "attribute", "m.STEPS", 3, None, lines)
    assert ":type:" not in str(GoogleDocstring(list(lines), Config(), what="attribute", name="m.STEPS"))
    assert lines[-1] == "Steps: the first are slow."
    lines = ["Does it."]
    _event("autodoc-process-docstring", "function", "m.f", len, None, lines)
    assert lines == ["Does it."]


def test_signatures_are_for_reading() -> None:
    assert _event("autodoc-process-signature", "class", "m.C", object, None, "(a=<factory>)", "int") == (
        "(a=...)",
        "int",
    )
    assert _event("autodoc-process-signature", "data", "m.N", 3, None, None, None) is None
    assert descriptions.readable("(step: float = 0.025, third: float = 0.3333333333333333)") == (
        "(step: float = 0.025, third: float = 1 / 3)"
    )
