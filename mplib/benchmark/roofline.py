r"""How near the perturbation comes to what the machine allows: bytes and operations counted, rates measured.

Nothing can be faster than its memory traffic at the rate of a copy, nor than its arithmetic at the rate of a matrix
product. The larger of the two times is the *roof*; the roof over the measured time is the fraction reached.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple, cast

import torch
from torch import nn

from mplib import devices, nets
from mplib.attachment import sites
from mplib.benchmark.ideas import Reference
from mplib.benchmark.machine import Rates, probes
from mplib.benchmark.turns import Row, Work, compared, take_turns
from mplib.benchmark.work import CLASSES, Setting
from mplib.perturb import MetaPerturb
from mplib.seeding import private_randomness

STENCIL = 18  # nine multiplications, nine additions
DRAW = 63  # a normal number: ten rounds of integers (30), and half of a logarithm, a root, a sine and a cosine (33)
SITE = {"channel_ratio": 1.0, "spatial_ratio": 1.0, "clip": 100.0}  # how a site is visited
SOFTPLUS = 42  # an exponential (22), a logarithm (18), max and sum (2), by the polynomials of mplib.fused.arithmetic


class Count(NamedTuple):
    """What one element of a feature map needs, forward and backward together."""

    bytes: float
    operations: float


def count(channels: int) -> Count:
    r"""Bytes and operations for each element of a map of C channels, phi frozen, statistics from the batch.

    *Bytes.* s has to be known for the whole batch before anything is multiplied by it, so x is read twice in the
    forward pass and y is written once: 12 bytes. Backward x and the gradient g are read and dx is written; then x and
    dx are read once more for what comes through the statistics, and dx is written again: 24 bytes. All else may stay
    in the cache.

    *Operations.* Forward: two stencils of the noise and four of the scale, two stencils on the channel mean (shared
    by C channels), the draw, softplus, and 18 simple ones. Backward: the two layers, the draw and softplus again
    (nothing of it was kept) with 3 more for the sigmoid; the two layers transposed; the four filters again and
    transposed; four stencils on channel means; 35 simple ones.

    .. math::

        \text{bytes} = 12 + 24, \qquad
        \text{operations} = \underbrace{6 \cdot 18 + \tfrac{2 \cdot 18}{C} + 63 + 42 + 18}_{\text{forward}}
        + \underbrace{12 \cdot 18 + \tfrac{4 \cdot 18}{C} + 63 + 45 + 35}_{\text{backward}}

    A multiplication and an addition count as two, an operation on integers as one.

    Args:
        channels: C, at least 1.

    Example:
        >>> count(1)
        Count(bytes=36, operations=698.0)
    """
    forward = 6 * STENCIL + 2 * STENCIL / channels + DRAW + SOFTPLUS + 18
    backward = 12 * STENCIL + 4 * STENCIL / channels + DRAW + SOFTPLUS + 3 + 35
    return Count(12 + 24, forward + backward)


def roof(channels: int, measured: Rates) -> Row:
    """The least nanoseconds for each element by memory and by arithmetic, and which of them is the roof.

    Example:
        >>> roof(1, Rates(copy=36.0, matmul=698.0))
        {'memory_ns': 1.0, 'arithmetic_ns': 1.0, 'roof_ns': 1.0, 'bound': 'arithmetic'}
    """
    need = count(channels)
    memory, arithmetic = need.bytes / measured.copy, need.operations / measured.matmul
    bound = "memory" if memory > arithmetic else "arithmetic"
    return {"memory_ns": memory, "arithmetic_ns": arithmetic, "roof_ns": max(memory, arithmetic), "bound": bound}


def shapes(setting: Setting) -> dict[tuple[int, int], int]:
    """The different maps of a network's sites, as (channels, height), and how many sites have each."""
    net = nets.build(setting.net, CLASSES, setting.image_size, setting.describe()["width"])
    return dict(Counter((site.channels, cast(int, site.height)) for site in sites(net, setting.image_size)))


def time_sites(setting: Setting, turns: int = 15, budget: float | None = None, size: int | None = None) -> list[Row]:
    """Time one site of each shape, forward and backward, beside a convolution block of the same shape and the machine.

    The rates of the machine are measured in the same turns, so that a busy moment meets both.

    Args:
        setting: the network whose sites are meant, and its batch.
        turns, budget: of each shape, see :func:`mplib.benchmark.turns.take_turns`.
        size: of the probes, see :func:`mplib.benchmark.machine.probes`.

    Returns:
        Rows, each with ``channels``, ``height``, ``sites`` (how many), ``milliseconds`` and ``ratio`` (to the
        block of 3x3 convolution, batch norm and ReLU), ``reference_ratio``, ``ns`` (for each element), the rates, the
        roof, and the ``fraction`` of it that was reached.
    """
    place = devices.resolve(setting.device)
    machine = probes(place, size)
    rows = []
    for (channels, height), number in shapes(setting).items():
        with private_randomness(place):
            torch.manual_seed(0)
            x = torch.randn(setting.batch_size, channels, height, height, device=place, requires_grad=True)
            convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            block = nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
            works = {
                "block": _both_ways(block.to(place), x),
                "site": _both_ways(MetaPerturb().to(place).requires_grad_(False), x, **SITE),
                "reference": _both_ways(Reference().to(place).requires_grad_(False), x, **SITE),
                **{name: probe.work for name, probe in machine.items()},
            }
            times = compared(take_turns(works, place, turns, budget))
        # From the ratios to the block, and not from the medians: these belong to different moments.
        seconds = {name: row["ratio"] * times["block"]["milliseconds"] / 1000 for name, row in times.items()}
        measured = Rates(*(probe.amount / seconds[name] / 1e9 for name, probe in machine.items()))
        ns, limit = 1e9 * seconds["site"] / x.numel(), roof(channels, measured)
        rows.append(
            {
                "net": setting.net,
                "batch_size": setting.batch_size,
                "channels": channels,
                "height": height,
                "sites": number,
                **times["site"],
                "block_ms": times["block"]["milliseconds"],
                "reference_ratio": times["reference"]["ratio"],
                "ns": ns,
                **limit,
                "fraction": limit["roof_ns"] / ns,
                "copy_rate": measured.copy,
                "matmul_rate": measured.matmul,
            }
        )
    return rows


def _both_ways(module: nn.Module, x: torch.Tensor, **options: float) -> Work:
    """Forward and backward through a module, to its parameters and to x."""
    gradient = torch.randn_like(x)
    wanted = [x, *(parameter for parameter in module.parameters() if parameter.requires_grad)]

    def work() -> None:
        torch.autograd.grad(module(x, **options), wanted, gradient)

    return work
