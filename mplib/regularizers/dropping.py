"""The dropout family: a part of each map is set to zero while training, and what is left is scaled up.

The members differ in the part: single numbers, whole channels, square blocks, or the whole branch of a residual block.
In eval mode all of them are the identity. Their rate follows the strength of the perturbation, ``strength * rate``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mplib.attachment import observed_sites, perturbation_of
from mplib.errors import MplibError
from mplib.evaluation import eval_mode
from mplib.seeding import derive, private_randomness


class Dropout(nn.Module):
    r"""Each number of a map is dropped by itself.

    .. math::

        & \mathrm{out} = x\, b / (1 - p), \\
        & b \sim \mathrm{Bernoulli}(1 - p) \text{ per element}

    Args:
        rate: :math:`p`, the probability of being dropped at strength 1, in [0, 1).

    Raises:
        MplibError: a rate out of range.

    Example:
        >>> drop = Dropout(0.5)
        >>> sorted(set(drop(torch.ones(8, 4, 4, 4)).flatten().tolist()))
        [0.0, 2.0]
        >>> torch.equal(drop.eval()(torch.ones(8, 4, 4, 4)), torch.ones(8, 4, 4, 4))
        True

    Source: Srivastava et al., *Dropout* (2014), with the scaling at training time that torch has.
    """

    random_at_test = False

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise MplibError(f"rate is {rate}, expected a probability in [0, 1)")
        self.rate = rate

    def kept(self, x: Tensor, rate: float, generator: torch.Generator | None = None) -> Tensor:
        """1 for what is kept and 0 for what is dropped, of a shape that broadcasts to that of x."""
        return draw(x.shape, x, 1 - rate, generator)

    def visit(
        self, x: Tensor, *_: Any, strength: float | Tensor = 1.0, generator: torch.Generator | None = None, **__: Any
    ) -> tuple[Tensor, None]:
        """Drop from a map (B, C, H, W); of the arguments of :meth:`mplib.MetaPerturb.visit` two play a part."""
        rate = float(strength) * self.rate
        if not self.training or rate == 0:
            return x, None
        kept = self.kept(x, rate, generator)
        return x * kept * self.gain(kept, rate), None

    def gain(self, kept: Tensor, rate: float) -> float | Tensor:
        """What the kept part is multiplied by, so that the mean of a map stays what it was."""
        return 1 / (1 - rate)

    def forward(self, *arguments: Any, **options: Any) -> Tensor:
        """The map that :meth:`visit` gives."""
        return self.visit(*arguments, **options)[0]

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


class SpatialDropout(Dropout):
    """Each channel of each image is dropped as a whole.

    Args:
        rate: probability that a channel is dropped, in [0, 1).

    Source: Tompson et al. (2015); torch's ``Dropout2d``.
    """

    def kept(self, x: Tensor, rate: float, generator: torch.Generator | None = None) -> Tensor:
        return draw((*x.shape[:2], 1, 1), x, 1 - rate, generator)


class StochasticDepth(Dropout):
    """The branch of a residual block is dropped as a whole, for each image by itself; the shortcut stays.

    It belongs at the end of a branch, before the sum: see ``mplib.regularizers.branches``.

    Args:
        rate: probability that the branch is dropped, in [0, 1).

    Source: Huang et al. (2016), one draw per image and scaled at training time as in torchvision's ``StochasticDepth``.
    """

    def kept(self, x: Tensor, rate: float, generator: torch.Generator | None = None) -> Tensor:
        return draw((len(x), 1, 1, 1), x, 1 - rate, generator)


class DropBlock(Dropout):
    r"""Square blocks are dropped, of each channel of each image by itself.

    A corner is drawn with probability :math:`\gamma` at each of the places where a whole block fits into the map; the
    blocks may overlap. A map smaller than the block gets a block of its own size, so that every map has an answer: a
    1x1 map is dropped or kept. :math:`\gamma` solves

    .. math:: \tfrac1{HW} \textstyle\sum_{ij} \big(1 - (1 - \gamma)^{n_{ij}}\big) = p

    with :math:`n_{ij}` the number of blocks that cover the pixel, so the expected part that is dropped is the rate,
    overlaps included, on every map. What is kept is multiplied by (numbers in the batch) / (numbers kept).

    Args:
        rate: :math:`p`, in [0, 1).
        block: side of a block in pixels, at least 1, odd or even.

    Raises:
        MplibError: a value out of range.

    Source: Ghiasi et al. (2018). Differs from torchvision's ``drop_block2d``: that one's :math:`\gamma` neglects
    overlaps and it has no answer for maps smaller than the block where their size is even.
    """

    def __init__(self, rate: float, block: int = 7) -> None:
        super().__init__(rate)
        if block < 1 or block != int(block):
            raise MplibError(f"block is {block}, expected a whole number of pixels, at least 1")
        self.block = int(block)

    def kept(self, x: Tensor, rate: float, generator: torch.Generator | None = None) -> Tensor:
        return blocks_kept(x, self.block, corner_rate(*x.shape[2:], self.block, rate), generator)

    def gain(self, kept: Tensor, rate: float) -> float | Tensor:
        return kept.numel() / kept.sum().clamp(min=1)

    def extra_repr(self) -> str:
        return f"rate={self.rate}, block={self.block}"


def blocks_kept(x: Tensor, block: int, gamma: float, generator: torch.Generator | None = None) -> Tensor:
    """A mask of x's shape that is 0 inside the blocks whose corners were drawn, each with probability gamma."""
    high, wide = (min(block, side) for side in x.shape[2:])
    corners = draw((*x.shape[:2], x.shape[2] - high + 1, x.shape[3] - wide + 1), x, gamma, generator)
    padded = F.pad(corners, (wide - 1, wide - 1, high - 1, high - 1))
    # A maximum over rows, then over columns: the maximum over the block, and faster.
    return 1 - F.max_pool2d(F.max_pool2d(padded, (high, 1), stride=1), (1, wide), stride=1)


@lru_cache(maxsize=4096)
def corner_rate(height: int, width: int, block: int, rate: float) -> float:
    r""":math:`\gamma` for which the expected part of a map that is dropped is ``rate``; see :class:`DropBlock`.

    Example:
        >>> round(corner_rate(1, 1, 7, 0.1), 6), round(corner_rate(8, 8, 1, 0.1), 6)   # no overlaps: gamma is the rate
        (0.1, 0.1)
    """
    cover = np.outer(*(_covering_blocks(side, min(block, side)) for side in (height, width)))
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if float((1 - (1 - middle) ** cover).mean()) < rate:
            low = middle
        else:
            high = middle
    return (low + high) / 2


@torch.no_grad()
def dropped_fractions(net: nn.Module, images: Tensor, seed: int = 0) -> list[float] | None:
    """The part of each map that one training batch would lose at full strength, site by site.

    Args:
        net: a network.
        images: (B, 3, H, W), normalised.
        seed: seed of the masks, at least 0.

    Returns:
        A number in [0, 1] for each site; None where nothing of this file is attached.
    """
    perturbation = perturbation_of(net)
    if perturbation is None or not all(isinstance(part, Dropout) for part in perturbation.functions):
        return None
    with private_randomness(images.device), eval_mode(net), observed_sites(net) as calls:
        torch.manual_seed(derive(seed, "dropped"))
        net(images)
        dropped = []
        for index, call in enumerate(calls):
            function = perturbation.functions[index % len(perturbation.functions)]
            assert isinstance(function, Dropout)
            dropped.append(1 - function.kept(call.x, function.rate).mean().item())
    return dropped


def draw(shape: tuple[int, ...], like: Tensor, probability: float, generator: torch.Generator | None) -> Tensor:
    """Ones with the given probability, else zeros, of the type and on the device of ``like``."""
    empty = torch.empty(shape, dtype=like.dtype, device=like.device)
    return empty.bernoulli_(probability, generator=generator)


def _covering_blocks(side: int, block: int) -> np.ndarray[Any, Any]:
    """How many of the blocks that fit into a line of pixels cover each of them."""
    pixels = np.arange(side)
    first, last = np.maximum(pixels - block + 1, 0), np.minimum(pixels, side - block)
    covering: np.ndarray[Any, Any] = last - first + 1
    return covering
