"""Each variant goes another way to the same result: the same map, statistics and gradient from the same noise."""

from __future__ import annotations

import pytest
import torch

from mplib.benchmark.ideas import Grouped, Recomputed, Reference, StoredNoise
from mplib.perturb import MetaPerturb


def _perturbed(kind: type[MetaPerturb], x: torch.Tensor, **options: object) -> tuple[torch.Tensor, ...]:
    phi = kind(generator=torch.Generator().manual_seed(1)).requires_grad_(False)
    for part in phi.parameters():
        part.mul_(30)  # large enough to make a difference
    x = x.clone().requires_grad_()
    y, (mean, var) = phi.visit(x, 0.5, 0.25, strength=0.7, clip=2.0, **options)
    return y.detach(), mean, var, torch.autograd.grad(y.square().sum(), x)[0]


@pytest.mark.parametrize("kind", [Reference, Grouped, Recomputed])
def test_the_readable_variants_are_the_function(kind: type[MetaPerturb]) -> None:
    x, eps = torch.randn(6, 5, 7, 7), torch.randn(6, 5, 7, 7)
    for ours, expected in zip(_perturbed(kind, x, eps=eps), _perturbed(MetaPerturb, x, eps=eps), strict=True):
        torch.testing.assert_close(ours, expected, rtol=2e-4, atol=2e-5)


def test_stored_noise_is_what_torch_draws() -> None:
    x = torch.randn(6, 5, 7, 7)
    torch.manual_seed(3)
    eps = torch.randn_like(x)
    torch.manual_seed(3)
    drawn = _perturbed(StoredNoise, x)
    for ours, expected in zip(drawn, _perturbed(MetaPerturb, x, eps=eps), strict=True):
        torch.testing.assert_close(ours, expected)


def test_recomputing_draws_the_same_noise_twice() -> None:
    """The gradient of the second computation belongs to the map of the first."""
    x = torch.randn(4, 3, 5, 5)
    torch.manual_seed(5)
    once = _perturbed(Recomputed, x)
    torch.manual_seed(5)
    plain = _perturbed(Reference, x)
    for ours, expected in zip(once, plain, strict=True):
        torch.testing.assert_close(ours, expected)
