"""How cost grows: with channels and image size (whole steps), with tasks and with seeds (whole runs)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mplib import devices
from mplib.benchmark.stretches import Run, estimate, meta_training, training, training_together
from mplib.benchmark.turns import Row
from mplib.benchmark.work import Setting, time_steps

STEPS = 10_000  # what the runs are told to be part of; how long it takes, only their slope says


def by_channels(setting: Setting, widths: Sequence[int] = (8, 16, 32, 64), **limits: Any) -> list[Row]:
    """Plain and perturbed steps of conv4 at several numbers of channels.

    Args:
        setting: the batch, and the image size.
        widths: numbers of channels.
        **limits: turns and budget of each, see :func:`mplib.benchmark.turns.take_turns`.
    """
    return _steps("channels", {width: replace(setting, net="conv4", width=width) for width in widths}, limits)


def by_image_size(setting: Setting, sizes: Sequence[int] = (16, 32, 64, 84), **limits: Any) -> list[Row]:
    """Plain and perturbed steps of conv4 at several image sizes, at the setting's number of channels.

    Args:
        setting: the batch, and the number of channels.
        sizes: pixels.
        **limits: turns and budget of each, see :func:`mplib.benchmark.turns.take_turns`.
    """
    return _steps("image size", {size: replace(setting, net="conv4", image_size=size) for size in sizes}, limits)


def by_tasks(setting: Setting, numbers: Sequence[int] = (1, 2, 4), budget: float = 20.0, first: int = 25) -> list[Row]:
    """Joint steps of meta-training with several numbers of equal tasks.

    Args:
        setting: the network of each task and its batch.
        numbers: how many tasks.
        budget: seconds for each number.
        first: shortest stretch, in steps.
    """
    return [
        _run("tasks", number, "meta-training", meta_training(setting, number), setting, budget, first)
        for number in numbers
    ]


def by_seeds(setting: Setting, numbers: Sequence[int] = (1, 2, 5), budget: float = 20.0, first: int = 25) -> list[Row]:
    """Steps of training several networks, one after another, and together.

    Args:
        setting: the network of each seed and its batch.
        numbers: how many seeds.
        budget: seconds for each number and way.
        first: shortest stretch, in steps.
    """
    rows = []
    for number in numbers:
        ways = {"one after another": training(setting, number), "together": training_together(setting, number)}
        rows += [_run("seeds", number, way, run, setting, budget, first) for way, run in ways.items()]
    return rows


def _steps(grows: str, settings: dict[int, Setting], limits: dict[str, Any]) -> list[Row]:
    return [
        {"grows": grows, "value": value, **row}
        for value, setting in settings.items()
        for row in time_steps(setting, ["plain", "perturbed"], **limits)
    ]


def _run(grows: str, value: int, way: str, run: Run, setting: Setting, budget: float, first: int) -> Row:
    measured = estimate(run, STEPS, devices.resolve(setting.device), budget, first)
    return {"grows": grows, "value": value, **setting.describe(), "way": way, **measured}
