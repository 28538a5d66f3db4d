"""The passes over a map, three forward and, after ``hide`` again, three backward.

Each ends where a mean over all channels or images is needed.

============== ============================================== ========================================================
pass           reads                                          writes
============== ============================================== ========================================================
collect        x                                              mean over channels of x; features u
hide           x, that mean                                   h = relu(ChEq_1(x)), its mean over channels
perturb        x, h, that mean, s                             y
open_factor    x, h, that mean, s, g = dL/dy                  dL/da, its mean, dL/ds, and g times the factor in dx
open_hidden    dL/da, its mean, h, x                          dL/d(ChEq_1(x)) over h, its mean; which features are > 0
open_input     dL/d(ChEq_1(x)), its mean, dL/ds, the signs    dx
============== ============================================== ========================================================

Between collect and perturb, ``judge`` makes s of the features: a program for each channel, no pass over the map.

A program of each has one block of positions of one sample (first axis of the grid) and a group of ``GROUP`` channels
(second axis), which it takes ``BLOCK_C`` at a time. w: the weights in the order w_1, v_1, w_2, v_2, K, f, then the
strength.
"""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language import tensor

from mplib.fused.cuda.tiles import (
    four_stencils,
    kernel,
    nine,
    normals,
    offsets,
    place,
    pooled,
    relu,
    softplus,
    stencil,
    store_part,
    tap,
    turned,
)


@kernel
def collect(
    x: tensor, w: tensor, sums: tensor, features: tensor, C: tensor, H: tensor, W: tensor, FEATURES: tl.constexpr,
    GROUP: tensor, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, LAST: tl.constexpr,
) -> None:  # fmt: skip
    """sums: mean over channels of x, in parts; features: u as (C, 4, B, blocks), to be added up over the blocks."""
    sample, _block, p, row, col = place(H, W, BLOCK_P)
    x += sample * C * H * W
    part = tl.zeros((BLOCK_P,), tl.float32)
    for start in range(0, GROUP, BLOCK_C):
        c = tl.program_id(1) * GROUP + start + tl.arange(0, BLOCK_C)
        if FEATURES:
            u0, u1, u2, u3, middle = four_stencils(x, w + 36, c, p, row, col, C, H, W, LAST)
            where = features + c * (4 * tl.num_programs(0)) + tl.program_id(0)
            tl.store(where, tl.sum(relu(u0), 1) / (H * W), mask=c < C)
            tl.store(where + tl.num_programs(0), tl.sum(relu(u1), 1) / (H * W), mask=c < C)
            tl.store(where + 2 * tl.num_programs(0), tl.sum(relu(u2), 1) / (H * W), mask=c < C)
            tl.store(where + 3 * tl.num_programs(0), tl.sum(relu(u3), 1) / (H * W), mask=c < C)
        else:
            middle = tap(x, c, p, row, col, C, H, W, 4, LAST).to(tl.float32)
        part += tl.sum(middle, 0)
    store_part(sums, part, sample, p, C, H, W)


@triton.jit
def added_up(features: tensor, c: tensor, b: tensor, B: tensor, blocks: tensor) -> tensor:
    """u of channel c and images b, (4, images)."""
    line = 4 * c + tl.arange(0, 4)
    u = tl.zeros((4, b.shape[0]), tl.float32)
    for block in range(blocks):
        u += tl.load(features + (line[:, None] * B + b[None, :]) * blocks + block, mask=b[None, :] < B, other=0)
    return u


@kernel
def judge(
    features: tensor, w: tensor, u: tensor, mean: tensor, var: tensor, s: tensor,
    channel_ratio: tensor, spatial_ratio: tensor, B: tensor, blocks: tensor,
    BATCH: tl.constexpr, BLOCK_B: tl.constexpr,
) -> None:  # fmt: skip
    """s of one channel from the statistics; those of the batch are computed before, and u as (C, 4, B)."""
    c, q = tl.program_id(0), tl.arange(0, 4)
    if BATCH:
        total, squares = tl.zeros((4,), tl.float32), tl.zeros((4,), tl.float32)
        for start in range(0, B, BLOCK_B):
            b = start + tl.arange(0, BLOCK_B)
            part = added_up(features, c, b, B, blocks)
            tl.store(u + (4 * c + q)[:, None] * B + b[None, :], part, mask=b[None, :] < B)
            total += tl.sum(part, 1)
        total /= B
        for start in range(0, B, BLOCK_B):
            b = start + tl.arange(0, BLOCK_B)
            distance = tl.where(b[None, :] < B, added_up(features, c, b, B, blocks) - total[:, None], 0.0)
            squares += tl.sum(distance * distance, 1)
        squares /= B - 1
        tl.store(mean + 4 * c + q, total)
        tl.store(var + 4 * c + q, squares)
    else:
        total, squares = tl.load(mean + 4 * c + q).to(tl.float32), tl.load(var + 4 * c + q).to(tl.float32)
    logit = tl.sum(total * tl.load(w + 72 + q) + squares * tl.load(w + 76 + q), 0)
    logit += channel_ratio * tl.load(w + 80) + spatial_ratio * tl.load(w + 81)
    tl.store(s + c, 1.0 / (1.0 + tl.exp(-logit)))


@kernel
def hide(
    x: tensor, w: tensor, sums: tensor, h: tensor, hidden_sums: tensor, C: tensor, H: tensor, W: tensor,
    GROUP: tensor, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, LAST: tl.constexpr,
) -> None:  # fmt: skip
    """h = relu(ChEq_1(x)), and its mean over channels, in parts."""
    sample, _block, p, row, col = place(H, W, BLOCK_P)
    x += sample * C * H * W
    h += sample * C * H * W
    k, term = nine(w), pooled(sums, nine(w + 9), sample, p, row, col, H, W)
    part = tl.zeros((BLOCK_P,), tl.float32)
    for start in range(0, GROUP, BLOCK_C):
        c = tl.program_id(1) * GROUP + start + tl.arange(0, BLOCK_C)
        inside = (c < C)[:, None] & (row < H)[None, :]
        v = relu(stencil(x, k, c, p, row, col, C, H, W, LAST) + term[None, :])
        tl.store(h + offsets(c, p, C, H, W, LAST), v, mask=inside)
        part += tl.sum(tl.where(inside, v, 0.0), 0)
    store_part(hidden_sums, part, sample, p, C, H, W)


@kernel
def perturb(
    x: tensor, w: tensor, h: tensor, hidden_sums: tensor, s: tensor, eps: tensor, seed: tensor, y: tensor,
    clip: tensor, C: tensor, H: tensor, W: tensor, DRAW: tl.constexpr,
    GROUP: tensor, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, LAST: tl.constexpr,
) -> None:  # fmt: skip
    """y = min(x (1 + c (s z - 1)), clip)."""
    sample, _block, p, row, col = place(H, W, BLOCK_P)
    base = sample * C * H * W
    k, term, strength = nine(w + 18), pooled(hidden_sums, nine(w + 27), sample, p, row, col, H, W), tl.load(w + 82)
    for start in range(0, GROUP, BLOCK_C):
        quad = (tl.program_id(1) * GROUP + start) // 4 + tl.arange(0, BLOCK_C // 4)
        if DRAW:
            noise = normals(seed, sample, quad, p, C, H, W)
        for i in tl.static_range(4):
            c = 4 * quad + i
            inside, where = (c < C)[:, None] & (row < H)[None, :], base + offsets(c, p, C, H, W, LAST)
            a = stencil(h + base, k, c, p, row, col, C, H, W, LAST) + term[None, :]
            if DRAW:
                a += noise[i]
            else:
                a += tl.load(eps + where, mask=inside, other=0).to(tl.float32)
            z, _slope = softplus(a)
            slope = strength * tl.load(s + c, mask=c < C, other=0)[:, None]
            v = tl.load(x + where, mask=inside, other=0).to(tl.float32) * (1.0 - strength + slope * z)
            tl.store(y + where, tl.where(v > clip, clip, v), mask=inside)


@kernel
def open_factor(
    x: tensor, w: tensor, h: tensor, hidden_sums: tensor, s: tensor, eps: tensor, seed: tensor, g: tensor,
    dx: tensor, da: tensor, da_sums: tensor, ds: tensor, clip: tensor, C: tensor, H: tensor, W: tensor,
    DRAW: tl.constexpr, GROUP: tensor, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, LAST: tl.constexpr,
) -> None:  # fmt: skip
    """dx: what comes through x itself; da = dL/d(alpha), its mean in parts; ds: dL/ds as (C, B blocks), in parts."""
    sample, _block, p, row, col = place(H, W, BLOCK_P)
    base = sample * C * H * W
    k, term, strength = nine(w + 18), pooled(hidden_sums, nine(w + 27), sample, p, row, col, H, W), tl.load(w + 82)
    part = tl.zeros((BLOCK_P,), tl.float32)
    for start in range(0, GROUP, BLOCK_C):
        quad = (tl.program_id(1) * GROUP + start) // 4 + tl.arange(0, BLOCK_C // 4)
        if DRAW:
            noise = normals(seed, sample, quad, p, C, H, W)
        for i in tl.static_range(4):
            c = 4 * quad + i
            inside, where = (c < C)[:, None] & (row < H)[None, :], base + offsets(c, p, C, H, W, LAST)
            a = stencil(h + base, k, c, p, row, col, C, H, W, LAST) + term[None, :]
            if DRAW:
                a += noise[i]
            else:
                a += tl.load(eps + where, mask=inside, other=0).to(tl.float32)
            z, slope_of_z = softplus(a)
            slope = strength * tl.load(s + c, mask=c < C, other=0)[:, None]
            factor = 1.0 - strength + slope * z
            v = tl.load(x + where, mask=inside, other=0).to(tl.float32)
            dv = tl.load(g + where, mask=inside, other=0).to(tl.float32)
            dv = tl.where(v * factor > clip, 0.0, dv)
            tl.store(dx + where, dv * factor, mask=inside)
            tl.store(ds + c * tl.num_programs(0) + tl.program_id(0), strength * tl.sum(dv * v * z, 1), mask=c < C)
            dv = dv * v * slope * slope_of_z
            tl.store(da + where, dv, mask=inside)
            part += tl.sum(dv, 0)
    store_part(da_sums, part, sample, p, C, H, W)


@kernel
def open_hidden(
    x: tensor, w: tensor, da: tensor, da_sums: tensor, h: tensor, hidden_sums: tensor, signs: tensor,
    C: tensor, H: tensor, W: tensor, FEATURES: tl.constexpr,
    GROUP: tensor, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, LAST: tl.constexpr,
) -> None:  # fmt: skip
    """h becomes dL/d(ChEq_1(x)), with its mean in parts; bit q of signs: whether K_q * x > 0."""
    sample, _block, p, row, col = place(H, W, BLOCK_P)
    base = sample * C * H * W
    k, term = turned(w + 18), pooled(da_sums, turned(w + 27), sample, p, row, col, H, W)
    part = tl.zeros((BLOCK_P,), tl.float32)
    for start in range(0, GROUP, BLOCK_C):
        c = tl.program_id(1) * GROUP + start + tl.arange(0, BLOCK_C)
        inside, where = (c < C)[:, None] & (row < H)[None, :], base + offsets(c, p, C, H, W, LAST)
        v = stencil(da + base, k, c, p, row, col, C, H, W, LAST) + term[None, :]
        v = tl.where(tl.load(h + where, mask=inside, other=0) > 0, v, 0.0)
        tl.debug_barrier()  # small tiles are read by several threads each: before any of them writes
        tl.store(h + where, v, mask=inside)
        part += tl.sum(v, 0)
        if FEATURES:
            u0, u1, u2, u3, _ = four_stencils(x + base, w + 36, c, p, row, col, C, H, W, LAST)
            low, high = tl.where(u0 > 0, 1, 0) + tl.where(u1 > 0, 2, 0), tl.where(u2 > 0, 4, 0) + tl.where(u3 > 0, 8, 0)
            tl.store(signs + where, (low + high).to(tl.uint8), mask=inside)
    store_part(hidden_sums, part, sample, p, C, H, W)


@triton.jit
def feature_gradient(
    u: tensor, mean: tensor, w: tensor, logit: tensor, c: tensor, C: tensor, sample: tensor, B: tensor, q: tl.constexpr
) -> tensor:  # fmt: skip
    """dL/du_q of channels c of a sample; logit: dL/d(f . [...])."""
    own, centre = tl.load(u + (4 * c + q) * B + sample, mask=c < C, other=0), tl.load(mean + 4 * c + q, c < C, other=0)
    return logit * (tl.load(w + 72 + q) / B + tl.load(w + 76 + q) * 2.0 / (B - 1) * (own - centre))


@triton.jit
def four_transposed(
    signs: tensor,
    w: tensor,
    c: tensor,
    p: tensor,
    row: tensor,
    col: tensor,
    C: tensor,
    H: tensor,
    W: tensor,
    LAST: tl.constexpr,
) -> tensor:
    """The transposed stencils of the four features, of maps of ones and zeros: where they are active."""
    v0 = tl.zeros((c.shape[0], p.shape[0]), tl.float32)
    v1, v2, v3 = v0, v0, v0
    for i in range(9):  # not unrolled, for want of registers
        bits = tap(signs, c, p, row, col, C, H, W, i, LAST).to(tl.int32)
        v0 += tl.where((bits & 1) > 0, tl.load(w + 8 - i), 0.0)
        v1 += tl.where((bits & 2) > 0, tl.load(w + 17 - i), 0.0)
        v2 += tl.where((bits & 4) > 0, tl.load(w + 26 - i), 0.0)
        v3 += tl.where((bits & 8) > 0, tl.load(w + 35 - i), 0.0)
    return v0, v1, v2, v3


@kernel
def open_input(
    dx: tensor, w: tensor, h: tensor, hidden_sums: tensor, signs: tensor, u: tensor, mean: tensor, s: tensor,
    ds: tensor, B: tensor, C: tensor, H: tensor, W: tensor, FEATURES: tl.constexpr,
    GROUP: tensor, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, LAST: tl.constexpr,
) -> None:  # fmt: skip
    """Add to dx what comes through h and through the features."""
    sample, _block, p, row, col = place(H, W, BLOCK_P)
    base = sample * C * H * W
    k, term = turned(w), pooled(hidden_sums, turned(w + 9), sample, p, row, col, H, W)
    for start in range(0, GROUP, BLOCK_C):
        c = tl.program_id(1) * GROUP + start + tl.arange(0, BLOCK_C)
        inside, where = (c < C)[:, None] & (row < H)[None, :], base + offsets(c, p, C, H, W, LAST)
        v = tl.load(dx + where, mask=inside, other=0).to(tl.float32) + term[None, :]
        v += stencil(h + base, k, c, p, row, col, C, H, W, LAST)
        if FEATURES:
            own = tl.load(s + c, mask=c < C, other=0)
            logit = tl.load(ds + c, mask=c < C, other=0) * own * (1.0 - own)
            through = four_transposed(signs + base, w + 36, c, p, row, col, C, H, W, LAST)
            for q in tl.static_range(4):
                v += (feature_gradient(u, mean, w, logit, c, C, sample, B, q) / (H * W))[:, None] * through[q]
        tl.store(dx + where, v, mask=inside)
