"""What ``mplib bench`` can measure, cut into units of which each makes one row of a run store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from mplib import devices
from mplib.benchmark.bars import BUDGET, measure_bars
from mplib.benchmark.growth import by_channels, by_image_size, by_seeds, by_tasks
from mplib.benchmark.machine import facts
from mplib.benchmark.official import Checkout
from mplib.benchmark.parts import time_parts, time_pieces
from mplib.benchmark.predictions import time_predictions
from mplib.benchmark.roofline import time_sites
from mplib.benchmark.turns import Row
from mplib.benchmark.work import Setting, time_steps
from mplib.errors import MplibError, unknown

SUITES = {
    "steps": "plain, noise, perturbed and meta-training steps of each network and batch size",
    "predictions": "predictions of each network by the number of draws, beside the network alone",
    "ideas": "perturbed steps with one idea left out at a time, and what is kept for backward",
    "parts": "where the time of a step goes, and the pieces of one site",
    "roofline": "each site beside a convolution, and beside what the machine allows",
    "growth": "steps by channels and image size, runs by tasks and seeds, at a quarter of the batch",
    "bars": "is it fast enough: every bar with its limit",
}


@dataclass(frozen=True)
class Scope:
    """How much to measure.

    Attributes:
        nets, batch_sizes: of the suite steps; predictions take the first size, ideas, parts and roofline also the first
            two networks only.
        image_size: pixels.
        width: channels of conv4 and conv6; their default if None.
        turns: counted rounds of each comparison.
        device: where to run.
        against: a checkout of the authors' repository, timed beside ours in steps and ideas; None for none.
        budget: minutes for the bars; a quarter of it for each comparison, a twentieth for each site and each point of
            growth.
    """

    nets: tuple[str, ...] = ("resnet20", "conv4")
    batch_sizes: tuple[int, ...] = (128,)
    image_size: int = 32
    width: int | None = None
    turns: int = 15
    device: str = "auto"
    against: str | None = None
    budget: float = BUDGET


@dataclass(frozen=True)
class Unit:
    """A measurement that makes one row: its configuration, and what measures it."""

    config: Row
    measure: Callable[[], list[Row]]

    def result(self, device: str) -> Row:
        """What is kept: the rows, and the facts of the machine when it was measured."""
        machine = facts(devices.resolve(device))
        return {"rows": self.measure(), "machine": machine}


def units(suite: str, scope: Scope) -> Iterator[Unit]:
    """The measurements of a suite, none made yet.

    Args:
        suite: a key of :data:`SUITES`, or ``"all"``.
        scope: how much to measure.

    Raises:
        MplibError: an unknown suite, no network or batch size, or a folder that is no checkout of the authors'.

    Example:
        >>> [unit.config["net"] for unit in units("steps", Scope(device="cpu"))]
        ['resnet20', 'conv4']
    """
    if suite not in (*SUITES, "all"):
        raise unknown("suite", suite, [*SUITES, "all"])
    if not scope.nets or not scope.batch_sizes or not scope.budget > 0:
        raise MplibError(
            f"nets are {scope.nets}, batch_sizes {scope.batch_sizes} and budget {scope.budget}, expected at least one "
            "network, one size, and a budget above 0 minutes"
        )
    against = None if scope.against is None else Checkout(scope.against)
    for name in SUITES if suite == "all" else [suite]:
        for what, measure in _MAKERS[name](scope, against):
            config = {"experiment": "bench", "suite": name, **what, "turns": scope.turns, "against": bool(against)}
            yield Unit({**config, "device": devices.describe(devices.resolve(scope.device))}, measure)


Part = tuple[Row, Callable[[], list[Row]]]


def _setting(scope: Scope, net: str, batch_size: int | None = None) -> Setting:
    return Setting(net, batch_size or scope.batch_sizes[0], scope.image_size, scope.width, scope.device)


def _turns(scope: Scope, part: int = 4) -> dict[str, Any]:
    """Rounds, and the part of the budget that they may take, in seconds."""
    return {"turns": scope.turns, "budget": 60 * scope.budget / part}


def _steps(scope: Scope, against: Checkout | None) -> Iterator[Part]:
    for net in scope.nets:
        for batch_size in scope.batch_sizes:
            setting = _setting(scope, net, batch_size)
            yield setting.describe(), lambda s=setting: time_steps(s, **_turns(scope), against=against)  # type: ignore[misc]


def _predictions(scope: Scope, _: Checkout | None) -> Iterator[Part]:
    for net in scope.nets:
        setting = _setting(scope, net)
        yield setting.describe(), lambda s=setting: time_predictions(s, **_turns(scope))  # type: ignore[misc]


def _ideas(scope: Scope, against: Checkout | None) -> Iterator[Part]:
    variants = ["plain", "grouped", "reference", "recomputed", "stored noise", "perturbed"]
    for net in scope.nets[:2]:
        setting = _setting(scope, net)
        yield (
            setting.describe(),
            lambda s=setting: time_steps(s, variants, **_turns(scope), against=against),  # type: ignore[misc]
        )


def _parts(scope: Scope, _: Checkout | None) -> Iterator[Part]:
    for net in scope.nets[:2]:
        setting = _setting(scope, net)
        yield setting.describe(), lambda s=setting: time_parts(s, scope.turns)  # type: ignore[misc]
    shape = scope.batch_sizes[0], 16, scope.image_size
    what = {"batch_size": shape[0], "channels": shape[1], "height": shape[2]}
    yield what, lambda: time_pieces(*shape, scope.device, scope.turns)


def _roofline(scope: Scope, _: Checkout | None) -> Iterator[Part]:
    for net in scope.nets[:2]:
        setting = _setting(scope, net)
        yield (
            setting.describe(),
            lambda s=setting: time_sites(s, **_turns(scope, 20)),  # type: ignore[misc]
        )


def _growth(scope: Scope, _: Checkout | None) -> Iterator[Part]:
    setting = replace(_setting(scope, "conv4", max(2, scope.batch_sizes[0] // 4)), width=scope.width or 16)
    what = asdict(setting)
    # A first stretch on a GPU has to outweigh what is captured or compiled before it.
    first = 25 if devices.resolve(scope.device).type == "cuda" else 3
    limits = _turns(scope, 20)
    budget = limits["budget"]
    yield {**what, "grows": "channels"}, lambda: by_channels(setting, **limits)
    yield {**what, "grows": "image size"}, lambda: by_image_size(setting, **limits)
    yield {**what, "grows": "tasks"}, lambda: by_tasks(setting, budget=budget, first=first)
    yield {**what, "grows": "seeds"}, lambda: by_seeds(setting, budget=budget, first=first)


def _bars(scope: Scope, _: Checkout | None) -> Iterator[Part]:
    setting = _setting(scope, "resnet20")
    what = {"batch_size": setting.batch_size, "image_size": setting.image_size, "budget": scope.budget}
    yield what, lambda: measure_bars(setting, scope.budget, scope.turns)


_MAKERS: dict[str, Callable[[Scope, Checkout | None], Iterator[Part]]] = {
    "steps": _steps,
    "predictions": _predictions,
    "ideas": _ideas,
    "parts": _parts,
    "roofline": _roofline,
    "growth": _growth,
    "bars": _bars,
}
