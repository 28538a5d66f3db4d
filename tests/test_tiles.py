"""What the passes on a GPU are made of: the law of the noise, softplus."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.kernels_on import DEVICE, REASON

pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON)
C, H, W, SAMPLES = 10, 16, 16, (64 if DEVICE == "cuda" else 12)


@pytest.fixture(scope="module")
def kernels() -> dict[str, Any]:
    """Kernels that write what the pieces give."""
    import triton
    import triton.language as tl

    from mplib.fused.cuda.tiles import normals, softplus

    @triton.jit
    def draw(out, seed, C, H, W, first, QUADS: tl.constexpr, PIXELS: tl.constexpr):  # type: ignore[no-untyped-def]
        sample = tl.program_id(0).to(tl.int64)
        quad, p = tl.arange(0, QUADS), tl.arange(0, PIXELS)
        noise = normals(seed, sample + first, quad, p, C, H, W)
        for i in tl.static_range(4):
            c = 4 * quad + i
            where = (sample * C + c)[:, None] * (H * W) + p[None, :]
            tl.store(out + where, noise[i], mask=(c < C)[:, None])

    @triton.jit
    def soft(a, z, slope, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
        where = tl.arange(0, SIZE)
        value, derivative = softplus(tl.load(a + where))
        tl.store(z + where, value)
        tl.store(slope + where, derivative)

    # the interpreter finds names among a function's globals only
    draw.fn.__globals__.update(tl=tl, normals=normals, softplus=softplus)
    return {"draw": draw, "soft": soft}


def noise(kernels: dict[str, Any], seed: int, first: int = 0) -> Tensor:
    out = torch.full((SAMPLES, C, H, W), math.nan, device=DEVICE)
    kernels["draw"][(SAMPLES,)](
        out, torch.tensor([seed], device=DEVICE), C, H, W, first, QUADS=4, PIXELS=H * W, enable_fp_fusion=True
    )
    return out.double().cpu()


def test_the_noise_is_standard_normal_and_does_not_correlate(kernels: dict[str, Any]) -> None:
    eps, later = noise(kernels, 2**62 + 5), noise(kernels, 7)
    flat, n = eps.flatten(), eps.numel()
    assert flat.isfinite().all() and flat.abs().max() < 6.67
    assert abs(flat.mean()) < 4.5 / math.sqrt(n)
    assert abs(flat.var() - 1) < 4.5 * math.sqrt(2 / n)
    assert abs((flat**4).mean() - 3) < 4.5 * math.sqrt(96 / n)
    uniform = torch.special.ndtr(flat).sort().values
    grid = torch.arange(1, n + 1, dtype=torch.float64) / n
    assert (uniform - grid).abs().max() * math.sqrt(n) < 2.0  # Kolmogorov and Smirnov, p about 7e-4
    pairs = {
        "right": (eps[..., :-1], eps[..., 1:]),
        "below": (eps[..., :-1, :], eps[..., 1:, :]),
        "half a map on": (eps[..., : H // 2, :], eps[..., H // 2 :, :]),
        **{f"{k} channels on": (eps[:, :-k], eps[:, k:]) for k in (1, 2, 3, 4)},
        "image": (eps[:-1], eps[1:]),
        "call": (eps, later),
    }
    for name, (a, b) in pairs.items():
        for u, v in ((a, b), ((a**2 - 1) / 2**0.5, (b**2 - 1) / 2**0.5), ((a.abs() - (2 / math.pi) ** 0.5), b)):
            assert abs(float((u * v).mean())) * math.sqrt(u.numel()) < 4.5, name
    assert flat.unique().numel() > 0.99 * n


def test_samples_far_apart_and_both_halves_of_the_seed_count(kernels: dict[str, Any]) -> None:
    """The counter and the seed have 64 bits: what is beyond 32 is not lost."""
    base = noise(kernels, 7)
    per_sample = -(-C // 4) * H * W
    assert not torch.equal(noise(kernels, 7 + 2**32), base)
    assert not torch.equal(noise(kernels, 7, first=2**32 // per_sample * 2), base)
    assert 2**32 % per_sample == 0 or not torch.equal(noise(kernels, 7, first=2**32), base)
    assert torch.equal(noise(kernels, 7, first=1)[:-1], base[1:])


def test_softplus_and_its_slope(kernels: dict[str, Any]) -> None:
    a = torch.linspace(-80, 80, 1024, device=DEVICE)
    z, slope = torch.empty_like(a), torch.empty_like(a)
    kernels["soft"][(1,)](a, z, slope, SIZE=1024, enable_fp_fusion=True)
    torch.testing.assert_close(
        z.double(), torch.nn.functional.softplus(a.double(), threshold=200), rtol=2e-5, atol=1e-36
    )
    torch.testing.assert_close(slope.double(), a.double().sigmoid(), rtol=2e-5, atol=1e-36)
