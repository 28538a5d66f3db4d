"""The law of the noise that the fused function draws, and its exp and log."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mplib import fused
from tests.test_function import frozen_phi

pytestmark = pytest.mark.skipif(not fused.available(), reason="numba is not installed")


def noise(shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
    """With zero weights and x = 1 the output is softplus(eps) / 2, from which eps can be had back."""
    stats = torch.zeros(shape[1], 4), torch.ones(shape[1], 4)
    out = frozen_phi(spread=0.0)(torch.ones(shape), 1.0, 1.0, stats, generator=generator)
    return torch.log(torch.expm1(2 * out.double()))


def correlation(a: Tensor, b: Tensor) -> float:
    """In standard errors."""
    return float((a * b).mean()) * math.sqrt(a.numel())


def test_the_seed_repeats_the_noise_and_a_generator_is_used() -> None:
    torch.manual_seed(5)
    first, second = noise((2, 3, 8, 8)), noise((2, 3, 8, 8))
    torch.manual_seed(5)
    assert torch.equal(noise((2, 3, 8, 8)), first) and not torch.equal(first, second)
    state = torch.get_rng_state()
    third = noise((2, 3, 8, 8), torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(noise((2, 3, 8, 8), torch.Generator().manual_seed(1)), third)


@pytest.mark.parametrize("shape", [(128, 32, 32, 32), (256, 64, 8, 8), (512, 32, 4, 4), (2000, 3, 7, 5)])
def test_the_noise_is_standard_normal(shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    eps = noise(shape).flatten()
    n = eps.numel()
    assert abs(eps.mean()) < 4.5 / math.sqrt(n)
    assert abs(eps.var() - 1) < 4.5 * math.sqrt(2 / n)
    assert abs((eps**3).mean()) < 4.5 * math.sqrt(15 / n)
    assert abs((eps**4).mean() - 3) < 4.5 * math.sqrt(96 / n)
    for bound in (1, 2, 3, 4, 5):  # what lies beyond is a Poisson count
        expected = n * 0.5 * math.erfc(bound / math.sqrt(2))
        for count in (int((eps > bound).sum()), int((eps < -bound).sum())):
            assert abs(count - expected) < 4.5 * math.sqrt(expected) + 3, bound
    uniform = torch.special.ndtr(eps).sort().values
    grid = torch.arange(1, n + 1, dtype=torch.float64) / n
    assert (uniform - grid).abs().max() * math.sqrt(n) < 2.0  # Kolmogorov and Smirnov, p about 7e-4


@pytest.mark.parametrize("shape", [(64, 16, 32, 32), (128, 64, 8, 8), (512, 32, 4, 4), (999, 3, 7, 5)])
def test_the_noise_does_not_correlate(shape: tuple[int, ...]) -> None:
    """Neighbours, half maps, channels, images, steps; in value, in square, and in size against value."""
    torch.manual_seed(2)
    eps, later = noise(shape), noise(shape)
    half = shape[2] // 2
    pairs = {
        "right": (eps[..., :-1], eps[..., 1:]),
        "below": (eps[..., :-1, :], eps[..., 1:, :]),
        "diagonal": (eps[..., :-1, :-1], eps[..., 1:, 1:]),
        "half a map on": (eps[..., :half, :], eps[..., -half:, :]),
        "channel": (eps[:, :-1], eps[:, 1:]),
        "image": (eps[:-1], eps[1:]),
        "image and channel": (eps[:-1, 1:], eps[1:, :-1]),
        "step": (eps, later),
    }
    for name, (a, b) in pairs.items():
        assert abs(correlation(a, b)) < 4.5, name
        assert abs(correlation(a**2 - 1, b**2 - 1)) / 2 < 4.5, name  # the variance of (eps^2 - 1) is 2
        assert abs(correlation(a.abs() - a.abs().mean(), b)) < 4.5, name
    for dims in ((3,), (2, 3), (1, 2, 3), (0,), (0, 2, 3)):
        size = math.prod(shape[dim] for dim in dims)
        sums = eps.sum(dims).flatten() / math.sqrt(size)
        assert abs((sums**2).mean() - 1) < 5 * math.sqrt(2 / sums.numel()), dims


def test_steps_share_no_values() -> None:
    torch.manual_seed(0)
    first, second = (noise((64, 16, 16, 16)).flatten().float() for _ in range(2))
    assert int((first == second).sum()) < 20


def test_exp_and_log_are_exact_to_single_precision() -> None:
    from mplib.fused.cpu.arithmetic import exp_of_minus_abs, log1p

    values = np.linspace(-86, 86, 4001, dtype=np.float32)
    ours = np.array([exp_of_minus_abs(value) for value in values])
    np.testing.assert_allclose(ours, np.exp(-np.abs(values.astype(np.float64))), rtol=5e-7)
    fractions = np.linspace(0, 1, 4001, dtype=np.float32)
    ours = np.array([log1p(value) for value in fractions])
    np.testing.assert_allclose(ours, np.log1p(fractions.astype(np.float64)), rtol=5e-7)
