from __future__ import annotations

import threading
import time
from typing import Any, cast

import pytest

from mplib import MplibError
from mplib.reproduction.costs import Cost, Costs
from mplib.reproduction.declarations import Unit
from mplib.reproduction.schedule import Outcome, OutOfTime, deadline, run
from mplib.reproduction.workshop import Workshop

UNITS = [Unit("toy", "transfer", "digits", "conv4", method, (0,)) for method in ("none", "phi", "noise", "untrained")]


class Shop:
    """Makes units by letting a clock go on."""

    def __init__(self, seconds: dict[str, float], broken: str = "") -> None:
        self.seconds, self.broken, self.now = seconds, broken, 0.0
        self.made: list[str] = []

    def rows(self, unit: Unit) -> list[dict[str, Any]] | None:
        return [] if unit.method in self.made else None

    def make(self, unit: Unit) -> list[dict[str, Any]]:
        if unit.method == self.broken:
            raise MplibError("the loss is not finite")
        self.now += self.seconds[unit.method]
        self.made.append(unit.method)
        return []


class Guess:
    """Costs that are known beforehand."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds

    def of(self, unit: Unit) -> Cost:
        return Cost(self.seconds[unit.method], "guess", 0)

    def add(self, rows: object) -> None:
        pass


def stretch(shop: Shop, minutes: float, guesses: dict[str, float] | None = None) -> Outcome:
    costs = cast(Costs, Guess(guesses or shop.seconds))
    return run(UNITS, cast(Workshop, shop), costs, minutes, clock=lambda: shop.now)


def test_what_does_not_fit_is_left_for_the_next_stretch() -> None:
    shop = Shop({"none": 20, "phi": 14, "noise": 14, "untrained": 14})
    first = stretch(shop, minutes=1)
    assert shop.made == ["none", "phi", "noise"] and first.stopped
    assert [unit.method for unit in first.left] == ["untrained"] and shop.now <= 60
    second = stretch(shop, minutes=5)
    assert len(second.found) == 3 and [unit.method for unit in second.made] == ["untrained"]
    assert not second.stopped and not second.left


def test_a_long_unit_is_begun_with_what_is_left_and_a_short_one_is_not() -> None:
    """The last unit would take 40 of 100 seconds, and 35 are left: its checkpoint will go on."""
    shop = Shop({"none": 21, "phi": 21, "noise": 21, "untrained": 40})
    stretch(shop, minutes=100 / 60)
    assert shop.made[-1] == "untrained"
    shop = Shop({"none": 30, "phi": 30, "noise": 20, "untrained": 20})
    assert [unit.method for unit in stretch(shop, minutes=100 / 60).left] == ["untrained"]


def test_a_run_that_fails_does_not_stop_the_others() -> None:
    shop = Shop(dict.fromkeys(("none", "phi", "noise", "untrained"), 1.0), broken="phi")
    outcome = stretch(shop, minutes=1)
    assert shop.made == ["none", "noise", "untrained"]
    assert [(unit.method, why) for unit, why in outcome.failed] == [("phi", "the loss is not finite")]


def test_work_is_stopped_wherever_it_is_when_the_time_is_over() -> None:
    started = time.monotonic()
    with pytest.raises(OutOfTime), deadline(0.05):
        while time.monotonic() < started + 5:
            pass
    assert time.monotonic() < started + 4
    with deadline(60):
        pass
    time.sleep(0.01)  # nothing rings afterwards


def test_another_thread_is_not_stopped() -> None:
    ended = []

    def work() -> None:
        with deadline(0.001):
            time.sleep(0.01)
            ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended == [True]


def test_an_overrun_is_stopped_and_counted_as_left() -> None:
    class Endless(Shop):
        def make(self, unit: Unit) -> list[dict[str, Any]]:
            while True:
                pass

    shop = Endless({"none": 0.1, "phi": 0.1, "noise": 0.1, "untrained": 0.1})
    outcome = stretch(shop, minutes=0.3 / 60)
    assert outcome.stopped and len(outcome.left) == 4


@pytest.mark.parametrize("minutes", [0, -1, float("nan")])
def test_refuses_a_budget_that_is_none(minutes: float) -> None:
    with pytest.raises(MplibError, match="expected a number above 0"):
        stretch(Shop({}), minutes)
