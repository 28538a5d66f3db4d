"""How long a long run takes, through the calls that a user makes, from two short stretches of it.

A run of n steps takes a + b n seconds: a is spent once (building, compiling, capturing), b in each step. Two lengths
give both, and with them the time of any length. What is extrapolated says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

import mplib
from mplib import devices, nets
from mplib.attachment import attach
from mplib.benchmark.turns import Row, timed
from mplib.benchmark.work import CLASSES, Setting
from mplib.data import Dataset, Split, Task
from mplib.errors import MplibError
from mplib.perturb import MetaPerturb
from mplib.seeding import derive, private_randomness

Run = Callable[[int], object]
"""A run of as many steps as it is told."""


def estimate(run: Run, steps: int, device: torch.device, budget: float = 40.0, first: int = 25) -> Row:
    """Time a run at lengths that double until the budget is spent, and extrapolate from the last two.

    From 100 steps on a run keeps the same number of rows of its history, so that these do not enter the slope.

    Args:
        run: the run, to be called with a number of steps.
        steps: the length that is asked for, at least 1.
        device: where it runs.
        budget: seconds to spend; the two shortest lengths are measured in any case.
        first: the shortest length, in steps, at least 1.

    Returns:
        ``seconds`` for all steps, ``ms_per_step``, ``measured_steps`` and ``measured_seconds`` of the longest stretch,
        and whether ``extrapolated``.

    Example:
        >>> row = estimate(lambda steps: sum(range(10_000 * steps)), 100, torch.device("cpu"), budget=0.0, first=2)
        >>> row["measured_steps"], row["extrapolated"], row["seconds"] > row["measured_seconds"]
        (4, True, True)
    """
    if steps < 1 or first < 1:
        raise MplibError(f"steps is {steps} and the first stretch {first}, expected at least 1 each")
    run(min(2, steps))  # compiles what has to be compiled once a process
    length, spent = min(first, max(1, steps // 2)), 0.0
    taken: list[tuple[int, float]] = []
    while len(taken) < 2 or (taken[-1][0] < steps and spent + 2 * taken[-1][1] < budget):
        seconds = timed(lambda length=length: run(length), device)  # type: ignore[misc]
        taken.append((length, seconds))
        spent += seconds
        length = min(2 * length, max(steps, length + 1))
    (n, earlier), (m, latest) = taken[-2:]
    slope = (latest - earlier) / (m - n) if latest > earlier else latest / m
    return {
        "seconds": latest + (steps - m) * slope,
        "ms_per_step": 1000 * slope,
        "steps": steps,
        "measured_steps": m,
        "measured_seconds": latest,
        "extrapolated": m < steps,
    }


def meta_training(setting: Setting, n_tasks: int) -> Run:
    """Meta-training on equal tasks of random images, by :func:`mplib.meta_train`."""
    tasks = [
        Task(f"random/{k}", _split(setting, 2 * k), _split(setting, 2 * k + 1), _names(), flip=True)
        for k in range(n_tasks)
    ]
    return lambda steps: mplib.meta_train(
        tasks,
        net=setting.net,
        steps=steps,
        batch_size=setting.batch_size,
        width=setting.describe()["width"],
        device=setting.device,
    )


def training(setting: Setting, n_seeds: int = 1, perturbed: bool = True) -> Run:
    """Ordinary training of one network after another, by :func:`mplib.train`."""
    data = _data(setting)

    def run(steps: int) -> None:
        for seed, net in enumerate(_networks(setting, n_seeds, perturbed)):
            mplib.train(net, data, seed=seed, **_options(setting, steps))

    return run


def training_together(setting: Setting, n_seeds: int, perturbed: bool = True) -> Run:
    """Ordinary training of several networks in one go, by :func:`mplib.train_together`."""
    data, seeds = _data(setting), list(range(n_seeds))
    return lambda steps: mplib.train_together(
        _networks(setting, n_seeds, perturbed), data, seeds, **_options(setting, steps)
    )


def _options(setting: Setting, steps: int) -> dict[str, Any]:
    return {"steps": steps, "batch_size": setting.batch_size, "device": setting.device}


def _networks(setting: Setting, number: int, perturbed: bool) -> list[torch.nn.Module]:
    """Fresh networks, all with one phi, on the device."""
    phi, place, size = MetaPerturb(), devices.resolve(setting.device), setting.image_size
    found = []
    with private_randomness():
        for seed in range(number):
            torch.manual_seed(derive(seed, "network"))
            net = nets.build(setting.net, CLASSES, size, setting.describe()["width"])
            found.append((attach(net, phi, image_size=size) if perturbed else net).to(place))
    return found


def _split(setting: Setting, seed: int) -> Split:
    n, size = 10 * setting.batch_size, setting.image_size
    generator = torch.Generator().manual_seed(seed)
    return Split(torch.randint(256, (n, 3, size, size), generator=generator).to(torch.uint8), torch.arange(n) % CLASSES)


def _data(setting: Setting) -> Dataset:
    return Dataset("random", _split(setting, 0), _split(setting, 1), _names(), flip=True)


def _names() -> list[str]:
    return [f"class {k}" for k in range(CLASSES)]
