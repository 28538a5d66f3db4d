"""Information Dropout: multiplicative noise whose spread the network learns, at a price for what it lets by."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mplib.attachment import perturbation_of
from mplib.errors import MplibError
from mplib.perturb import perturb, standard_normal
from mplib.steps import Objective

LEAST = 0.001


class InformationDropout(nn.Module):
    r"""Log-normal noise at one site, with a spread that is a function of the map.

    .. math::

        \alpha &= 0.001 + \alpha_{\max}\, \sigma(w * x + b) \\
        \mathrm{out} &= x\, e^{\alpha \varepsilon} \\
        \varepsilon &\sim \mathcal N(0, 1) \text{ per element}

    While training, :attr:`price` holds the mean over all elements of
    :math:`-\log\big(\alpha / (0.001 + \alpha_{\max})\big)`, which is the divergence from the log-uniform prior up to a
    constant. In eval mode there is no noise. The noise is positive, so it commutes with the ReLU that follows the
    site.

    Args:
        channels: C of the site's map.
        most: :math:`\alpha_{\max}`, above 0.

    Raises:
        MplibError: a value out of range.

    Source: Achille and Soatto (2018), and the file ``cifar.py`` of their release. Differs from it: :math:`\alpha` looks
    at the map itself and not at the input of the layer that made it; the price is a mean, not a sum over all
    elements divided by the number of training images; batch norms are not measured again without noise.
    """

    random_at_test = False
    trained_with_theta = True

    def __init__(self, channels: int, most: float = 0.7) -> None:
        super().__init__()
        if not most > 0:
            raise MplibError(f"the largest alpha is {most}, expected above 0")
        self.most = most
        self.spread = nn.Conv2d(channels, channels, 3, padding=1)
        self.price: Tensor | None = None

    def alpha(self, x: Tensor) -> Tensor:
        """The spread of the noise for a map (B, C, H, W), of the same shape."""
        return LEAST + self.most * torch.sigmoid(self.spread(x))

    def visit(
        self, x: Tensor, *_: Any, strength: float | Tensor = 1.0, generator: torch.Generator | None = None, **__: Any
    ) -> tuple[Tensor, None]:
        """Perturb a map while training."""
        if not self.training:
            return x, None
        alpha = self.alpha(x)
        self.price = -(alpha / (LEAST + self.most)).log().mean()
        return perturb(x, (alpha * standard_normal(x, None, generator)).exp(), strength), None


def information_dropout(beta: float) -> Objective:
    r"""The cross-entropy plus :math:`\beta` times the mean price of the sites.

    Args:
        beta: at least 0.
    """

    def objective(net: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = net(images)
        perturbation = perturbation_of(net)
        functions = [] if perturbation is None else perturbation.functions
        sites = [part for part in functions if isinstance(part, InformationDropout)]
        prices = [part.price for part in sites if part.price is not None]
        if not prices:
            raise MplibError("no site has a price, expected a network with Information Dropout, in training mode")
        for part in sites:
            part.price = None
        return F.cross_entropy(logits, labels) + beta * torch.stack(prices).mean(), logits

    return objective
