"""The controls: perturbations that were not meta-learned, and what is measured to match one of them to phi.

Two controls belong to every experiment that credits meta-learning: an untrained phi, which is
``MetaPerturb()`` itself, and plain multiplicative noise with the mean and the spread that phi has at each site.
A third tells whether it is the Gaussian shape of that noise that counts: :class:`SoftplusNoise` has phi's shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mplib.attachment import observed_sites, perturbation_of
from mplib.errors import MplibError
from mplib.evaluation import eval_mode
from mplib.perturb import MetaPerturb, Statistics, perturb, standard_normal
from mplib.seeding import derive, private_randomness

Moments = list[tuple[float, float]]
"""Mean and standard deviation of a multiplicative factor, for each site of a network."""


class PlainNoise(nn.Module):
    r"""Gaussian multiplicative noise that knows nothing of its input.

    .. math::

        & \mathrm{out} = x\,(1 + c\,(m + d\,\varepsilon - 1)), \\
        & \varepsilon \sim \mathcal N(0, 1)

    Args:
        mean: m, the mean of the factor.
        deviation: d, its standard deviation, at least 0.

    Raises:
        MplibError: a negative deviation.

    Example:
        >>> noise = PlainNoise(mean=0.5, deviation=0.0)
        >>> noise(torch.ones(2, 1, 1, 1), channel_ratio=1.0, spatial_ratio=1.0).flatten().tolist()
        [0.5, 0.5]
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: float, deviation: float) -> None:
        super().__init__()
        if not deviation >= 0:
            raise MplibError(f"the standard deviation is {deviation}, expected at least 0")
        self.register_buffer("mean", torch.tensor(float(mean)))
        self.register_buffer("deviation", torch.tensor(float(deviation)))

    def visit(
        self,
        x: Tensor,
        channel_ratio: float,
        spatial_ratio: float,
        stats: Statistics | None = None,
        strength: float | Tensor = 1.0,
        clip: float | None = None,
        eps: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, None]:
        """Perturb a feature map (B, C, H, W); the arguments are those of :meth:`mplib.MetaPerturb.visit`."""
        factor = self.factor(standard_normal(x, eps, generator))
        return perturb(x, factor, strength, clip).to(x.dtype), None

    def factor(self, eps: Tensor) -> Tensor:
        """What x is multiplied by at full strength, of a standard normal draw."""
        return self.mean + self.deviation * eps

    def mean_factor(
        self, x: Tensor, channel_ratio: float, spatial_ratio: float, stats: Statistics | None = None
    ) -> Tensor:
        """The expectation of what x is multiplied by at full strength, m, in x's shape."""
        return self.mean.expand_as(x)

    def forward(self, *arguments: Any, **options: Any) -> Tensor:
        """The map that :meth:`visit` gives."""
        return self.visit(*arguments, **options)[0]


class SoftplusNoise(PlainNoise):
    r"""Noise of phi's shape, skewed and never negative, that knows nothing of its input.

    .. math::

        & \mathrm{out} = x\,(1 + c\,(h\,\mathrm{softplus}(a + \varepsilon) - 1)), \\
        & \varepsilon \sim \mathcal N(0, 1)

    An untrained phi is this with a = 0 and h = 1/2, all but its tiny weights. Here a is what gives the relative spread
    that is asked for, and h then gives the mean.

    Args:
        mean: of the factor, above 0.
        deviation: of the factor; its ratio to the mean is above 0.01, and below 1.31, where a goes to minus infinity.

    Raises:
        MplibError: a mean that is not positive, or a ratio that no a has.

    Example:
        >>> noise = SoftplusNoise(mean=0.403, deviation=0.2605)
        >>> round(noise.location.item(), 2), round(noise.height.item(), 2)
        (0.0, 0.5)
    """

    location: Tensor
    height: Tensor

    def __init__(self, mean: float, deviation: float) -> None:
        super().__init__(mean, deviation)
        if not (mean > 0 and 0.01 < deviation / mean < 1.31):
            raise MplibError(
                f"the mean is {mean:g} and the standard deviation {deviation:g}, expected a positive mean, and 0.01 to "
                "1.31 times as much for the deviation: softplus noise has no other"
            )
        from scipy.optimize import brentq

        location = brentq(lambda a: np.divide(*_softplus_moments(a)[::-1]) - deviation / mean, -12.0, 200.0)
        self.register_buffer("location", torch.tensor(location, dtype=torch.float32))
        self.register_buffer("height", torch.tensor(mean / _softplus_moments(location)[0], dtype=torch.float32))

    def factor(self, eps: Tensor) -> Tensor:
        """What x is multiplied by at full strength, of a standard normal draw."""
        return self.height * F.softplus(self.location + eps)


def _softplus_moments(location: float) -> tuple[float, float]:
    """Mean and standard deviation of softplus(location + eps), by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    values, weights = np.logaddexp(0.0, location + nodes), weights / weights.sum()
    mean = float(weights @ values)
    return mean, float(np.sqrt(weights @ (values - mean) ** 2))


def matched_noise(moments: Sequence[tuple[float, float]], kind: type[PlainNoise] = PlainNoise) -> nn.ModuleList:
    """Noise that does not look at the map for each site of a network, to be attached in place of a phi.

    Args:
        moments: mean and standard deviation for each site, as :func:`site_moments` measures them.
        kind: :class:`PlainNoise`, or :class:`SoftplusNoise` for noise of phi's shape.

    Example:
        >>> import mplib
        >>> net = mplib.nets.build("conv4", num_classes=2, image_size=16, width=4)
        >>> net = mplib.attach(net, matched_noise([(0.5, 0.3)] * 4), image_size=16)
    """
    return nn.ModuleList(kind(mean, deviation) for mean, deviation in moments)


@torch.no_grad()
def site_moments(net: nn.Module, images: Tensor, seed: int = 0) -> Moments:
    """Mean and standard deviation of what phi multiplies by, at each site, on a batch in eval mode.

    Args:
        net: a network with a phi attached.
        images: (B, 3, H, W), normalised.
        seed: seed of the noise, at least 0.

    Returns:
        One pair for each site, in the order of :func:`mplib.sites`.

    Raises:
        MplibError: no phi is attached.
    """
    perturbation = perturbation_of(net)
    if perturbation is None or not isinstance(perturbation.phi, MetaPerturb):
        raise MplibError("the network has no phi attached, expected one whose noise can be measured")
    with private_randomness(images.device), eval_mode(net), observed_sites(net) as calls:
        torch.manual_seed(derive(seed, "moments"))
        net(images)
        factors = [
            perturbation.phi.factor(call.x, call.channel_ratio, call.spatial_ratio, call.stats) for call in calls
        ]
    return [(factor.mean().item(), factor.std().item()) for factor in factors]
