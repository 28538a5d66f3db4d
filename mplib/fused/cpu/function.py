"""The perturbation as one function of the feature map and of phi's numbers, differentiable once.

Only x is kept for backward: the noise is a function of (seed, position) and is drawn again, and the two stencil
layers are cheap enough to be computed again. A second pass, forward and backward, is needed for the statistics, which
have to be known for the whole batch before s is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mplib.fused.cpu.arithmetic import Floats, f32, jit
from mplib.fused.cpu.kernels import BACKWARD, BACKWARD_FEATURES, FEATURES, FORWARD
from mplib.fused.cpu.launch import launch


class Perturb(torch.autograd.Function):
    """x to y, with the mean and the variance of the features, which are given out but not differentiated."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weights: Tensor, ratios: tuple[float, float], running_stats: tuple[Tensor, Tensor] | None,
        strength: float, clip: float, eps: Tensor | None, seed: int,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        B, C, _, _ = x.shape
        w = np.append(weights.detach().numpy(), np.array([strength, clip], np.float32))
        u = None
        if running_stats is None:
            u = np.empty((B, 4 * C), np.float32)
            launch(FEATURES, x, w, per_map=u)
            mean, var = torch.empty(C, 4), torch.empty(C, 4)
            moments(u, mean.view(-1).numpy(), var.view(-1).numpy())
        else:
            mean, var = (t.detach().clone() for t in running_stats)
        s = np.empty(C, np.float32)
        scales(mean.view(-1).numpy(), var.view(-1).numpy(), w, float(w[80:82] @ np.array(ratios)), s)
        y = torch.empty_like(x)
        launch(FORWARD, x, w, y=y, eps=eps, s=s, seed=seed)
        ctx.save_for_backward(x, eps)
        ctx.small = (w, u, mean.numpy(), var.numpy(), s, ratios, seed)
        ctx.mark_non_differentiable(mean, var)
        return y, mean, var

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, eps = ctx.saved_tensors
        w, u, mean, var, s, ratios, seed = ctx.small
        B, C, _, _ = x.shape
        ds, dx = np.empty((B, C), np.float32), torch.empty_like(x)
        dw = np.zeros((B, 72), np.float32) if ctx.needs_input_grad[1] else None
        launch(BACKWARD, x, w, y=dx, g=g.contiguous(), eps=eps, s=s, per_map=ds, dw=dw, seed=seed)
        dlogit = ds.sum(axis=0, dtype=np.float64) * s * (1.0 - s)
        if u is not None:
            du = np.empty_like(u)
            feature_gradient(u, mean.reshape(-1), dlogit, w, du)
            launch(BACKWARD_FEATURES, x, w, y=dx, per_map=du, dw=dw)
        if dw is None:
            return dx, *(None,) * 7
        head = np.concatenate([dlogit @ mean, dlogit @ var, dlogit.sum() * np.array(ratios)])
        gradient = torch.from_numpy(np.concatenate([dw.sum(axis=0, dtype=np.float64), head]).astype(np.float32))
        return dx, gradient, *(None,) * 6


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
    """As :func:`mplib.fused.perturb`, for a map on a CPU."""
    seed = int(torch.randint(2**63 - 1, (), generator=generator)) if eps is None else 0
    numbers, ratios = torch.cat([part.flatten() for part in weights]), (channel_ratio, spatial_ratio)
    noise, bound = None if eps is None else eps.detach().contiguous(), math.inf if clip is None else clip
    y, mean, var = Perturb.apply(x, numbers, ratios, stats, float(strength), bound, noise, seed)
    return y, (mean, var)


# The statistics: s from the mean and variance of u, and back. u and du are (B, 4 C), summed in float64.


@jit
def moments(u: Floats, mean: Floats, var: Floats) -> None:
    B = u.shape[0]
    sums = np.zeros(u.shape[1])
    for i in range(B):
        for j in range(sums.size):
            sums[j] += u[i, j]
    for j in range(sums.size):
        mean[j] = f32(sums[j] / B)
        sums[j] = 0.0
    for i in range(B):
        for j in range(sums.size):
            sums[j] += (u[i, j] - mean[j]) * (u[i, j] - mean[j])
    for j in range(sums.size):
        var[j] = f32(sums[j] / (B - 1))


@jit
def scales(mean: Floats, var: Floats, w: Floats, sizes: float, s: Floats) -> None:
    for c in range(s.size):
        logit = sizes
        for q in range(4):
            logit += mean[4 * c + q] * w[72 + q] + var[4 * c + q] * w[76 + q]
        s[c] = f32(1.0 / (1.0 + math.exp(-logit)))


@jit
def feature_gradient(u: Floats, mean: Floats, dlogit: Any, w: Floats, du: Floats) -> None:
    B = u.shape[0]
    slope = np.empty(mean.size, np.float32)
    level = np.empty(mean.size, np.float32)
    for j in range(mean.size):
        level[j] = f32(dlogit[j // 4] * w[72 + j % 4] / B)
        slope[j] = f32(dlogit[j // 4] * w[76 + j % 4] * 2.0 / (B - 1))
    for i in range(B):
        for j in range(mean.size):
            du[i, j] = level[j] + slope[j] * (u[i, j] - mean[j])
