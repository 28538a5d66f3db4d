r"""The loss around a trained network, along random directions that fit its filters.

A step of fixed length means little for a network whose weights can be scaled up in one layer and down in the next. So
each filter of a random direction is given the length of the network's own filter:

.. math::

    & d_{i} \leftarrow \frac{d_i}{\lVert d_i \rVert}\, \lVert \theta_i \rVert \\
    & L(a) = \frac1S \textstyle\sum_s L(\theta + a\,d;\ \varepsilon_s)

Batch norms and biases stay as they are. The noise of a perturbed network is the same at every point, so that what is
seen is the surface and not the noise. Source: Li, Xu, Taylor, Studer, Goldstein, *Visualizing the Loss Landscape of
Neural Nets* (2018).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product

import torch
from torch import Tensor, nn

from mplib.data import Split
from mplib.errors import MplibError
from mplib.evaluation import draws
from mplib.seeding import stream
from mplib.steps import own_parameters

Direction = dict[str, Tensor]
"""A step for each weight that has filters, by the name of the parameter."""


def random_direction(net: nn.Module, seed: int = 0, number: int = 0) -> Direction:
    """A filter-normalised random direction in the space of a network's weights.

    Args:
        net: a network; phi is not moved.
        seed, number: which direction; two numbers give independent ones.

    Returns:
        For each parameter of two or more dimensions a tensor of its shape, whose slices along the first dimension
        (the filters; the rows of a linear layer) have the norms of the parameter's.

    Example:
        >>> import mplib
        >>> net = mplib.nets.build("conv4", num_classes=3, image_size=16, width=4)
        >>> direction = random_direction(net)
        >>> torch.allclose(direction["fc.weight"].norm(dim=1), net.fc.weight.norm(dim=1))
        True
    """
    generator = stream(seed, "direction", number)
    direction = {}
    for name, weight in _weights(net):
        draw = torch.randn(weight.shape, generator=generator).to(weight)
        size = draw.flatten(1).norm(dim=1).clamp_min(torch.finfo(draw.dtype).tiny)
        ratio = weight.detach().flatten(1).norm(dim=1) / size
        direction[name] = draw * ratio.view(-1, *[1] * (weight.dim() - 1))
    return direction


@contextmanager
def displaced(net: nn.Module, *steps: tuple[Direction, float]) -> Iterator[None]:
    """Inside this context the network's weights are moved; afterwards they are, to the last bit, what they were.

    Args:
        net: a network.
        steps: directions, each with how far to go; 1 is as far as the filters are long.

    Raises:
        MplibError: a direction that does not fit the network.
    """
    weights = dict(_weights(net))
    for direction, _ in steps:
        if {name: part.shape for name, part in direction.items()} != {name: w.shape for name, w in weights.items()}:
            raise MplibError("the direction does not fit the network, expected one of random_direction(net)")
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    try:
        with torch.no_grad():
            for direction, distance in steps:
                for name, part in direction.items():
                    weights[name].add_(part, alpha=distance)
        yield
    finally:
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(before[name])


def loss_surface(
    net: nn.Module,
    split: Split,
    directions: Sequence[Direction],
    distances: Sequence[float],
    *,
    samples: int = 5,
    batch_size: int = 500,
    seed: int = 0,
) -> Tensor:
    """The loss in eval mode on a line, a plane, or more, through a network.

    Args:
        net: a network.
        split: images and labels.
        directions: one for a line, two for a plane.
        distances: how far to go along each of them, in both signs as given.
        samples: draws of the noise that the loss is averaged over, at least 1; the same ones at every point.
        batch_size: images at a time.
        seed: of the noise.

    Returns:
        Mean cross-entropy in nats, one dimension of ``len(distances)`` for each direction.

    Raises:
        MplibError: no direction, no distance, or one that does not fit.

    Example:
        >>> import mplib
        >>> net = mplib.nets.build("conv4", num_classes=3, image_size=16, width=4)
        >>> split = Split(torch.zeros(3, 3, 16, 16, dtype=torch.uint8), torch.tensor([0, 1, 2]))
        >>> loss_surface(net, split, [random_direction(net, number=n) for n in range(2)], [-0.5, 0, 0.5]).shape
        torch.Size([3, 3])
    """
    if not directions or not distances or samples < 1:
        raise MplibError(
            f"there are {len(directions)} directions, {len(distances)} distances and {samples} samples, expected at "
            "least one of each"
        )
    values = []
    for place in product(distances, repeat=len(directions)):
        with displaced(net, *zip(directions, place, strict=True)):
            each = draws(net, split.images, samples, batch_size, seed)
        right = split.labels.to(each.device).expand(len(each), -1)[..., None]
        values.append(-each.gather(2, right).double().mean())
    return torch.stack(values).reshape([len(distances)] * len(directions)).cpu()


def sharpness(
    net: nn.Module,
    split: Split,
    *,
    radius: float = 0.2,
    directions: int = 10,
    samples: int = 5,
    seed: int = 0,
) -> list[float]:
    r"""How much the loss rises at a distance, for each of several random directions.

    .. math:: \tfrac12\,(L(r) + L(-r)) - L(0)

    Args:
        net: a network.
        split: images and labels.
        radius: r, above 0, in lengths of the filters.
        directions: how many, at least 1.
        samples: draws of the noise, see :func:`loss_surface`.
        seed: of the directions and of the noise.

    Returns:
        A number in nats for each direction.

    Raises:
        MplibError: a number out of range.
    """
    if not radius > 0 or directions < 1:
        raise MplibError(f"radius is {radius} and directions {directions}, expected both above 0")
    rises = []
    for number in range(directions):
        line = loss_surface(
            net, split, [random_direction(net, seed, number)], [-radius, 0.0, radius], samples=samples, seed=seed
        )
        rises.append((line[0] / 2 + line[2] / 2 - line[1]).item())
    return rises


def _weights(net: nn.Module) -> list[tuple[str, nn.Parameter]]:
    own = {id(parameter) for parameter in own_parameters(net)}
    return [(name, weight) for name, weight in net.named_parameters() if id(weight) in own and weight.dim() > 1]
