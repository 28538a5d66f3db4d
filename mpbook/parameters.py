"""The parameters of a chapter: what they are called, of which type, what they mean, what they may be.

A chapter declares them in its first cell tagged ``parameters``, one annotated plain assignment a line::

    steps: int = 300  # training steps of each network

What a parameter means may also stand in the line above it. The cell is parsed, never run, so a wrong name or type is
refused before a kernel starts. Only literals are allowed: papermill adds a second cell that overrides these values, and
anything computed here would silently keep its default.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mplib.errors import MplibError, unknown

SCALARS: dict[str, type] = {"int": int, "float": float, "bool": bool, "str": str}


@dataclass(frozen=True)
class Parameter:
    """One declared parameter.

    Args:
        name: the variable of the chapter.
        type: ``int``, ``float``, ``bool``, ``str`` or ``list[...]`` of one of these.
        default: the literal it is given in the chapter.
        help: the comment after it or, where there is none, the one in the line above.
    """

    name: str
    type: str
    default: Any
    help: str

    def check(self, value: Any) -> Any:
        """Return ``value`` as this parameter's type, or refuse it.

        An integer is accepted where a float is declared; nothing else is converted.

        Raises:
            MplibError: the value is of another type.

        Example:
            >>> Parameter("lr", "float", 0.001, "").check(1)
            1.0
            >>> Parameter("lr", "float", 0.001, "").check("1e-5")
            Traceback (most recent call last):
            mplib.errors.MplibError: parameter lr is the string '1e-5', expected float: write 1.0e-5, because YAML \
reads an exponent without a decimal point as a string
        """
        return _convert(self.name, self.type, value)

    def parse(self, text: str) -> Any:
        """Read a value as typed on a command line (``-p name=text``) and check it.

        Example:
            >>> Parameter("seeds", "list[int]", [0], "").parse("[0, 1]")
            [0, 1]
        """
        if self.type == "str":
            return text
        if self.type == "bool" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = text
        return self.check(value)


def parse(source: str) -> dict[str, Parameter]:
    """Read the declarations of a parameters cell.

    Args:
        source: the source of the cell.

    Returns:
        The parameters by name, in the order of the cell.

    Raises:
        MplibError: the cell holds anything but annotated assignments of literals.

    Example:
        >>> parse("steps: int = 300  # training steps")
        {'steps': Parameter(name='steps', type='int', default=300, help='training steps')}
    """
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise MplibError(f"the parameters cell is not valid Python: {error.msg} in line {error.lineno}") from error
    comments = _comments(source)
    found: dict[str, Parameter] = {}
    for statement in statements:
        line = ast.unparse(statement).splitlines()[0]
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value):
            raise MplibError(
                f"the parameters cell holds {line!r}, expected only annotated plain assignments such as "
                "'steps: int = 300  # help'; compute derived values in the next cell"
            )
        name, kind = statement.target.id, _kind(statement.annotation)
        try:
            default = ast.literal_eval(statement.value)
        except ValueError as error:
            raise MplibError(
                f"parameter {name} has the default {ast.unparse(statement.value)!r}, expected a literal; "
                "compute derived values in the next cell"
            ) from error
        if name in found:
            raise MplibError(f"parameter {name} is declared twice, expected once")
        meaning = comments.get(statement.end_lineno or 0) or comments.get(-(statement.lineno - 1), "")
        found[name] = Parameter(name, kind, _convert(name, kind, default), meaning)
    return found


def resolve(declared: Mapping[str, Parameter], *layers: Mapping[str, Any]) -> dict[str, Any]:
    """The value of every parameter: its default, overridden by each layer in turn.

    Args:
        declared: the parameters of the chapter.
        layers: values by name, the last layer wins.

    Raises:
        MplibError: a name that is not declared, or a value of another type.
    """
    values = {name: parameter.default for name, parameter in declared.items()}
    for layer in layers:
        for name, value in layer.items():
            if name not in declared:
                raise unknown("parameter", name, declared)
            values[name] = declared[name].check(value)
    return values


def overrides(declared: Mapping[str, Parameter], texts: Iterable[str]) -> dict[str, Any]:
    """Read ``name=value`` texts of a command line into checked values.

    Raises:
        MplibError: no ``=``, a name that is not declared, or a value of another type.
    """
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise MplibError(f"the override {text!r} has no '=', expected name=value")
        if name not in declared:
            raise unknown("parameter", name, declared)
        values[name] = declared[name].parse(value)
    return values


def _kind(annotation: ast.expr) -> str:
    kind = ast.unparse(annotation)
    element = kind.removeprefix("list[").removesuffix("]") if kind.startswith("list[") else kind
    if element not in SCALARS:
        raise MplibError(
            f"the parameters cell uses the type {kind!r}, expected int, float, bool, str or list[...] of one of them"
        )
    return kind


def _convert(name: str, kind: str, value: Any) -> Any:
    if kind.startswith("list["):
        if not isinstance(value, list):
            raise MplibError(f"parameter {name} is {value!r}, expected {kind}")
        element = kind.removeprefix("list[").removesuffix("]")
        return [_convert(f"{name}[{i}]", element, item) for i, item in enumerate(value)]
    wanted = SCALARS[kind]
    # bool is a subclass of int: True must not pass for 1.
    if type(value) is wanted:
        return value
    if wanted is float and type(value) is int:
        return float(value)
    if not isinstance(value, str):
        raise MplibError(f"parameter {name} is {value!r} of type {type(value).__name__}, expected {kind}")
    raise MplibError(f"parameter {name} is the string {value!r}, expected {kind}{_yaml_hint(wanted, value)}")


def _yaml_hint(wanted: type, value: str) -> str:
    if wanted is not float:
        return ""
    try:
        float(value)
    except ValueError:
        return ""
    mantissa, e, exponent = value.lower().partition("e")
    better = f"{mantissa if '.' in mantissa else mantissa + '.0'}e{exponent}" if e else value
    if better == value:
        return ""
    return f": write {better}, because YAML reads an exponent without a decimal point as a string"


def _comments(source: str) -> dict[int, str]:
    """The comment at the end of each line, by line number; that of a line of its own by the number's negative."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        t.start[0] if t.line[: t.start[1]].strip() else -t.start[0]: t.string.lstrip("# ").rstrip()
        for t in tokens
        if t.type == tokenize.COMMENT
    }
