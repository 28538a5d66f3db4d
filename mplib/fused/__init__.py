"""The same function as :mod:`mplib.perturb`, faster: phi frozen, on a CPU, compiled by Numba.

The plain version walks over the feature map some sixty times (six convolutions, a normal draw, softplus, products, and
all of it backwards) and is bound by memory. Here each sample is brought into the cache once, everything is done there,
and the result is written once. Nobody has to ask for it: :class:`mplib.MetaPerturb` comes here whenever
:func:`supports` says so.

The first use compiles for some ten seconds; later ones, in any process, take half a second, since the result is cached
beside these files (or in ``NUMBA_CACHE_DIR``). So nothing is imported before it is needed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor

_switch = {"on": True}


@cache
def available() -> bool:
    """Whether the compiler is installed."""
    return importlib.util.find_spec("numba") is not None


def supports(x: Tensor, weights: tuple[Tensor, ...]) -> bool:
    """Whether :func:`perturb_frozen` can do it: contiguous float32 on the CPU, no gradients for phi, eager.

    Args:
        x: feature map, (B, C, H, W).
        weights: the numbers of phi.
    """
    return (
        _switch["on"]
        and all(part.device.type == "cpu" and part.dtype == torch.float32 for part in (x, *weights))
        and x.dim() == 4
        and x.numel() > 0
        and x.is_contiguous()
        and not (torch.is_grad_enabled() and any(part.requires_grad for part in weights))
        and not torch._C._are_functorch_transforms_active()
        and not torch.compiler.is_compiling()
        and available()
    )


def perturb_frozen(
    x: Tensor,
    weights: Tensor,
    channel_ratio: float,
    spatial_ratio: float,
    stats: tuple[Tensor, Tensor] | None = None,
    strength: float = 1.0,
    clip: float | None = None,
    eps: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Perturb a feature map by a frozen phi, as :meth:`mplib.MetaPerturb.forward` does; differentiable in x, once.

    Args:
        x: feature map, (B, C, H, W), for which :func:`supports` holds.
        weights: the 82 parameters in one vector, in the order of :class:`mplib.perturb.Weights`.
        channel_ratio: C / C_ref.
        spatial_ratio: H / H_ref.
        stats: mean and variance of the features, each (C, 4), taken as constants; those of the batch if None, B >= 2.
        strength: c, in [0, 1].
        clip: upper bound of the result, or None.
        eps: the noise, as x, standard normal; None: drawn by a generator of its own, seeded from ``generator``.
        generator: torch generator, from which one number is drawn if eps is None; torch's default one if None.

    Returns:
        The perturbed map, and the statistics that it was perturbed with.
    """
    from mplib.fused.frozen import perturb_frozen as compiled

    y, mean, var = compiled(x, weights, channel_ratio, spatial_ratio, stats, strength, clip, eps, generator)
    return y, (mean, var)


@contextmanager
def plain_only() -> Iterator[None]:
    """Inside this context everything takes the plain version, as tests and benchmarks that compare the two need it."""
    before = _switch["on"]
    _switch["on"] = False
    try:
        yield
    finally:
        _switch["on"] = before
