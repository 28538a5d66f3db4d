"""Kernels of the fused perturbation on a CPU: all that happens to one sample while it lies in the cache.

How it lies there: a channel is a *plane* of rows of `pitch` = W + 1 values whose first row and first column are zero,
so the padding right of a row is the padding left of the next, and the padding below a plane is the first row of the
next plane. A 3x3 stencil is then one loop over n consecutive positions, whatever H and W are, and LLVM makes
full-width vector code of it. n is rounded up to 16, since what does not fill a vector is done element by element.
Positions that are no pixel (one column, and the rest up to n) are multiplied by a mask where their value would
matter. Each loop touches few arrays, for LLVM gives up vectorising where it would have to compare more than eight
pairs of arrays for overlap.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, cfunc, types
from numba.extending import intrinsic

from mplib.fused.cpu.arithmetic import CACHE, ONE, ZERO, Floats, exp_of_minus_abs, f32, fill_normal, jit, log1p, u32

# Planes and stencils.


@jit
def geometry(C: int, H: int, W: int) -> Any:
    """Of C planes: pitch, first pixel, positions n that are computed, distance between planes, size of all."""
    pitch = W + 1
    n = (H * pitch + 15) // 16 * 16
    stride = max((H + 1) * pitch, n)
    return pitch, pitch + 1, n, stride, C * stride + 2 * pitch + 2


@intrinsic
def move8(typingctx: Any, dst: Any, i: Any, src: Any, j: Any) -> Any:
    """dst[i : i + 8] = src[j : j + 8] as one vector."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.FloatType(), 8).as_pointer()
        kinds = signature.args
        source = context.make_array(kinds[2])(context, builder, args[2]).data
        target = context.make_array(kinds[0])(context, builder, args[0]).data
        value = builder.load(builder.bitcast(builder.gep(source, [args[3]]), vector), align=4)
        builder.store(value, builder.bitcast(builder.gep(target, [args[1]]), vector), align=4)
        return context.get_dummy_value()

    return types.void(dst, types.intp, src, types.intp), codegen


@jit
def copy_rows(dst: Floats, to: int, to_pitch: int, src: Floats, start: int, pitch: int, H: int, W: int) -> None:
    """Copy H rows of W values between two layouts."""
    vectors = W // 8
    for row in range(H):
        i, j = to + row * to_pitch, start + row * pitch
        if vectors == 0:
            for k in range(W):
                dst[i + k] = src[j + k]
        else:
            for k in range(vectors):
                move8(dst, i + 8 * k, src, j + 8 * k)
            if W % 8:  # the rest, overlapping what has been copied
                move8(dst, i + W - 8, src, j + W - 8)


@jit
def kernel(w: Floats, start: int, step: int, factor: Any) -> Any:
    """Nine weights times a factor; from the last one on with step -1 they are the stencil of the gradient."""
    k, d = start, step
    return (
        w[k] * factor, w[k + d] * factor, w[k + 2 * d] * factor,
        w[k + 3 * d] * factor, w[k + 4 * d] * factor, w[k + 5 * d] * factor,
        w[k + 6 * d] * factor, w[k + 7 * d] * factor, w[k + 8 * d] * factor,
    )  # fmt: skip


@jit
def at(top: Floats, middle: Floats, bottom: Floats, j: int, k: Any) -> Any:
    return (
        k[0] * top[j] + k[1] * top[j + 1] + k[2] * top[j + 2]
        + k[3] * middle[j] + k[4] * middle[j + 1] + k[5] * middle[j + 2]
        + k[6] * bottom[j] + k[7] * bottom[j + 1] + k[8] * bottom[j + 2]
    )  # fmt: skip


@jit
def stencil(out: Floats, plane: Floats, k: Any, pitch: int) -> None:
    middle, bottom = plane[pitch:], plane[2 * pitch :]
    for j in range(out.size):
        out[j] = at(plane, middle, bottom, j, k)


@jit
def add(out: Floats, x: Floats) -> None:
    for j in range(out.size):
        out[j] += x[j]


@jit
def total(x: Floats) -> Any:
    result = ZERO
    for j in range(x.size):
        result += x[j]
    return result


@jit
def correlate(dk: Floats, out: Floats, plane: Floats, pitch: int, factor: Any) -> None:
    """Add to dk the gradient of the nine weights, times a factor, where `out` is that of what the stencil gave."""
    middle, bottom = plane[pitch:], plane[2 * pitch :]
    d0 = d1 = d2 = d3 = d4 = d5 = d6 = d7 = d8 = ZERO
    for j in range(out.size):
        v = out[j]
        d0 += v * plane[j]
        d1 += v * plane[j + 1]
        d2 += v * plane[j + 2]
        d3 += v * middle[j]
        d4 += v * middle[j + 1]
        d5 += v * middle[j + 2]
        d6 += v * bottom[j]
        d7 += v * bottom[j + 1]
        d8 += v * bottom[j + 2]
    for t, d in enumerate((d0, d1, d2, d3, d4, d5, d6, d7, d8)):
        dk[t] += factor * d


# One sample. w: the weights in the order w_1, v_1, w_2, v_2, K, f, then strength and clip. shape: (C, H, W).


@jit
def features(x: Floats, u: Floats, w: Floats, mask: Floats, scratch: Floats, shape: Any) -> None:
    """u: mean over space of relu(K * x_c), four for each channel."""
    C, H, W = shape
    pitch, start, _, _, size = geometry(1, H, W)
    plane = scratch[: size + 64]  # the loop runs to the next multiple of 64, for LLVM unrolls a sum fourfold
    middle, bottom = plane[pitch:], plane[2 * pitch :]
    k0, k1, k2, k3 = kernel(w, 36, 1, ONE), kernel(w, 45, 1, ONE), kernel(w, 54, 1, ONE), kernel(w, 63, 1, ONE)
    area = f32(H * W)
    for c in range(C):
        copy_rows(plane, start, pitch, x, c * H * W, W, H, W)
        u0 = u1 = u2 = u3 = ZERO
        for j in range(mask.size):
            m = mask[j]
            u0 += m * max(at(plane, middle, bottom, j, k0), ZERO)
            u1 += m * max(at(plane, middle, bottom, j, k1), ZERO)
            u2 += m * max(at(plane, middle, bottom, j, k2), ZERO)
            u3 += m * max(at(plane, middle, bottom, j, k3), ZERO)
        u[4 * c], u[4 * c + 1], u[4 * c + 2], u[4 * c + 3] = u0 / area, u1 / area, u2 / area, u3 / area


@jit
def first_layer(
    x: Floats, w: Floats, mask: Floats, xs: Floats, hs: Floats, x_sum: Floats, h_sum: Floats, term: Floats, shape: Any
) -> None:
    """xs: x in planes; hs: relu(ChEq_1(x)) in planes; their sums over channels, each in a plane; term: v_2 * mean of
    hs, which all channels of ChEq_2 share."""
    C, H, W = shape
    pitch, start, n, stride, _ = geometry(C, H, W)
    share = ONE / f32(C)
    x_sum[:] = ZERO
    for c in range(C):
        plane = xs[c * stride :]
        copy_rows(plane, start, pitch, x, c * H * W, W, H, W)
        add(x_sum[start : start + n], plane[start:])
    stencil(term, x_sum, kernel(w, 9, 1, share), pitch)
    h_sum[:] = ZERO
    k = kernel(w, 0, 1, ONE)
    for c in range(C):
        plane = xs[c * stride :]
        middle, bottom = plane[pitch:], plane[2 * pitch :]
        h = hs[c * stride + start : c * stride + start + n]
        for j in range(n):
            h[j] = mask[j] * max(at(plane, middle, bottom, j, k) + term[j], ZERO)
        add(h_sum[start : start + n], h)
    stencil(term, h_sum, kernel(w, 27, 1, share), pitch)


@jit
def second_layer(
    a: Floats, spare: Floats, hs: Floats, term: Floats, eps: Floats, draw: Any, w: Floats, c0: int, shape: Any
) -> None:
    """a = alpha + eps, n positions a channel, of the channels from c0 on that fill a."""
    C, H, W = shape
    pitch, _, n, stride, _ = geometry(C, H, W)
    if eps.size:
        a[:] = ZERO
    else:
        key, offset, stream = draw
        fill_normal(a, spare, key, offset, u32(stream + u32(c0)))
    k = kernel(w, 18, 1, ONE)
    for c in range(c0, c0 + a.size // n):
        part = a[(c - c0) * n : (c - c0 + 1) * n]
        if eps.size:
            copy_rows(part, 0, pitch, eps, c * H * W, W, H, W)
        plane = hs[c * stride :]
        middle, bottom = plane[pitch:], plane[2 * pitch :]
        for j in range(n):
            part[j] += term[j] + at(plane, middle, bottom, j, k)


@jit
def split(scratch: Floats, count: int, size: int, n: int, pitch: int) -> Any:
    """What comes after `count` samples: four planes, n positions, and the rest."""
    one, start = n + 2 * pitch + 2, count * size
    planes = scratch[start : start + 4 * one]
    term, rest = scratch[start + 4 * one : start + 4 * one + n], scratch[start + 4 * one + n :]
    return planes[:one], planes[one : 2 * one], planes[2 * one : 3 * one], planes[3 * one :], term, rest


@jit
def forward(
    x: Floats, y: Floats, s: Floats, eps: Floats, draw: Any, w: Floats, mask: Floats, scratch: Floats, shape: Any,
    block: int,
) -> None:  # fmt: skip
    """y = min(x (1 + c (s z - 1)), clip)."""
    C, H, W = shape
    pitch, start, n, stride, size = geometry(C, H, W)
    xs, hs = scratch[:size], scratch[size : 2 * size]
    x_sum, h_sum, _, _, term, rest = split(scratch, 2, size, n, pitch)
    first_layer(x, w, mask, xs, hs, x_sum, h_sum, term, shape)
    strength, clip = w[82], w[83]
    for c0 in range(0, C, block):
        a, spare = rest[: min(C - c0, block) * n], rest[block * n : 2 * block * n]
        second_layer(a, spare, hs, term, eps, draw, w, c0, shape)
        for j in range(a.size):
            v = a[j]
            a[j] = max(v, ZERO) + log1p(exp_of_minus_abs(v))
        for c in range(c0, c0 + a.size // n):
            out = a[(c - c0) * n : (c - c0 + 1) * n]
            inner = xs[c * stride + start : c * stride + start + n]
            base, slope = ONE - strength, strength * s[c]
            for j in range(n):
                v = inner[j] * (base + slope * out[j])
                out[j] = clip if v > clip else v
            copy_rows(y, c * H * W, W, out, 0, pitch, H, W)


@jit
def backward(
    x: Floats, g: Floats, dx: Floats, s: Floats, ds: Floats, dw: Floats, eps: Floats, draw: Any, w: Floats,
    mask: Floats, scratch: Floats, shape: Any, block: int,
) -> None:  # fmt: skip
    """dx without what comes through s; ds = dL/ds; and dw = dL/dw of w_1, v_1, w_2, v_2, unless it is empty."""
    C, H, W = shape
    pitch, start, n, stride, size = geometry(C, H, W)
    xs, hs, das = scratch[:size], scratch[size : 2 * size], scratch[2 * size : 3 * size]
    x_sum, h_sum, d_sum, again, term, rest = split(scratch, 3, size, n, pitch)
    first_layer(x, w, mask, xs, hs, x_sum, h_sum, term, shape)
    strength, clip, share = w[82], w[83], ONE / f32(C)
    d_sum[:] = ZERO
    sums = d_sum[start : start + n]
    for c0 in range(0, C, block):
        many, spare = rest[: min(C - c0, block) * n], rest[block * n : 2 * block * n]
        second_layer(many, spare, hs, term, eps, draw, w, c0, shape)
        for c in range(c0, c0 + many.size // n):
            a = many[(c - c0) * n : (c - c0 + 1) * n]
            inner = xs[c * stride + start : c * stride + start + n]
            da = das[c * stride + start : c * stride + start + n]
            copy_rows(da, 0, pitch, g, c * H * W, W, H, W)
            base, slope = ONE - strength, strength * s[c]
            for j in range(n):
                v, xj, gj = a[j], inner[j], da[j]
                t = exp_of_minus_abs(v)
                z = max(v, ZERO) + log1p(t)
                sigmoid = (ONE if v > ZERO else t) / (ONE + t)
                factor = base + slope * z
                gj = ZERO if xj * factor > clip else gj
                a[j] = gj * xj * z
                da[j] = gj * xj * slope * sigmoid
                inner[j] = gj * factor  # x has served
            ds[c] = strength * total(a)
            add(sums, da)
            if dw.size:
                correlate(dw[18:27], da, hs[c * stride :], pitch, ONE)
    if dw.size:
        correlate(dw[27:36], sums, h_sum, pitch, share)
    stencil(term, d_sum, kernel(w, 35, -1, share), pitch)
    d_sum[:] = ZERO
    k = kernel(w, 26, -1, ONE)
    for c in range(C):
        plane = das[c * stride :]
        middle, bottom = plane[pitch:], plane[2 * pitch :]
        h = hs[c * stride + start : c * stride + start + n]
        for j in range(n):
            v = at(plane, middle, bottom, j, k) + term[j]
            h[j] = v if h[j] > ZERO else ZERO
        add(sums, h)
        if dw.size:
            copy_rows(again, start, pitch, x, c * H * W, W, H, W)  # what lay in xs is gone
            correlate(dw[0:9], h, again, pitch, ONE)
    if dw.size:
        correlate(dw[9:18], sums, x_sum, pitch, share)
    stencil(term, d_sum, kernel(w, 17, -1, share), pitch)
    k = kernel(w, 8, -1, ONE)
    out = rest[:n]  # not in place: what is no pixel in xs has to stay zero
    for c in range(C):
        plane = hs[c * stride :]
        middle, bottom = plane[pitch:], plane[2 * pitch :]
        inner = xs[c * stride + start : c * stride + start + n]
        for j in range(n):
            out[j] = inner[j] + term[j] + at(plane, middle, bottom, j, k)
        copy_rows(dx, c * H * W, W, out, 0, pitch, H, W)


@jit
def backward_features(
    x: Floats, dx: Floats, du: Floats, dw: Floats, w: Floats, mask: Floats, scratch: Floats, shape: Any
) -> None:
    """Add to dx what comes through the features u; dw = dL/dw of K, unless it is empty."""
    C, H, W = shape
    pitch, start, n, _, size = geometry(1, H, W)
    plane, active, out = scratch[:size], scratch[size : 2 * size], scratch[2 * size : 2 * size + n]
    middle, bottom = plane[pitch:], plane[2 * pitch :]
    inner, active_middle, active_bottom = active[start : start + n], active[pitch:], active[2 * pitch :]
    for c in range(C):
        copy_rows(plane, start, pitch, x, c * H * W, W, H, W)
        copy_rows(out, 0, pitch, dx, c * H * W, W, H, W)
        for q in range(4):
            k = kernel(w, 36 + 9 * q, 1, ONE)
            d = du[4 * c + q] / f32(H * W)
            for j in range(n):
                v = d * mask[j]
                inner[j] = v if at(plane, middle, bottom, j, k) > ZERO else ZERO
            if dw.size:
                correlate(dw[36 + 9 * q : 45 + 9 * q], inner, plane, pitch, ONE)
            k = kernel(w, 44 + 9 * q, -1, ONE)
            for j in range(n):
                out[j] += at(active, active_middle, active_bottom, j, k)
        copy_rows(dx, c * H * W, W, out, 0, pitch, H, W)


# One entry for all, called by each thread of a team: it takes a number, and with it its part of the scratch, then
# sample after sample until none is left. A job is a vector of 64-bit integers, addresses among them; JOB names them.

JOB = (
    "samples taken", "threads arrived", "kind", "B", "C", "H", "W", "block", "key", "offset", "x", "y", "g",
    "eps", "size of eps", "s", "per map", "w", "mask", "size of mask", "scratch", "scratch per thread",
    "dw", "size of dw",
)  # fmt: skip
FEATURES, FORWARD, BACKWARD, BACKWARD_FEATURES = range(4)


@intrinsic
def take(typingctx: Any, job: Any, index: Any) -> Any:
    """job[index]++ as one atomic operation; the old value."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.atomic_rmw("add", builder.gep(data, [args[1]]), ir.Constant(ir.IntType(64), 1), "seq_cst")

    return types.int64(job, types.intp), codegen


@intrinsic
def pointer(typingctx: Any, address: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), codegen


@jit
def array(address: Any, size: Any) -> Any:
    return carray(pointer(address), (size,), np.float32)


@jit
def work(job: Any) -> None:
    kind, B, C, H, W, block = job[2], job[3], job[4], job[5], job[6], job[7]
    key, offset = u32(job[8]), u32(job[9])
    m, shape = C * H * W, (C, H, W)
    x, y, g, eps = array(job[10], B * m), array(job[11], B * m), array(job[12], B * m), array(job[13], job[14])
    s, per_map = array(job[15], C), array(job[16], 4 * B * C)
    w, mask, dws = array(job[17], 84), array(job[18], job[19]), array(job[22], job[23])
    scratch = array(job[20] + 4 * job[21] * take(job, 1), job[21])
    scratch[:] = ZERO
    while True:
        i = take(job, 0)
        if i >= B:
            break
        a, b, draw = i * m, (i + 1) * m, (key, offset, u32(i * C))
        noise = eps[a:b] if eps.size else eps
        u, ds = per_map[4 * C * i : 4 * C * (i + 1)], per_map[C * i : C * (i + 1)]
        dw = dws[72 * i : 72 * (i + 1)] if dws.size else dws
        if kind == FEATURES:
            features(x[a:b], u, w, mask, scratch, shape)
        elif kind == FORWARD:
            forward(x[a:b], y[a:b], s, noise, draw, w, mask, scratch, shape, block)
        elif kind == BACKWARD:
            backward(x[a:b], g[a:b], y[a:b], s, ds, dw, noise, draw, w, mask, scratch, shape, block)
        else:
            backward_features(x[a:b], y[a:b], u, dw, w, mask, scratch, shape)


@cfunc(types.void(types.voidptr), cache=CACHE)
def entry(job: Any) -> None:
    work(carray(job, (len(JOB),), np.int64))
