from __future__ import annotations

import argparse
import shlex

from mplib.commands import reproducing
from mplib.data import names
from mplib.reproduction.declarations import SUITES
from mplib.reproduction.plan import commands, plan_text


def test_four_commands_within_half_an_hour_and_64_mib_each() -> None:
    found = commands()
    assert len(found) == 4 and sum(command.minutes for command in found) <= 30
    assert all(sum(command.carry.values()) < 64 for command in found)


def test_the_lines_are_accepted_and_stop_before_their_time_is_over() -> None:
    parser = argparse.ArgumentParser()
    reproducing.add(parser.add_subparsers())
    seen: set[str] = set()
    for command in commands(more="--steps 2")[1:]:
        variable, *line = shlex.split(command.line)
        assert variable.startswith("MPLIB_DATA=") and line[:4] == ["python", "-m", "mplib", "reproduce"]
        given = parser.parse_args(line[3:])
        assert given.budget <= command.minutes and given.steps == 2
        seen |= set(given.suites.split(","))
    assert seen == set(SUITES)


def test_what_a_command_reads_was_carried_for_it_or_before() -> None:
    carried: set[str] = set()
    for command in commands():
        carried |= set(command.carry)
        if command.line.startswith("MPLIB_DATA="):
            roots = command.line.split()[0].removeprefix("MPLIB_DATA=").split(":")
            assert set(roots) <= carried
        for line in command.pack:
            assert line.split()[3] in names() or line.split()[3] in ("tiny_imagenet", "stanford_cars", "cifar100")
    assert all(command.line in plan_text() for command in commands())
