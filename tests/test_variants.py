from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mplib import MetaPerturb, evaluate
from mplib.perturb import noise_location, perturb, scale
from mplib.regularizers import Expected, noise_only, scale_only, shuffled
from mplib.regularizers.variants import MEAN_SOFTPLUS, wider_softplus
from tests.toys import flat, toy_net, toy_split

X = torch.randn(16, 6, 8, 8, generator=torch.Generator().manual_seed(0))
SIZES = (0.5, 0.25)


def loud_phi() -> MetaPerturb:
    """A phi whose parts all do something, unlike the small numbers of an untrained one."""
    torch.manual_seed(3)
    phi = MetaPerturb()
    with torch.no_grad():
        for parameter in phi.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
    return phi


def test_the_mean_of_the_softplus_by_quadrature() -> None:
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()

    def mean(alpha: np.ndarray) -> np.ndarray:
        return np.logaddexp(0, alpha[:, None] + nodes) @ weights

    alpha = np.linspace(-8, 8, 161)
    assert mean(np.zeros(1))[0] == pytest.approx(MEAN_SOFTPLUS, abs=1e-6)
    ours = wider_softplus(torch.tensor(alpha)).numpy()
    assert np.abs(ours - mean(alpha)).max() < 0.011


def test_deterministic_is_the_mean_over_draws() -> None:
    phi = loud_phi()
    draws = torch.stack([phi.factor(X, *SIZES) for _ in range(3000)]).mean(dim=0)
    out, stats = Expected(phi).visit(X, *SIZES)
    torch.testing.assert_close(out, X * draws, atol=0.06, rtol=0.03)
    torch.testing.assert_close(stats, phi.statistics(X))


@pytest.mark.parametrize("strength", [0.0, 0.4, 1.0])
def test_deterministic_is_its_equation(strength: float) -> None:
    phi = loud_phi()
    stats = phi.statistics(X)
    factor = scale(stats, phi.weights.head, *SIZES)[:, None, None] * wider_softplus(noise_location(X, phi.weights))
    expected = perturb(X, factor, strength, clip=1.5)
    for given in (None, stats):
        out, _ = Expected(phi).visit(X, *SIZES, given, strength=strength, clip=1.5)
        torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


def test_scale_only_does_not_look_at_the_pixels_around_and_noise_only_not_at_the_batch() -> None:
    phi = loud_phi()
    s = scale(phi.statistics(X), phi.weights.head, *SIZES)
    out, _ = scale_only(phi).visit(X, *SIZES)
    torch.testing.assert_close(out, X * MEAN_SOFTPLUS * s[:, None, None], atol=1e-5, rtol=1e-5)
    eps = torch.randn_like(X)
    z = F.softplus(noise_location(X, phi.weights) + eps)
    torch.testing.assert_close(noise_only(phi)(X, *SIZES, eps=eps), X * z / 2, atol=1e-5, rtol=1e-5)


def test_shuffled_has_the_same_numbers_in_other_places() -> None:
    phi = loud_phi()
    a, b = shuffled(phi, 0), shuffled(phi, 1)
    assert torch.equal(flat(a).sort().values, flat(phi).sort().values)
    assert not torch.equal(flat(a), flat(phi)) and not torch.equal(flat(a), flat(b))
    assert torch.equal(flat(a), flat(shuffled(phi, 0)))


def test_the_variants_leave_phi_alone_and_two_are_not_random_at_test() -> None:
    phi = loud_phi()
    before = flat(phi)
    samples = [
        evaluate(toy_net(phi=make(phi)), toy_split(), samples=3).samples
        for make in (noise_only, scale_only, Expected, lambda phi: shuffled(phi, 0))
    ]
    assert samples == [3, 1, 1, 3]
    assert torch.equal(flat(phi), before)
