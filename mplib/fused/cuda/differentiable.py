"""The perturbation with phi frozen as one differentiable function of a feature map on a GPU.

Only x is kept for backward, the mean of its channels, and small things for each channel of each image: the noise is a
function of (seed, position) and is drawn again, and h is computed again. While they run, the forward passes need one
map beside x and y, the backward passes two and a byte for each element beside x, g and dx.

Nothing here waits for the GPU, or asks it for a number: the seed and the strength are read by the kernels. So whole
training steps can be captured in a CUDA graph, and each replay draws afresh.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from mplib.fused.cuda.passes import collect, hide, judge, open_factor, open_hidden, open_input, perturb

# Guesses, to be measured: elements of a tile, positions of a tile, channels of a program.
TILE, POSITIONS, CHANNELS = 512, 128, 64


class Tiles(NamedTuple):
    """How a map is cut: ``grid`` = (B blocks of positions, groups of channels), and the sizes of tiles."""

    grid: tuple[int, int]
    group: int
    channels: int
    positions: int


def tiles_of(x: Tensor) -> Tiles:
    """Tiles for a map (B, C, H, W): powers of two, at least four channels.

    Example:
        >>> tiles_of(torch.empty(128, 16, 32, 32))
        Tiles(grid=(1024, 1), group=16, channels=4, positions=128)
    """
    B, C, H, W = x.shape
    height, width = triton.next_power_of_2(C), triton.next_power_of_2(H * W)
    if channels_last(x):  # neighbours in memory are neighbours in a tile
        channels = max(4, min(height, CHANNELS))
        positions = min(width, TILE // channels)
    else:
        positions = min(width, POSITIONS)
        channels = max(4, min(height, CHANNELS, TILE // positions))
    group = max(channels, min(height, CHANNELS))
    return Tiles((B * triton.cdiv(H * W, positions), triton.cdiv(C, group)), group, channels, positions)


class PerturbFrozen(torch.autograd.Function):
    """x to y; everything else is a constant, except that batch statistics (u is given) follow x."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w: Tensor, sums: Tensor, u: Tensor | None, mean: Tensor, s: Tensor, eps: Tensor | None,
        seed: Tensor | None, clip: float,
    ) -> Tensor:  # fmt: skip
        y, h, hidden_sums = torch.empty_like(x), torch.empty_like(x), torch.empty_like(sums)
        run(hide, x, w, sums, h, hidden_sums)
        run(perturb, x, w, h, hidden_sums, s, eps, seed, y, clip, DRAW=eps is None)
        ctx.save_for_backward(x, w, sums, u, mean, s, eps, seed)
        ctx.clip = clip
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, w, sums, u, mean, s, eps, seed = ctx.saved_tensors
        g = g.contiguous(memory_format=memory_format(x))
        h, da, dx = (torch.empty_like(x) for _ in range(3))
        hidden_sums, da_sums = torch.empty_like(sums), torch.empty_like(sums)
        signs = None if u is None else torch.empty_like(x, dtype=torch.uint8)
        ds = x.new_empty((x.shape[1], tiles_of(x).grid[0]), dtype=torch.float32)
        run(hide, x, w, sums, h, hidden_sums)
        run(open_factor, x, w, h, hidden_sums, s, eps, seed, g, dx, da, da_sums, ds, ctx.clip, DRAW=eps is None)
        run(open_hidden, x, w, da, da_sums, h, hidden_sums, signs, FEATURES=u is not None)
        ds = ds.sum(dim=1)
        run(open_input, dx, w, h, hidden_sums, signs, u, mean, s, ds, len(x), FEATURES=u is not None)
        return dx, *(None,) * 8


def perturb_frozen(
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
    """As :func:`mplib.fused.perturb`, for a map on a GPU (or on a CPU under Triton's interpreter)."""
    with torch.cuda.device(x.device) if x.is_cuda else nullcontext():
        x = x.contiguous(memory_format=memory_format(x))
        with torch.no_grad():
            w = vector(weights, strength, x.device)
            sums, u, mean, var, s = first_look(x, w, float(channel_ratio), float(spatial_ratio), stats)
            seed = None
            if eps is None:
                seed = torch.randint(2**63 - 1, (1,), device=x.device, generator=generator)
            else:
                eps = eps.contiguous(memory_format=memory_format(x))
        y = PerturbFrozen.apply(x, w, sums, u, mean, s, eps, seed, math.inf if clip is None else float(clip))
    return y, (mean, var)


def first_look(
    x: Tensor, w: Tensor, channel_ratio: float, spatial_ratio: float, stats: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor | None, Tensor, Tensor, Tensor]:
    """What is needed before a map can be perturbed, and later for its gradient.

    Returns:
        The mean over channels in parts (B, groups, H, W); the features (C, 4, B) or None if statistics are given;
        their mean and variance, each (C, 4); the scale (C,).
    """
    (B, C, H, W), tiles = x.shape, tiles_of(x)
    blocks = tiles.grid[0] // B
    new = partial(torch.empty, device=x.device, dtype=torch.float32)
    sums, s, features, u = new(B, tiles.grid[1], H, W), new(C), None, None
    if stats is None:
        features, u, mean, var = new(C, 4, B, blocks), new(C, 4, B), new(C, 4), new(C, 4)
    else:
        mean, var = torch.stack(stats)  # a copy: the running statistics may move before backward
    run(collect, x, w, sums, features, FEATURES=stats is None)
    judge[(C,)](
        features, w, u, mean, var, s, channel_ratio, spatial_ratio, B, blocks, BATCH=stats is None, BLOCK_B=128,
        enable_fp_fusion=True,
    )  # fmt: skip
    return sums, u, mean, var, s


def vector(weights: Sequence[Tensor], strength: float | Tensor, device: torch.device) -> Tensor:
    """The 82 numbers and the strength, (83,), on the device."""
    if isinstance(strength, Tensor) and strength.device == device:
        last = strength.reshape(1)
    else:
        last = torch.full((1,), float(strength), device=device)
    return torch.cat([part.flatten().float() for part in (*weights, last)])


def run(kernel: Any, x: Tensor, *arguments: Any, **flags: bool) -> None:
    """One pass over a map that lies as x does."""
    tiles = tiles_of(x)
    kernel[tiles.grid](
        x, *arguments, *x.shape[1:], **flags, GROUP=tiles.group, BLOCK_C=tiles.channels, BLOCK_P=tiles.positions,
        LAST=channels_last(x), num_warps=4, enable_fp_fusion=True,
    )  # fmt: skip


def channels_last(x: Tensor) -> bool:
    """Whether the channels are innermost in memory; else they are taken one after another."""
    return not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def memory_format(x: Tensor) -> torch.memory_format:
    return torch.channels_last if channels_last(x) else torch.contiguous_format
