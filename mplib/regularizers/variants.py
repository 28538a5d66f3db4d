"""Phi with one of its parts taken out, to see which part matters."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mplib.perturb import MetaPerturb, Statistics
from mplib.seeding import stream

MEAN_SOFTPLUS = 0.8060591
"""The mean of softplus(eps) for a standard normal eps; a test integrates it."""

_WIDTH = MEAN_SOFTPLUS / math.log(2)


def noise_only(phi: MetaPerturb) -> MetaPerturb:
    r"""Phi without its scale: :math:`f = 0`, so :math:`s_k = \sigma(0) = 1/2` for any batch, and :math:`m = z / 2`."""
    part = _copy(phi)
    with torch.no_grad():
        part.weights.head.zero_()
    return part


def scale_only(phi: MetaPerturb) -> Expected:
    r"""Phi without its noise generator: :math:`\alpha = 0` and no draw, so :math:`m = 0.806\, s_k`."""
    part = _copy(phi)
    with torch.no_grad():
        part.weights.own_2.zero_()
        part.weights.pooled_2.zero_()
    return Expected(part)


def shuffled(phi: MetaPerturb, seed: int) -> MetaPerturb:
    """Phi with its 82 numbers dealt out again at random over all its parts: the same numbers, each in another place."""
    part = _copy(phi)
    numbers = torch.cat([parameter.detach().flatten() for parameter in phi.parameters()])
    numbers = numbers[torch.randperm(len(numbers), generator=stream(seed, "shuffled phi")).to(numbers.device)]
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.copy_(numbers[: parameter.numel()].view_as(parameter))
            numbers = numbers[parameter.numel() :]
    return part


def wider_softplus(alpha: Tensor) -> Tensor:
    r"""Nearly the mean of :math:`\mathrm{softplus}(\alpha + \varepsilon)` over a standard normal :math:`\varepsilon`.

    .. math::

        & \kappa\, \mathrm{softplus}(\alpha / \kappa), \\
        & \kappa = 0.806 / \log 2

    A wider softplus, exact at :math:`\alpha = 0` and in the limits :math:`\alpha \to \pm\infty`, and off by less than
    0.011 between. Training needs it fast; :func:`mplib.perturb.expected_softplus` is closer and five times the work.

    Example:
        >>> round(wider_softplus(torch.zeros(())).item(), 4)
        0.8061
    """
    return F.softplus(alpha, beta=1 / _WIDTH)


class Expected(nn.Module):
    r"""Phi without the draw: each factor is replaced by its mean, as :func:`wider_softplus` has it.

    .. math:: m = s_k\, \kappa\, \mathrm{softplus}(\alpha / \kappa) \approx s_k\, \mathbb E\, z

    :math:`\alpha` is linear in the second layer, so this is phi itself with that layer divided by :math:`\kappa`, asked
    with :math:`\varepsilon = 0`, which may run on the fast path.

    Args:
        phi: its numbers are copied.

    Example:
        >>> still = Expected(MetaPerturb(generator=torch.Generator().manual_seed(0)))
        >>> x = torch.randn(4, 8, 5, 5)
        >>> a, b = (still.visit(x, 1.0, 1.0)[0] for _ in range(2))
        >>> torch.equal(a, b)
        True
    """

    random_at_test = False

    def __init__(self, phi: MetaPerturb) -> None:
        super().__init__()
        self.narrowed = _copy(phi)
        with torch.no_grad():
            self.narrowed.weights.own_2.div_(_WIDTH)
            self.narrowed.weights.pooled_2.div_(_WIDTH)

    def visit(
        self,
        x: Tensor,
        channel_ratio: float,
        spatial_ratio: float,
        stats: Statistics | None = None,
        strength: float | Tensor = 1.0,
        clip: float | None = None,
        **_: Any,
    ) -> tuple[Tensor, Statistics]:
        """Perturb a feature map (B, C, H, W); the arguments are those of :meth:`mplib.MetaPerturb.visit`."""
        narrow, stats = self.narrowed.visit(x, channel_ratio, spatial_ratio, stats, eps=torch.zeros_like(x))
        out = x + strength * (_WIDTH * narrow - x)
        return out if clip is None else out.clamp(max=clip), stats


def _copy(phi: MetaPerturb) -> MetaPerturb:
    part = MetaPerturb()
    part.load_state_dict(phi.state_dict())
    return part
