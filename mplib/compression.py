r"""How few numbers explain phi: its 3x3 kernels as flat boxes, its duplicates merged, its evidence left out.

Where every kernel is a flat box, :math:`K = b\,\mathbf 1`, a map :math:`x` is seen only through its local average
:math:`\bar x` over 3x3 pixels. Since :math:`\mathrm{relu}(t y) = t\,\mathrm{relu}(y)` for :math:`t > 0`, any number of
such kernels asks two questions, how much of :math:`\bar x` lies above and how much below zero, and phi is

.. math::

    h &= \mathrm{relu}(w_1 \bar x + v_1 \textstyle\frac1C\sum_j \bar x_j) \\
    \alpha &= w_2 \bar h + v_2 \textstyle\frac1C\sum_j \bar h_j \\
    s &= \sigma\big(a_+ \mu_+ + a_- \mu_- + b_+ \nu_+ + b_- \nu_- \\
    &\qquad + d\, C/C_{\mathrm{ref}} + e\, H/H_{\mathrm{ref}}\big)

with mean :math:`\mu_\pm` and variance :math:`\nu_\pm` over the batch of the part above and below. These are ten
numbers, of which one is a matter of units. What is made of them is an ordinary phi again: 82 numbers, fewer of them
free.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mplib.attachment import SiteCall
from mplib.errors import MplibError, unknown
from mplib.perturb import (
    MetaPerturb,
    batch_statistics,
    expected_softplus,
    noise_location,
    scale_features,
)

PIXELS = 9
"""Of a kernel."""

EVIDENCE = ("mean_above", "mean_below", "variance_above", "variance_below", "channels", "height")
"""What the scale can look at, in the order of :class:`Few`."""

_EDGE = 1e-4  # a scale is asked for within (0, 1) by so much


class Few(NamedTuple):
    """Phi in ten numbers, of local averages over 3x3 pixels; the larger of ``own_1`` and ``pooled_1`` is 1 or -1.

    Attributes:
        own_1: weight of the channel in the first layer of the noise.
        pooled_1: weight of the mean of the channels in the first layer.
        own_2: weight of the channel in the second layer.
        pooled_2: weight of the mean of the channels in the second layer.
        mean_above: weight of the mean of what lies above zero, in the scale.
        mean_below: weight of the mean of what lies below zero.
        variance_above: weight of the variance of what lies above zero.
        variance_below: weight of the variance of what lies below zero.
        channels: weight of C/C_ref.
        height: weight of H/H_ref.
    """

    own_1: float
    pooled_1: float
    own_2: float
    pooled_2: float
    mean_above: float
    mean_below: float
    variance_above: float
    variance_below: float
    channels: float
    height: float

    @property
    def free(self) -> int:
        """How many numbers are not 0, without the one that is a matter of units; a learned 0 would not count."""
        return sum(value != 0 for value in self) - (self.own_1 != 0 or self.pooled_1 != 0)

    def phi(self) -> MetaPerturb:
        """The phi that these numbers describe; two of its scale kernels are 0."""
        phi = MetaPerturb(torch.Generator())  # a draw of its own: that of the caller stays where it is
        parts = phi.weights
        with torch.no_grad():
            for kernel, level in zip(parts[:4], self[:4], strict=True):
                kernel.fill_(level / PIXELS)
            levels = torch.tensor([1.0, -1.0, 0.0, 0.0]) / PIXELS
            parts.kernels.copy_(levels[:, None, None, None].expand_as(parts.kernels))
            above_below, spread, shape = self[4:6], self[6:8], self[8:]
            parts.head.copy_(torch.tensor([*above_below, 0, 0, *spread, 0, 0, *shape]))
        phi.provenance = {"source": f"{self.free} numbers", **self._asdict()}
        return phi


def box_shares(phi: MetaPerturb) -> dict[str, float]:
    r"""How much of each 3x3 kernel is a flat box: the share of its squares that its mean explains.

    .. math:: 1 - \frac{\sum_p (k_p - \bar k)^2}{\sum_p k_p^2} = \frac{9\,\bar k^2}{\lVert k \rVert^2} \in [0, 1]

    Returns:
        The shares by name, of the four kernels of the noise, then ``kernels 1`` to ``kernels 4``.

    Example:
        >>> phi = boxes(MetaPerturb())
        >>> round(box_shares(phi)["kernels 4"], 4)
        1.0
    """
    weights = phi.weights
    parts = dict(zip(weights._fields[:4], weights[:4], strict=True))
    parts |= {f"kernels {number}": kernel for number, kernel in enumerate(weights.kernels, 1)}
    return {name: (PIXELS * part.mean() ** 2 / part.square().sum()).item() for name, part in parts.items()}


def boxes(phi: MetaPerturb) -> MetaPerturb:
    """Phi with each of its eight 3x3 kernels replaced by its mean: 18 free numbers are left.

    Example:
        >>> boxes(MetaPerturb()).own_1.unique().numel()
        1
    """
    flat = MetaPerturb(torch.Generator())
    flat.load_state_dict(phi.state_dict())
    with torch.no_grad():
        for part in flat.weights[:5]:
            part.copy_(part.mean(dim=(2, 3), keepdim=True).expand_as(part))
    flat.provenance = {"source": "kernels replaced by their means", "of": phi.provenance}
    return flat


def few(phi: MetaPerturb) -> Few:
    r"""The ten numbers that describe :func:`boxes` of phi exactly.

    A kernel of mean :math:`b` answers :math:`9|b|` times what the local average above (:math:`b > 0`) or below zero
    does, and its variance is :math:`(9b)^2` times that one's; so

    .. math::

        & a_\pm = \sum_{\pm b_j > 0} 9\,|b_j|\, f_j, \\
        & b_\pm = \sum_{\pm b_j > 0} (9 b_j)^2 f_{4+j} .

    The same for any order of the kernels, for any of them made larger while its weights are made smaller, and for a
    first layer of the noise made larger while the second is made smaller: phi's symmetries.

    Example:
        >>> phi = MetaPerturb(generator=torch.Generator().manual_seed(0))
        >>> numbers = few(phi)
        >>> numbers.free
        9
        >>> x, eps = torch.randn(2, 6, 3, 5, 5).unbind()
        >>> torch.allclose(boxes(phi)(x, 1.0, 0.5, eps=eps), numbers.phi()(x, 1.0, 0.5, eps=eps), atol=1e-5)
        True
    """
    weights = phi.weights
    own_1, pooled_1, own_2, pooled_2 = (PIXELS * part.mean().item() for part in weights[:4])
    unit = max(abs(own_1), abs(pooled_1)) or 1.0
    levels = PIXELS * weights.kernels.detach().double().mean(dim=(1, 2, 3))
    head = weights.head.detach().double()
    above, below = levels.clamp(min=0), (-levels).clamp(min=0)
    return Few(
        own_1 / unit,
        pooled_1 / unit,
        own_2 * unit,
        pooled_2 * unit,
        float(above @ head[:4]),
        float(below @ head[:4]),
        float(above**2 @ head[4:8]),
        float(below**2 @ head[4:8]),
        float(head[8]),
        float(head[9]),
    )


def refitted(phi: MetaPerturb, calls: Sequence[SiteCall], keep: Sequence[str], noise: bool = True) -> Few:
    r"""Fewer than ten numbers: some evidence of the scale left out, and what is kept fitted again.

    The mean factor of each channel at each site is what the few numbers should give; its logit, after division by the
    mean of the noise that is left, is regressed on the evidence that is kept, by least squares.

    Args:
        phi: what to describe.
        calls: maps at the sites of a network, of :func:`mplib.attachment.observed_sites`; their batches are looked at.
        keep: names of :data:`EVIDENCE`.
        noise: keep the generator of the noise; otherwise :math:`\alpha = 0` everywhere.

    Raises:
        MplibError: no maps, nothing to keep, or an unknown name.

    Example:
        >>> phi = MetaPerturb(generator=torch.Generator().manual_seed(0))
        >>> call = SiteCall(None, torch.randn(8, 4, 6, 6), 1.0, 0.5, None)
        >>> refitted(phi, [call], ["height"], noise=False).free
        1
    """
    if not calls or not keep:
        raise MplibError(
            f"there are {len(calls)} maps and {len(keep)} kinds of evidence, expected one of each at least"
        )
    for name in keep:
        if name not in EVIDENCE:
            raise unknown("evidence", name, EVIDENCE)
    numbers = few(phi)._replace(**dict.fromkeys(EVIDENCE, 0.0))
    if not noise:
        numbers = numbers._replace(own_1=0.0, pooled_1=0.0, own_2=0.0, pooled_2=0.0)
    left, columns = numbers.phi().to(calls[0].x.device), [EVIDENCE.index(name) for name in keep]
    design, target = [], []
    with torch.no_grad():
        for call in calls:
            wanted = phi.mean_factor(call.x, call.channel_ratio, call.spatial_ratio).mean(dim=(0, 2, 3))
            given = expected_softplus(noise_location(call.x, left.weights)).mean(dim=(0, 2, 3))
            target.append(torch.logit((wanted / given).clamp(_EDGE, 1 - _EDGE)).double())
            design.append(_evidence(left, call)[:, columns].double())
        solution = torch.linalg.lstsq(torch.cat(design), torch.cat(target)[:, None]).solution.flatten()
    return numbers._replace(**dict(zip(keep, solution.tolist(), strict=True)))


def factor_error(phi: MetaPerturb, other: MetaPerturb, calls: Sequence[SiteCall], seed: int = 0) -> float:
    r"""How far the factor of another phi is from phi's, on the same maps and with the same draws.

    .. math::

        & \sqrt{\textstyle\sum (m' - m)^2 \,/\, \sum m^2}, \\
        & \text{over all elements of all maps}

    Args:
        phi: the reference.
        other: what is compared with it.
        calls: maps at the sites of a network; their batches are looked at.
        seed: of the draws; the same seed draws the same.

    Returns:
        0 for an equal function.

    Raises:
        MplibError: no maps.

    Example:
        >>> call = SiteCall(None, torch.randn(8, 4, 6, 6), 1.0, 0.5, None)
        >>> phi = MetaPerturb()
        >>> factor_error(phi, phi, [call])
        0.0
    """
    if not calls:
        raise MplibError("there are no maps, expected those of one site at least")
    wrong, total = 0.0, 0.0
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for call in calls:
            eps = torch.randn(call.x.shape, generator=generator).to(call.x.device)
            ours, theirs = (p.factor(call.x, call.channel_ratio, call.spatial_ratio, eps=eps) for p in (phi, other))
            wrong += float((theirs - ours).double().square().sum())
            total += float(ours.double().square().sum())
    return float((wrong / total) ** 0.5)


def _evidence(phi: MetaPerturb, call: SiteCall) -> Tensor:
    """What the scale can look at in a batch of maps, (C, 6); ``phi`` is one that :meth:`Few.phi` made."""
    mean, variance = batch_statistics(scale_features(call.x, phi.weights.kernels[:2]))
    shape = torch.tensor([call.channel_ratio, call.spatial_ratio], device=call.x.device)
    return torch.cat([mean, variance, shape.expand(len(mean), 2)], dim=1)
