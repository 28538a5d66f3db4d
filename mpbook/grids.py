"""What a sweep runs: the product of the values that a user gives for some parameters of a chapter.

Values are checked against the types that the chapter declares, and their number is known before the product is made,
so nothing that is wrong, and nothing that is far too much, gets as far as a kernel.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mpbook.layout import read_yaml
from mpbook.parameters import Parameter
from mplib.errors import MplibError, unknown

MOST = 1000
"""More combinations than this have to be asked for twice."""

Grid = dict[str, list[Any]]


def read_grid(declared: Mapping[str, Parameter], texts: Iterable[str], path: Path | None = None) -> Grid:
    """Read the values of every parameter that is swept.

    Args:
        declared: the parameters of the chapter.
        texts: ``name=a,b,c`` each; lists are given in brackets, ``name=[1,2],[3]``.
        path: a YAML file that maps names to lists of values.

    Returns:
        The checked values by name, in the order in which they were given, those of the file first.

    Raises:
        MplibError: a name that is not declared or is given twice, a value of another type, or none at all. The message
            ends with the names and types that are accepted.

    Example:
        >>> steps = Parameter("steps", "int", 3, "")
        >>> read_grid({"steps": steps}, ["steps=1,2"])
        {'steps': [1, 2]}
    """
    grid: Grid = {}
    try:
        for name, values in [*_from_file(path), *(_from_text(declared, text) for text in texts)]:
            if name == "preset":
                raise MplibError("preset cannot be swept, expected it to be chosen with --preset")
            if name not in declared:
                raise unknown("parameter", name, declared)
            if name in grid:
                raise MplibError(f"parameter {name} is given twice, expected all its values in one place")
            grid[name] = _checked(declared[name], values)
    except MplibError as error:
        accepted = ", ".join(f"{p.name}: {p.type}" for p in declared.values() if p.name != "preset")
        raise MplibError(f"{error}; accepted: {accepted}") from error
    return grid


def add_seeds(grid: Grid, declared: Mapping[str, Parameter], count: int) -> Grid:
    """Sweep a chapter's seed: one run for each of the seeds 0, 1, ..., ``count - 1``.

    A chapter with ``seeds: list[int]`` gets ``[0]``, ``[1]``, ...; one with ``seed: int`` gets 0, 1, ... The seeds come
    first, so that what a stopped sweep leaves behind is as balanced as it can be.

    Raises:
        MplibError: a count below 1, a chapter with neither parameter, or values given for it already.
    """
    if count < 1:
        raise MplibError(f"--seeds is {count}, expected at least 1")
    kinds = {name: declared[name].type for name in ("seeds", "seed") if name in declared}
    for name, kind in kinds.items():
        if (name, kind) in (("seeds", "list[int]"), ("seed", "int")):
            if name in grid:
                raise MplibError(f"both --seeds and values of {name} are given, expected one of the two")
            return {name: [[seed] if name == "seeds" else seed for seed in range(count)], **grid}
    raise MplibError("--seeds is given, but the chapter declares neither 'seeds: list[int]' nor 'seed: int'")


def combinations(grid: Grid, confirmed: bool = False) -> list[dict[str, Any]]:
    """Every combination of the values, the last parameter changing fastest.

    Args:
        grid: values by name.
        confirmed: whether more than :data:`MOST` combinations are meant.

    Raises:
        MplibError: more than :data:`MOST`, not confirmed.

    Example:
        >>> combinations({"a": [1, 2], "b": ["x"]})
        [{'a': 1, 'b': 'x'}, {'a': 2, 'b': 'x'}]
    """
    count = math.prod(len(values) for values in grid.values())
    if count > MOST and not confirmed:
        raise MplibError(f"these are {count:,} runs, expected at most {MOST:,}, or --yes if all of them are meant")
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def _from_text(declared: Mapping[str, Parameter], text: str) -> tuple[str, list[Any]]:
    name, equals, values = text.partition("=")
    if not equals:
        raise MplibError(f"{text!r} has no '=', expected name=a,b,c")
    if name not in declared:
        raise unknown("parameter", name, declared)
    parts = _split(values)
    if "" in parts:
        raise MplibError(f"{text!r} has an empty value, expected name=a,b,c")
    return name, [declared[name].parse(part) for part in parts]


def _from_file(path: Path | None) -> list[tuple[str, list[Any]]]:
    if path is None:
        return []
    content = read_yaml(path)
    if not isinstance(content, dict) or not all(isinstance(values, list) for values in content.values()):
        raise MplibError(f"{path} does not map names to lists of values, expected lines such as 'steps: [100, 300]'")
    return [(str(name), values) for name, values in content.items()]


def _checked(parameter: Parameter, values: list[Any]) -> list[Any]:
    checked = [parameter.check(value) for value in values]
    if not checked or [] in checked:
        raise MplibError(f"parameter {parameter.name} is given an empty list, expected at least one value")
    if any(value in checked[:place] for place, value in enumerate(checked)):
        raise MplibError(f"parameter {parameter.name} is given a value twice, expected every value once")
    return checked


def _split(text: str) -> list[str]:
    """The parts between the commas that are in no brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "[") - (character == "]")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]
