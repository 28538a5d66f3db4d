"""What the passes on a GPU are made of: where a program stands, stencils, the noise, softplus.

A program works on a *tile*: some channels by some positions of one sample's map, where positions are counted along
the rows, so that a tile fits maps of any height and width. A stencil reads the nine pixels around each position, most
of them from the cache, and zeros beyond the border. The mean over channels is written as one sum for each *group* of
channels, and added up where it is read: no atomic operation, so the same bits in every run.

A map lies in memory channel after channel, or, where ``LAST`` is set, with its channels innermost (channels_last). All
maps of one visit lie alike. Arithmetic is in single precision whatever the map's type is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import triton
import triton.language as tl
from triton.language import tensor


def kernel(function: Callable[..., None]) -> Any:
    """Compile a pass once for each type and tile, and not again for sizes that are 1 or a multiple of 16.

    The compiler would use the latter to make a thread read four neighbours at once; the shifted reads of a
    stencil, which are most of the reads, would then take four times as many turns.
    """
    sizes = [name for name, kind in function.__annotations__.items() if "constexpr" not in str(kind)]
    return triton.jit(function, do_not_specialize=[name for name in sizes if name != "return"])


@triton.jit
def place(H: tensor, W: tensor, BLOCK_P: tl.constexpr) -> tensor:
    """Of a program: its sample, the number of its block of positions, the positions, their rows and columns."""
    blocks = tl.cdiv(H * W, BLOCK_P)
    block = tl.program_id(0) % blocks
    p = block * BLOCK_P + tl.arange(0, BLOCK_P)
    return (tl.program_id(0) // blocks).to(tl.int64), block, p, p // W, p % W


@triton.jit
def offsets(c: tensor, p: tensor, C: tensor, H: tensor, W: tensor, LAST: tl.constexpr) -> tensor:
    """Where channels c and positions p of a sample lie, (channels, positions)."""
    return c[:, None] + p[None, :] * C if LAST else c[:, None] * (H * W) + p[None, :]


@triton.jit
def neighbour(row: tensor, col: tensor, H: tensor, W: tensor, i: tensor) -> tensor:
    """The i-th of the nine pixels around each position, row by row: is it in the map, and how far on."""
    down, right = i // 3 - 1, i % 3 - 1
    inside = (row < H) & (row + down >= 0) & (row + down < H) & (col + right >= 0) & (col + right < W)
    return inside, down * W + right


@triton.jit
def tap(
    map: tensor, c: tensor, p: tensor, row: tensor, col: tensor, C: tensor, H: tensor,
    W: tensor, i: tensor, LAST: tl.constexpr,
) -> tensor:  # fmt: skip
    """The i-th pixel around each position in each channel, 0 beyond the border."""
    inside, step = neighbour(row, col, H, W, i)
    return tl.load(map + offsets(c, p + step, C, H, W, LAST), mask=(c < C)[:, None] & inside[None, :], other=0)


@triton.jit
def nine(w: tensor) -> tensor:
    """The weights of one stencil."""
    return (
        tl.load(w), tl.load(w + 1), tl.load(w + 2), tl.load(w + 3), tl.load(w + 4), tl.load(w + 5),
        tl.load(w + 6), tl.load(w + 7), tl.load(w + 8),
    )  # fmt: skip


@triton.jit
def turned(w: tensor) -> tensor:
    """The same in reverse order: the stencil of the gradient."""
    return (
        tl.load(w + 8), tl.load(w + 7), tl.load(w + 6), tl.load(w + 5), tl.load(w + 4), tl.load(w + 3),
        tl.load(w + 2), tl.load(w + 1), tl.load(w),
    )  # fmt: skip


@triton.jit
def stencil(
    map: tensor,
    k: tensor,
    c: tensor,
    p: tensor,
    row: tensor,
    col: tensor,
    C: tensor,
    H: tensor,
    W: tensor,
    LAST: tl.constexpr,
) -> tensor:
    """A 3x3 convolution of each channel."""
    result = tl.zeros((c.shape[0], p.shape[0]), tl.float32)
    for i in tl.static_range(9):
        result += k[i] * tap(map, c, p, row, col, C, H, W, i, LAST).to(tl.float32)
    return result


@triton.jit
def four_stencils(
    map: tensor,
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
    """Four of them at once, and the map itself."""
    k0, k1, k2, k3 = nine(w), nine(w + 9), nine(w + 18), nine(w + 27)
    u0 = tl.zeros((c.shape[0], p.shape[0]), tl.float32)
    u1, u2, u3, middle = u0, u0, u0, u0
    for i in tl.static_range(9):
        v = tap(map, c, p, row, col, C, H, W, i, LAST).to(tl.float32)
        if i == 4:
            middle = v
        u0 += k0[i] * v
        u1 += k1[i] * v
        u2 += k2[i] * v
        u3 += k3[i] * v
    return u0, u1, u2, u3, middle


@triton.jit
def pooled(
    sums: tensor,
    k: tensor,
    sample: tensor,
    p: tensor,
    row: tensor,
    col: tensor,
    H: tensor,
    W: tensor,
) -> tensor:
    """A 3x3 convolution of the mean over channels, given by its parts (B, groups, H, W)."""
    result = tl.zeros((p.shape[0],), tl.float32)
    groups = tl.num_programs(1)
    for group in range(groups):
        plane = sums + (sample * groups + group) * H * W
        for i in tl.static_range(9):
            inside, step = neighbour(row, col, H, W, i)
            result += k[i] * tl.load(plane + p + step, mask=inside, other=0)
    return result


@triton.jit
def store_part(sums: tensor, part: tensor, sample: tensor, p: tensor, C: tensor, H: tensor, W: tensor) -> None:
    """Write this program's part of a mean over channels."""
    plane = sums + (sample * tl.num_programs(1) + tl.program_id(1)) * H * W
    tl.store(plane + p, part / C, mask=p < H * W)


@triton.jit
def relu(v: tensor) -> tensor:
    return tl.where(v < 0, 0.0, v)  # not maximum, which would lose a NaN


@triton.jit
def log1p(t: tensor) -> tensor:
    """log(1 + t) for 0 <= t <= 1 to a relative error of 2e-7: Chebyshev interpolation of log(1 + t) / t, degree 8."""
    p = 0.00525345793 * t - 0.0295885075
    p = p * t + 0.0783616677
    p = p * t - 0.136747703
    p = p * t + 0.191114306
    p = p * t - 0.248443693
    p = p * t + 0.333192706
    p = p * t - 0.499995023
    return (p * t + 1.0) * t


@triton.jit
def softplus(a: tensor) -> tensor:
    """softplus(a) = max(a, 0) + log(1 + exp(-|a|)), and its derivative, the sigmoid of a."""
    t = tl.exp(-tl.abs(a))
    return relu(a) + log1p(t), tl.where(a > 0, 1.0, t) / (1.0 + t)


@triton.jit
def normal_pair(bits0: tensor, bits1: tensor) -> tensor:
    """Two independent standard normals, at most 6.66 in size, by Box and Muller.

    The library's own would take the cosine of any angle, with code for huge ones; here the angle is bounded.
    """
    radius = tl.sqrt(tl.maximum(-2.0 * tl.log(((bits0 >> 1).to(tl.float32) + 0.5) / 2147483648.0), 0.0))
    t = bits1.to(tl.int32, bitcast=True).to(tl.float32) * 7.314590396e-10  # half of the angle, from -pi/2 to pi/2
    q = t * t
    s = 1 / 362880 - q * (1 / 39916800)  # Taylor's series of the sine and the cosine
    s = s * q - 1 / 5040
    s = s * q + 1 / 120
    s = s * q - 1 / 6
    s = s * q * t + t
    c = 1 / 40320 - q * (1 / 3628800 - q * (1 / 479001600))
    c = c * q - 1 / 720
    c = c * q + 1 / 24
    c = c * q - 0.5
    c = c * q + 1.0
    return radius * (1.0 - 2.0 * s * s), radius * (2.0 * s * c)


@triton.jit
def normals(seed: tensor, sample: tensor, quad: tensor, p: tensor, C: tensor, H: tensor, W: tensor) -> tensor:
    """Standard normals of the channels 4 quad, 4 quad + 1, ... + 3, from one call of Philox.

    Its counter has 64 bits and is another one for each sample, quad and position, whatever the tiles are.
    """
    line = sample * tl.cdiv(C, 4) + quad
    bits0, bits1, bits2, bits3 = tl.randint4x(tl.load(seed), line[:, None] * (H * W) + p[None, :])
    n0, n1 = normal_pair(bits0, bits1)
    n2, n3 = normal_pair(bits2, bits3)
    return n0, n1, n2, n3
