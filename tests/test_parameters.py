"""A chapter's parameters: read without running anything, and refused when wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpbook.parameters import Parameter, overrides, parse, resolve
from mplib.errors import MplibError

CELL = """
# which sizes
preset: str = "fast"
steps: int = 300  # training steps, 1 or more
rate: float = -1.0e-3
seeds: list[int] = [
    0,
    1,
]  # of the networks
plot: bool = True
"""


def test_reads_names_types_defaults_and_help() -> None:
    found = parse(CELL)
    assert [(p.name, p.type, p.default) for p in found.values()] == [
        ("preset", "str", "fast"),
        ("steps", "int", 300),
        ("rate", "float", -0.001),
        ("seeds", "list[int]", [0, 1]),
        ("plot", "bool", True),
    ]
    assert found["steps"].help == "training steps, 1 or more"
    assert found["seeds"].help == "of the networks"
    assert found["preset"].help == "which sizes"  # the line above
    assert found["rate"].help == ""  # the comment at the end of the line above is that line's


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("steps = 3", "expected only annotated plain assignments"),
        ("steps: int", "expected only annotated plain assignments"),
        ("import os", "expected only annotated plain assignments"),
        ("a: int = 1\nb: int = 2 * a", "expected a literal"),
        ("a: int = 1\na: int = 2", "declared twice"),
        ("a: dict = {}", "uses the type 'dict'"),
        ("a: list[list[int]] = []", "uses the type"),
        ("a: int = 'x'", "is the string 'x', expected int"),
        ("a: int = 1.5", "is 1.5 of type float, expected int"),
        ("a: int = ", "not valid Python"),
    ],
)
def test_refuses_anything_else_in_the_cell(cell: str, message: str) -> None:
    with pytest.raises(MplibError, match=message):
        parse(cell)


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("float", "1e-5", r"expected float: write 1\.0e-5, because YAML"),
        ("float", "fast", "is the string 'fast', expected float$"),
        ("int", True, "is True of type bool, expected int"),
        ("int", 2.0, "is 2.0 of type float, expected int"),
        ("bool", 1, "is 1 of type int, expected bool"),
        ("str", 8, "is 8 of type int, expected str"),
        ("int", None, "is None of type NoneType, expected int"),
        ("list[int]", 3, r"is 3, expected list\[int\]"),
        ("list[float]", [0.1, "2e-3"], r"parameter x\[1\] is the string '2e-3', expected float: write 2\.0e-3"),
    ],
)
def test_refuses_values_of_another_type(kind: str, value: Any, message: str) -> None:
    with pytest.raises(MplibError, match=message):
        Parameter("x", kind, None, "").check(value)


@given(st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.text()))
def test_a_literal_default_comes_back(value: Any) -> None:
    assert parse(f"x: {type(value).__name__} = {value!r}")["x"].default == value


def test_the_last_layer_wins_and_integers_become_floats() -> None:
    values = resolve(parse(CELL), {"steps": 5, "rate": 1}, {"steps": 6})
    assert values == {"preset": "fast", "steps": 6, "rate": 1.0, "seeds": [0, 1], "plot": True}
    assert isinstance(values["rate"], float)
    with pytest.raises(MplibError, match="unknown parameter 'step', did you mean 'steps'"):
        resolve(parse(CELL), {"step": 5})


def test_reads_values_from_a_command_line() -> None:
    texts = ["steps=7", "rate=1e-5", "seeds=[3]", "plot=false", "preset=007"]
    expected = {"steps": 7, "rate": 1e-5, "seeds": [3], "plot": False, "preset": "007"}
    assert overrides(parse(CELL), texts) == expected
    for text, message in [
        ("steps", "has no '='"),
        ("stpes=1", "did you mean 'steps'"),
        ("steps=x", "is the string 'x', expected int"),
        ("plot=1", "expected bool"),
    ]:
        with pytest.raises(MplibError, match=message):
            overrides(parse(CELL), [text])
