"""How much memory training takes, estimated from sizes before anything is allocated.

What a step keeps for its backward pass is counted for a small batch on the CPU, and grows with the batch. Gradients of
maps and the workspaces of libraries are not known beforehand: half as much again is added for them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from mplib import nets
from mplib.attachment import attach
from mplib.data import Dataset
from mplib.perturb import MetaPerturb
from mplib.seeding import private_randomness
from mplib.steps import frozen_perturbation

COPIES = 8
"""Copies of each parameter, which are itself, its gradient, two moments, the state of the last row, and one spare."""

MARGIN = 1.5
"""What a step takes, over what it keeps for its backward pass."""

FILLED = 0.8
"""The part of the free memory that may be filled."""


def kept_bytes(forward: Callable[[], object]) -> int:
    """Bytes that a forward pass keeps for its backward pass, parameters and inputs among them.

    Each piece of memory counts once, however many operations keep it. What a function of our own keeps outside
    autograd (a few numbers a channel) is not seen.

    Args:
        forward: makes a graph and returns its end.

    Example:
        >>> x = torch.ones(256, requires_grad=True)
        >>> kept_bytes(lambda: x.exp()), kept_bytes(lambda: x.exp().exp()), kept_bytes(lambda: x + 1)
        (1024, 2048, 0)
    """
    kept: list[Tensor] = []  # held until they are counted, so that no two of them have the same address

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    sizes = {part.data_ptr(): part.nbytes() for part in (tensor.untyped_storage() for tensor in kept)}
    return sum(sizes.values())


@cache
def step_bytes(net: str, width: int | None, classes: int, image_size: int, batch_size: int, noisy: bool) -> int:
    """Memory of training one network, without its images, in bytes.

    Args:
        net, width, classes, image_size: see :func:`mplib.nets.build`.
        batch_size: images a step, at least 2.
        noisy: whether something perturbs the sites; phi stands for it.

    Example:
        >>> small, large = (step_bytes("conv4", 8, 10, 16, batch, True) for batch in (8, 64))
        >>> 4 < large / small < 8
        True
    """
    with private_randomness():
        built = nets.build(net, classes, image_size, width)
        if noisy:
            attach(built, MetaPerturb(), image_size=image_size, clip=100.0)
        two, four = (_kept(built, image_size, batch) for batch in (2, 4))
    parameters = sum(parameter.numel() for parameter in built.parameters())
    return int(4 * COPIES * parameters + MARGIN * batch_size * (four - two) / 2)


def training_bytes(net: str, width: int | None, data: Dataset, batch_size: int, noisy: bool) -> int:
    """The same with the images, which lie on the device as bytes."""
    taken = step_bytes(net, width, data.num_classes, data.image_size, batch_size, noisy)
    return taken + data.train.images.nbytes


def at_once(
    net: str, width: int | None, data: Dataset, batch_size: int, noisy: bool, device: torch.device, wanted: int
) -> int:
    """How many networks can be trained side by side in the memory that a GPU has free: from 1 to ``wanted``."""
    free, _ = torch.cuda.mem_get_info(device)
    return fitting(free, training_bytes(net, width, data, batch_size, noisy), wanted)


def fitting(free: int, each: int, wanted: int) -> int:
    """How many of ``wanted`` things of ``each`` bytes go into what is free, at least 1.

    Example:
        >>> fitting(10_000, 3_000, wanted=5), fitting(10, 3_000, wanted=5)
        (2, 1)
    """
    return max(1, min(wanted, int(FILLED * free / each)))


def _kept(net: nn.Module, image_size: int, batch: int) -> int:
    images = torch.zeros(batch, 3, image_size, image_size)
    with frozen_perturbation(net):
        return kept_bytes(lambda: net.train()(images).sum())
