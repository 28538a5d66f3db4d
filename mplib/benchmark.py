"""What the perturbation costs: the same training step with and without it, timed in turn, as ratios of one run.

A single time says little on a shared machine, whose speed drifts from second to second. So the variants take turns,
step by step, and what is reported is the ratio within a turn: its median, and the range of its middle half.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch

from mplib import devices, fused, nets
from mplib.attachment import attach, sites
from mplib.errors import MplibError, unknown
from mplib.perturb import MetaPerturb
from mplib.provenance import environment
from mplib.regularizers import matched_noise
from mplib.seeding import private_randomness
from mplib.steps import adam, frozen_perturbation, own_parameters, training_step

VARIANTS = {
    "plain": "the network alone",
    "noise": "plain Gaussian noise at the same sites",
    "perturbed": "phi, frozen",
    "perturbed, reference": "phi, frozen, with the readable version of the function",
}

Row = dict[str, Any]


def time_steps(
    net: str = "resnet20",
    *,
    batch_size: int = 128,
    image_size: int = 32,
    width: int | None = None,
    variants: Sequence[str] = tuple(VARIANTS),
    turns: int = 15,
    device: str | torch.device = "auto",
) -> list[Row]:
    """Time whole training steps (forward, backward, Adam) of one network, the variants in turn.

    Args:
        net: a name of :func:`mplib.nets.names`.
        batch_size: images a step, at least 2.
        image_size: pixels.
        width: channels of conv4 and conv6; their default if None.
        variants: keys of :data:`VARIANTS`; the first is what the others are divided by.
        turns: counted rounds, at least 3; three more are not counted.
        device: where to run.

    Returns:
        One row for each variant: ``milliseconds`` (median), ``ratio`` (median over the turns, to the first variant),
        ``ratio_low`` and ``ratio_high`` (quartiles), ``megabytes`` (peak memory on a GPU, else None), and the
        environment.

    Raises:
        MplibError: an unknown variant or network, or a number below its least.

    Example:
        >>> rows = time_steps("conv4", batch_size=2, image_size=16, width=4, turns=3, device="cpu")
        >>> [row["variant"] for row in rows], rows[0]["ratio"]
        (['plain', 'noise', 'perturbed', 'perturbed, reference'], 1.0)
    """
    for variant in variants:
        if variant not in VARIANTS:
            raise unknown("variant", variant, VARIANTS)
    if turns < 3 or batch_size < 2:
        raise MplibError(f"turns is {turns} and batch_size {batch_size}, expected at least 3 turns and 2 images")
    place = devices.resolve(device)
    with private_randomness(place):
        torch.manual_seed(0)
        images = torch.rand(batch_size, 3, image_size, image_size, device=place) * 2 - 1
        labels = torch.randint(100, (batch_size,), device=place)
        steps = {name: _step(name, net, image_size, width, images, labels) for name in variants}
        seconds: dict[str, list[float]] = {name: [] for name in variants}
        memory: dict[str, float | None] = dict.fromkeys(variants)
        for turn in range(-3, turns):
            for name, step in steps.items():
                taken, peak = _timed(step, place)
                if turn >= 0:
                    seconds[name].append(taken)
                    memory[name] = peak
    made_with = environment(place)
    rows = []
    for name in variants:
        ratios = [own / base for own, base in zip(seconds[name], seconds[variants[0]], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        rows.append(
            {
                "net": net,
                "variant": name,
                "batch_size": batch_size,
                "image_size": image_size,
                "milliseconds": 1000 * statistics.median(seconds[name]),
                "ratio": middle,
                "ratio_low": low,
                "ratio_high": high,
                "megabytes": memory[name],
                "turns": turns,
                **made_with,
            }
        )
    return rows


def _step(
    variant: str, name: str, image_size: int, width: int | None, images: torch.Tensor, labels: torch.Tensor
) -> Callable[[], None]:
    """A training step of a fresh network, ready to be repeated."""
    net = nets.build(name, 100, image_size, width if nets.takes_width(name) else None)
    if variant == "noise":
        attach(net, matched_noise([(0.5, 0.3)] * len(sites(net, image_size))), image_size=image_size)
    elif variant != "plain":
        attach(net, MetaPerturb(), image_size=image_size)
    net.to(images.device)
    optimiser = adam(own_parameters(net), 1e-3, 5e-4)

    def step() -> None:
        with frozen_perturbation(net), fused.plain_only() if variant.endswith("reference") else nullcontext():
            training_step(net, optimiser, images, labels)

    return step


def _timed(step: Callable[[], None], device: torch.device) -> tuple[float, float | None]:
    """Seconds of one step, and the peak of memory in megabytes where the device tells it."""
    if device.type != "cuda":
        started = time.perf_counter()
        step()
        return time.perf_counter() - started, None
    torch.cuda.reset_peak_memory_stats(device)
    torch.cuda.synchronize(device)
    started = time.perf_counter()
    step()
    torch.cuda.synchronize(device)
    return time.perf_counter() - started, torch.cuda.max_memory_allocated(device) / 2**20
