"""Mixed images: each image of a batch is blended with another one, and so are the losses of their labels.

The partner of each image is drawn by a random permutation of the batch. Where libraries pair by rolling the batch by
one, they rely on a loader that has shuffled it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Beta
from torch.nn import functional as F

from mplib.attachment import perturbation_of
from mplib.errors import MplibError
from mplib.steps import Objective


def mix(x: Tensor, partner: Tensor, share: float) -> Tensor:
    r"""Blend each image, or map, of a batch with its partner: :math:`\lambda x_i + (1 - \lambda)\, x_{\pi(i)}`.

    Args:
        x: (B, C, H, W).
        partner: :math:`\pi`, a permutation of the batch, (B,).
        share: :math:`\lambda`, in [0, 1].

    Example:
        >>> mix(torch.tensor([[0.0], [1.0]]), torch.tensor([1, 0]), 0.75).flatten().tolist()
        [0.25, 0.75]
    """
    return x * share + x[partner] * (1 - share)


def paste(images: Tensor, partner: Tensor, share: float) -> tuple[Tensor, float]:
    r"""Paste a box of its partner into each image; the box lies at one random place for the whole batch.

    The box has the sides :math:`H \sqrt{1 - \lambda}` and :math:`W \sqrt{1 - \lambda}` around a pixel that is drawn,
    and is cut off at the border.

    Args:
        images: (B, 3, H, W).
        partner: a permutation of the batch, (B,).
        share: :math:`\lambda`, in [0, 1].

    Returns:
        The images, and the part of each that is still its own.

    Source: Yun et al., *CutMix* (2019).
    """
    height, width = images.shape[-2:]
    column, row = (int(torch.randint(side, ())) for side in (width, height))
    half = 0.5 * (1 - share) ** 0.5
    left, right = max(column - int(half * width), 0), min(column + int(half * width), width)
    top, bottom = max(row - int(half * height), 0), min(row + int(half * height), height)
    pasted = images.clone()
    pasted[..., top:bottom, left:right] = images[partner][..., top:bottom, left:right]
    return pasted, 1 - (bottom - top) * (right - left) / (height * width)


def mixed_cross_entropy(logits: Tensor, labels: Tensor, partner: Tensor, share: float) -> Tensor:
    r""":math:`\lambda L(f, y_i) + (1 - \lambda) L(f, y_{\pi(i)})`, the cross-entropy with the blended label."""
    return share * F.cross_entropy(logits, labels) + (1 - share) * F.cross_entropy(logits, labels[partner])


def mixup(alpha: float) -> Objective:
    r"""Input mixup as an objective: one :math:`\lambda \sim \mathrm{Beta}(\alpha, \alpha)` for each batch.

    Args:
        alpha: above 0.

    Source: Zhang et al., *mixup* (2018).
    """

    def objective(net: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        share, partner = pairing(images, alpha)
        logits = net(mix(images, partner, share))
        return mixed_cross_entropy(logits, labels, partner, share), logits

    return objective


def cutmix(alpha: float) -> Objective:
    r"""CutMix as an objective: one :math:`\lambda \sim \mathrm{Beta}(\alpha, \alpha)` and one box for each batch."""

    def objective(net: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        share, partner = pairing(images, alpha)
        pasted, share = paste(images, partner, share)
        logits = net(pasted)
        return mixed_cross_entropy(logits, labels, partner, share), logits

    return objective


class Mixer(nn.Module):
    """A site where :func:`manifold_mixup` may blend the maps of a batch; else the identity.

    Attributes:
        pending: the share and the partners for the next visit, or None.
    """

    random_at_test = False

    def __init__(self) -> None:
        super().__init__()
        self.pending: tuple[float, Tensor] | None = None

    def visit(self, x: Tensor, *_: Any, **__: Any) -> tuple[Tensor, None]:
        """Blend the map (B, C, H, W) if that is pending."""
        if self.pending is None:
            return x, None
        share, partner = self.pending
        return mix(x, partner, share), None


def manifold_mixup(alpha: float) -> Objective:
    """Manifold Mixup as an objective: for each batch one place is drawn, the input or a site, and blended there.

    The network has a :class:`Mixer` at each site.

    Args:
        alpha: of the Beta distribution of the share, above 0.

    Source: Verma et al. (2019): one layer of a set that holds the input, one permutation and one share for each batch.
    """

    def objective(net: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        perturbation = perturbation_of(net)
        mixers = [] if perturbation is None else [part for part in perturbation.functions if isinstance(part, Mixer)]
        if not mixers:
            raise MplibError("nothing at the sites can mix, expected a network with a Mixer at each")
        place = int(torch.randint(len(mixers) + 1, ()))
        share, partner = pairing(images, alpha)
        if place == len(mixers):
            logits = net(mix(images, partner, share))
        else:
            mixers[place].pending = (share, partner)
            try:
                logits = net(images)
            finally:
                mixers[place].pending = None
        return mixed_cross_entropy(logits, labels, partner, share), logits

    return objective


def smoothed(smoothing: float) -> Objective:
    r"""Label smoothing: the cross-entropy with :math:`(1 - \epsilon)\, y + \epsilon / K` in the label's place."""

    def objective(net: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = net(images)
        return F.cross_entropy(logits, labels, label_smoothing=smoothing), logits

    return objective


def pairing(images: Tensor, alpha: float) -> tuple[float, Tensor]:
    """A share drawn from Beta(alpha, alpha), and a partner for each image, from torch's default generator."""
    share = float(Beta(alpha, alpha).sample())
    return share, torch.randperm(len(images), device=images.device)
