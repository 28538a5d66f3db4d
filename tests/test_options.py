"""The command line of the book: what it says and what it takes belong together."""

from __future__ import annotations

import re

import pytest

from mpbook import cli, sweep_command
from mpbook.options import DESCRIPTION, parser


def _given(line: str) -> dict[str, object]:
    return vars(parser().parse_args(line.split()))


def test_every_command_is_described_and_does_something() -> None:
    described = re.findall(r"^  (\w+) {2,}", DESCRIPTION, re.MULTILINE)
    assert set(described) - {"sweep"} == set(cli.COMMANDS)
    assert callable(_given("sweep one -p steps=1,2")["command"])
    assert _given("sweep one -p steps=1,2")["command"] is sweep_command.run


def test_the_options_have_their_defaults() -> None:
    assert _given("run")["preset"] == "fast"
    assert _given("run -p a=1 -p b=2 one")["overrides"] == ["a=1", "b=2"]
    assert _given("book")["chapters"] == []
    assert _given("archive")["path"] is None


def test_a_command_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args([])
    assert "command" in capsys.readouterr().err
