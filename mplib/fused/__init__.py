"""The same function as :mod:`mplib.perturb`, faster: compiled by Numba on a CPU, by Triton on a GPU.

The plain version walks over the feature map some sixty times (six convolutions, a normal draw, softplus, products, and
all of it backwards) and is bound by memory. There are two fused versions because the two machines want opposite things.
A core has a large cache and few neighbours: ``cpu`` brings each sample into the cache once, does everything there, and
writes the result once. A GPU has thousands of threads and no cache that holds their samples: ``cuda`` cuts the map into
small tiles, and walks over it as often as there is a mean over all of it to wait for. Each has a draw of its own, so
the same seed gives other noise on another device; with the noise given they agree.

Nobody has to ask for them: :class:`mplib.MetaPerturb` comes here whenever :func:`supports` says so. That is for a
frozen phi. A phi that learns takes the plain version, of which gradients of gradients can be taken as well; where one
gradient is enough, as in meta-training, :func:`first_order` says so, and a CPU takes the compiled one.

The first use compiles, for some ten seconds; later ones, in any process, take half a second, since the result is cached
(Numba: beside these files, or in ``NUMBA_CACHE_DIR``; Triton: in ``~/.triton``, or in ``TRITON_CACHE_DIR``). So nothing
is imported before it is needed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor

_switch = {"on": True, "first order": False}


@cache
def available(device: str = "cpu") -> bool:
    """Whether the compiler for this type of device is installed, and, of a GPU, whether it compiles for it."""
    if device == "cpu":
        return importlib.util.find_spec("numba") is not None
    if device != "cuda" or importlib.util.find_spec("triton") is None:
        return False
    return all(torch.cuda.get_device_capability(number) >= (7, 0) for number in range(torch.cuda.device_count()))


def supports(x: Tensor, weights: Sequence[Tensor]) -> bool:
    """Whether :func:`perturb` can do it: phi frozen (or see :func:`first_order`), eager, a map of a kind that it knows.

    On a CPU that is contiguous float32, on a GPU float32, bfloat16 or float16 in any layout.

    Args:
        x: feature map, (B, C, H, W).
        weights: the numbers of phi.
    """
    return (
        _switch["on"]
        and x.dim() == 4
        and x.numel() > 0
        and all(part.device == x.device for part in weights)
        and (_suits_cuda if x.is_cuda else _suits_cpu)(x, weights)
        and (not _learns(weights) or (_switch["first order"] and not x.is_cuda))
        and not torch._C._are_functorch_transforms_active()
        and not torch.compiler.is_compiling()
        and available(x.device.type)
    )


def _learns(weights: Sequence[Tensor]) -> bool:
    return torch.is_grad_enabled() and any(part.requires_grad for part in weights)


def _suits_cpu(x: Tensor, weights: Sequence[Tensor]) -> bool:
    return x.device.type == "cpu" and x.is_contiguous() and all(part.dtype == torch.float32 for part in (x, *weights))


def _suits_cuda(x: Tensor, weights: Sequence[Tensor]) -> bool:
    types = (torch.float32, torch.bfloat16, torch.float16)
    return all(part.dtype in types for part in (x, *weights)) and x[0].numel() < 2**31


def perturb(
    x: Tensor,
    weights: Sequence[Tensor],
    channel_ratio: float,
    spatial_ratio: float,
    stats: tuple[Tensor, Tensor] | None = None,
    strength: float | Tensor = 1.0,
    clip: float | None = None,
    eps: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Perturb a feature map as :meth:`mplib.MetaPerturb.forward` does; differentiable once, in x, on a CPU in phi too.

    Args:
        x: feature map, (B, C, H, W), for which :func:`supports` holds.
        weights: the parameters of phi, a :class:`mplib.perturb.Weights`.
        channel_ratio: C / C_ref.
        spatial_ratio: H / H_ref.
        stats: mean and variance of the features, each (C, 4), taken as constants; those of the batch if None, B >= 2.
        strength: c, in [0, 1]; on a GPU a 0-dimensional tensor there is read by the kernels, without waiting for it.
        clip: upper bound of the result, or None.
        eps: the noise, as x, standard normal; None: drawn by a generator of its own, seeded from ``generator``.
        generator: torch generator, from which one number is drawn if eps is None; torch's default one of the device
            if None.

    Returns:
        The perturbed map, and the statistics that it was perturbed with.
    """
    if x.is_cuda:
        from mplib.fused.cuda.differentiable import perturb_frozen as compiled
    else:
        from mplib.fused.cpu.function import perturb as compiled
    return compiled(x, weights, channel_ratio, spatial_ratio, stats, strength, clip, eps, generator)


@contextmanager
def plain_only() -> Iterator[None]:
    """Inside this context everything takes the plain version, as tests and benchmarks that compare the two need it."""
    with _switched("on", False):
        yield


@contextmanager
def first_order() -> Iterator[None]:
    """Inside this context nobody takes gradients of gradients, so that a phi that learns may be compiled, on a CPU."""
    with _switched("first order", True):
        yield


@contextmanager
def _switched(name: str, value: bool) -> Iterator[None]:
    before = _switch[name]
    _switch[name] = value
    try:
        yield
    finally:
        _switch[name] = before
