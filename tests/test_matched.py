from __future__ import annotations

import pytest
import torch

from mplib import MplibError, attach, nets
from mplib.regularizers import PlainNoise, SoftplusNoise, matched_noise, site_moments
from tests.toys import toy_net, toy_phi


def test_plain_noise_has_the_mean_and_the_spread_it_was_given() -> None:
    torch.manual_seed(0)
    x = torch.ones(64, 8, 16, 16)
    out = PlainNoise(0.5, 0.32)(x, 1.0, 1.0)
    assert abs(out.mean().item() - 0.5) < 0.005 and abs(out.std().item() - 0.32) < 0.005
    assert torch.equal(PlainNoise(0.5, 0.32)(x, 1.0, 1.0, strength=0.0), x)
    assert PlainNoise(1.0, 9.0)(x, 1.0, 1.0, clip=2.0).max() == 2.0


@pytest.mark.parametrize("mean, deviation", [(0.403, 0.26), (0.5, 0.32), (1.0, 0.1), (0.2, 0.2)])
def test_softplus_noise_has_the_mean_and_the_spread_it_was_given(mean: float, deviation: float) -> None:
    torch.manual_seed(0)
    factor = SoftplusNoise(mean, deviation)(torch.ones(64, 8, 32, 32), 1.0, 1.0)
    assert abs(factor.mean() - mean) < 0.003 and abs(factor.std() - deviation) < 0.003
    assert factor.min() > 0


def test_softplus_noise_is_an_untrained_phi_that_does_not_look() -> None:
    """Draw by draw: with the moments of phi whose weights are zero, the two multiply by the same."""
    phi = toy_phi().requires_grad_(False)
    for part in phi.parameters():
        part.zero_()
    x, eps = torch.randn(8, 4, 16, 16), torch.randn(8, 4, 16, 16)
    ours = SoftplusNoise(0.5 * 0.80606, 0.5 * 0.52105).visit(x, 1.0, 1.0, eps=eps)[0]
    torch.testing.assert_close(ours, phi(x, 1.0, 1.0, eps=eps), rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [PlainNoise, SoftplusNoise])
def test_matched_noise_is_matched_at_every_site(kind: type[PlainNoise]) -> None:
    """Measured as phi is measured, the control has phi's moments, site by site."""
    torch.manual_seed(0)
    images = torch.rand(64, 3, 16, 16) * 2 - 1
    moments = site_moments(toy_net(phi=toy_phi()), images)
    assert len(moments) == 4 and all(0.35 < mean < 0.45 and 0.2 < deviation < 0.3 for mean, deviation in moments)
    control = matched_noise(moments, kind)
    for noise, (mean, deviation) in zip(control, moments, strict=True):
        factor = noise(torch.ones(64, 4, 16, 16), 1.0, 1.0)
        assert abs(factor.mean().item() - mean) < 0.01 and abs(factor.std().item() - deviation) < 0.01


def test_controls_train_and_carry_no_parameters() -> None:
    net = toy_net(phi=matched_noise([(0.5, 0.3)] * 4))
    plain = toy_net()
    assert len(list(net.parameters())) == len(list(plain.parameters()))
    net(torch.rand(4, 3, 16, 16)).sum().backward()


def test_measuring_leaves_the_mode_alone() -> None:
    net = toy_net(phi=toy_phi()).train()
    site_moments(net, torch.rand(4, 3, 16, 16))
    assert net.training


def test_refuses_what_cannot_be() -> None:
    with pytest.raises(MplibError, match="no phi attached"):
        site_moments(toy_net(), torch.rand(2, 3, 16, 16))
    with pytest.raises(MplibError, match="deviation is -1"):
        PlainNoise(1.0, -1.0)
    for mean, deviation in ((0.0, 0.1), (0.5, 0.7), (0.5, 0.0)):
        with pytest.raises(MplibError, match="softplus noise has no other"):
            SoftplusNoise(mean, deviation)
    with pytest.raises(MplibError, match="2 functions, expected one for each of the network's 4 sites"):
        attach(nets.build("conv4", 3, 16, width=4), matched_noise([(0.5, 0.3)] * 2), image_size=16)
