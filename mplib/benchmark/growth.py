"""How cost grows: with channels and image size (whole steps), with tasks and with seeds (whole runs)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mplib import devices
from mplib.benchmark.steps import Setting, time_steps
from mplib.benchmark.stretches import Run, estimate, meta_training, training, training_together
from mplib.benchmark.turns import Row

STEPS = 10_000  # what the runs are told to be part of; how long it takes, only their slope says


def by_channels(setting: Setting, widths: Sequence[int] = (8, 16, 32, 64), turns: int = 15) -> list[Row]:
    """Plain and perturbed steps of conv4 at several numbers of channels."""
    return _steps("channels", {width: replace(setting, net="conv4", width=width) for width in widths}, turns)


def by_image_size(setting: Setting, sizes: Sequence[int] = (16, 32, 64, 84), turns: int = 15) -> list[Row]:
    """Plain and perturbed steps of conv4 at several image sizes, at the setting's number of channels."""
    return _steps("image size", {size: replace(setting, net="conv4", image_size=size) for size in sizes}, turns)


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
    """Training of several networks, one after another, and together where the package can."""
    rows = []
    for number in numbers:
        ways = {"one after another": training(setting, number), "together": training_together(setting, number)}
        rows += [
            _run("seeds", number, way, run, setting, budget, first) for way, run in ways.items() if run is not None
        ]
    return rows


def _steps(grows: str, settings: dict[int, Setting], turns: int) -> list[Row]:
    return [
        {"grows": grows, "value": value, **row}
        for value, setting in settings.items()
        for row in time_steps(setting, ["plain", "perturbed"], turns=turns)
    ]


def _run(grows: str, value: int, way: str, run: Run, setting: Setting, budget: float, first: int) -> Row:
    measured = estimate(run, STEPS, devices.resolve(setting.device), budget, first)
    return {"grows": grows, "value": value, **setting.describe(), "way": way, **measured}
