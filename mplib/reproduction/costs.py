"""What a unit is going to take: minutes, from the best that is known, and memory, from sizes.

Known best is what rows of the same kind took on the same device. Next is a stretch of the very training, timed for a
few steps. Where nothing can be timed, on a dry run, a model of operations and launches gives a guess, and is called so.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from mplib import data as datasets
from mplib import nets, regularizers
from mplib.benchmark.stretches import estimate, meta_training, training, training_together
from mplib.benchmark.work import Setting
from mplib.footprint import step_bytes
from mplib.reproduction.declarations import Unit
from mplib.reproduction.scales import Scale
from mplib.runs import Row

RATES = {"cuda": 5e12, "cpu": 4e10}
"""Operations of float32 a second that a guess assumes, of a GPU and of one thread of a CPU."""

LAUNCH = {"cuda": 0.004, "cpu": 0.002}
"""Seconds a step that a guess assumes for everything that is not arithmetic."""

EAGER = 4.0
"""How many times longer a guess lets a step take on a GPU where it cannot be replayed as a graph."""

PERTURBED = 2.0
"""How many times longer a guess lets a perturbed step take."""


class Cost(NamedTuple):
    """What a unit takes.

    Attributes:
        seconds: wall time.
        how: "measured" (rows of its kind), "timed" (a few of its steps), or "guess".
        bytes: memory of the device while it runs.
    """

    seconds: float
    how: str
    bytes: int


class Sizes(NamedTuple):
    """The sizes of a data set, as far as they are known.

    Attributes:
        classes: how many.
        train: training images.
        test: test images.
        pixels: side of an image.
    """

    classes: int
    train: int
    test: int
    pixels: int


class Costs:
    """Estimates for the units of a scale on a device.

    Args:
        scale: of the units.
        kind: "cpu" or "cuda".
        name: the device as rows name it (:func:`mplib.devices.describe`); rows of others say nothing about time here.
        rows: rows whose seconds are known.
        together: whether the seeds of a unit are trained together.
        timed: whether steps may be timed now.
    """

    def __init__(
        self, scale: Scale, kind: str, name: str, rows: Iterable[Row], together: bool = False, timed: bool = True
    ) -> None:
        self._scale, self._kind, self._together, self._timed = scale, kind, together, timed
        self._rows = [row for row in rows if row["environment"].get("device") == name and _whole(row["environment"])]
        self._step = cache(self._time_steps)

    def add(self, rows: Iterable[Row]) -> None:
        """Take in rows that were made meanwhile."""
        self._rows += [row for row in rows if _whole(row["environment"]) and row["seconds"] > 0]

    def of(self, unit: Unit) -> Cost:
        """What all of a unit takes."""
        sizes, scale = self._sizes(unit), self._scale
        if unit.kind == "meta":
            return self._meta(unit, sizes)
        noisy = regularizers.find(unit.method).perturbs
        width = scale.width if nets.takes_width(unit.net) else None
        count = len(unit.seeds) if self._together else 1
        each = step_bytes(unit.net, width, sizes.classes, sizes.pixels, scale.batch_size, noisy)
        memory = count * (each + sizes.train * 3 * sizes.pixels**2)
        seconds, how = self._network(unit, sizes, noisy)
        if unit.kind in ("calibration", "attack"):
            more, how = self._afterwards(unit, sizes, noisy, seconds, how)
            seconds += more
        return Cost(seconds * len(unit.seeds), how, memory)

    def _network(self, unit: Unit, sizes: Sizes, noisy: bool) -> tuple[float, str]:
        """Training and testing one network."""
        scale = self._scale
        steps = scale.selection_steps if unit.kind == "selection" else scale.steps
        alike = [
            (row["config"]["method"] == unit.method, row["seconds"] / row["config"]["steps"])
            for row in self._rows
            if row["config"].get("experiment") == "transfer"
            and (row["config"]["net"], row["config"]["batch_size"]) == (unit.net, scale.batch_size)
            and row["config"]["image_size"] == sizes.pixels
            and (row["config"]["data"].partition("[")[0] == unit.data or unit.kind == "selection")
            and bool(row["config"].get("tuning")) == (unit.kind == "selection")
            and row["config"]["width"] == (scale.width if nets.takes_width(unit.net) else None)
            and row["config"]["samples"] == scale.samples
        ]
        own = [seconds for same, seconds in alike if same]
        if own:
            return steps * sum(own) / len(own), "measured"
        step, how = self._step(unit.net, sizes.classes, sizes.pixels, noisy, self._replayed(unit))
        samples = scale.samples if noisy else 1
        answered = samples * (sizes.test + 256) / scale.batch_size * step / 3
        return steps * step + answered, how

    def _afterwards(self, unit: Unit, sizes: Sizes, noisy: bool, seconds: float, how: str) -> tuple[float, str]:
        """What is done with a trained network."""
        known = [
            row["seconds"]
            for row in self._rows
            if row["config"].get("experiment") == unit.kind
            and (row["config"].get("net_method") or row["config"].get("method")) == unit.method
            and (row["config"].get("net_net") or row["config"].get("net")) == unit.net
        ]
        radii = sum(map(len, self._scale.attack["radii"].values())) if unit.kind == "attack" else 1
        if known:
            return radii * sum(known) / len(known), how
        step, _ = self._step(unit.net, sizes.classes, sizes.pixels, noisy, False)
        image = step / self._scale.batch_size
        if unit.kind == "calibration":
            return (self._scale.draws if noisy else 1) * sizes.test * image / 3, how
        plan = self._scale.attack
        draws = plan["eot"] if noisy else 1
        return radii * plan["images"] * image * (plan["steps"] * draws + plan["samples"]), how

    def _meta(self, unit: Unit, sizes: Sizes) -> Cost:
        scale = self._scale
        tasks = scale.tasks if unit.tasks is None else unit.tasks
        width = scale.width if nets.takes_width(unit.net) else None
        classes = min(scale.classes_per_group, sizes.classes)
        each = step_bytes(unit.net, width, classes, sizes.pixels, scale.batch_size, True)
        memory = tasks * (2 * each + sizes.train // tasks * 2 * 3 * sizes.pixels**2)
        known = [
            row["seconds"] / row["config"]["steps"] / row["config"]["tasks"]
            for row in self._rows
            if row["config"].get("experiment") == "meta" and row["config"]["net"] == unit.net
            and (row["config"]["batch_size"], row["config"]["width"]) == (scale.batch_size, width)
        ]  # fmt: skip
        if known:
            return Cost(scale.meta_steps * tasks * sum(known) / len(known), "measured", memory)
        if self._worth(scale.meta_steps):
            setting = Setting(unit.net, scale.batch_size, sizes.pixels, width, self._kind)
            found = estimate(
                meta_training(setting, tasks), scale.meta_steps, torch.device(self._kind), 0.0, self._first
            )
            return Cost(found["seconds"], "timed", memory)
        step, _ = self._step(unit.net, classes, sizes.pixels, True, True)
        return Cost(scale.meta_steps * tasks * 2 * step, "guess", memory)

    def _time_steps(self, net: str, classes: int, pixels: int, noisy: bool, replayed: bool) -> tuple[float, str]:
        """Seconds of a training step of one network."""
        width = self._scale.width if nets.takes_width(net) else None
        batch = self._scale.batch_size
        worth = self._worth(self._scale.steps)
        if worth and replayed:
            setting = Setting(net, batch, pixels, width, self._kind)
            run = training_together(setting, 2, noisy) if self._together else training(setting, 1, noisy)
            found = estimate(run, self._scale.steps, torch.device(self._kind), 0.0, self._first)
            return found["ms_per_step"] / 1000 / (2 if self._together else 1), "timed"
        if worth:
            step, how = self._step(net, classes, pixels, noisy, True)
            return step * (EAGER if self._kind == "cuda" else 1.0), how
        operations = 3 * batch * flops(net, width, classes, pixels)
        threads = 1 if self._kind == "cuda" else torch.get_num_threads()
        step = operations / RATES[self._kind] / threads * (PERTURBED if noisy else 1.0) + LAUNCH[self._kind]
        return step * (EAGER if self._kind == "cuda" and not replayed else 1.0), "guess"

    def _replayed(self, unit: Unit) -> bool:
        """Whether the steps of a method can be replayed as a graph (see :mod:`mplib.capture`)."""
        from mplib.steps import cross_entropy

        method = regularizers.find(unit.method)
        return method.objective(method.resolve({})) is cross_entropy

    def _worth(self, steps: int) -> bool:
        """Whether steps may be timed, and a run is longer than that takes."""
        return self._timed and steps > 4 * self._first

    @property
    def _first(self) -> int:
        """Steps of the first stretch; on a GPU they have to outweigh what is captured or compiled before them."""
        return 25 if self._kind == "cuda" else 2

    def _sizes(self, unit: Unit) -> Sizes:
        scale = self._scale
        if unit.kind == "selection":
            whole = _described(unit.data, scale.source_size)
            classes = -(-whole.classes // 5)
            each = whole.test // whole.classes
            trains = scale.selection_per_class
            return Sizes(classes, classes * trains, classes * max(0, each - trains), whole.pixels)
        if unit.kind in ("meta", "source"):
            whole = _described(unit.data, scale.source_size)
            few = scale.source_per_class
            return whole if few is None else whole._replace(train=whole.classes * few)
        whole = _described(unit.data, scale.targets.get(unit.data, 32))
        return whole if scale.test_images is None else whole._replace(test=min(whole.test, scale.test_images))


@cache
def flops(net: str, width: int | None, classes: int, pixels: int) -> int:
    """Operations of a plain network's forward pass on one image.

    Example:
        >>> flops("resnet20", None, 10, 32) > flops("conv4", None, 10, 32) > 1e6
        True
    """
    built = nets.build(net, classes, pixels, width).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        built(torch.zeros(1, 3, pixels, pixels))
    return int(counter.get_total_flops())


@cache
def _described(name: str, pixels: int) -> Sizes:
    about = datasets.describe(name)
    return Sizes(about.classes or 10, about.train or 5_000, about.test or 5_000, pixels)


def _whole(environment: dict[str, object]) -> bool:
    """Whether the seconds of a row are those of the whole run."""
    return not environment.get("resumed") and not environment.get("taken_over")
