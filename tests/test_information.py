from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mplib import MplibError, train
from mplib.regularizers import InformationDropout, find
from mplib.regularizers.information import information_dropout
from mplib.steps import own_parameters
from tests.toys import toy_data, toy_net


def informed() -> nn.Module:
    return toy_net(phi=nn.ModuleList(InformationDropout(4) for _ in range(4)))


def test_the_noise_is_log_normal_with_the_spread_of_the_map() -> None:
    torch.manual_seed(0)
    site = InformationDropout(3)
    x = torch.rand(1, 3, 6, 6) + 0.5
    logs = torch.stack([(site.visit(x)[0] / x).log() for _ in range(4000)])
    torch.testing.assert_close(logs.mean(dim=0), torch.zeros_like(x), atol=0.05, rtol=0)
    torch.testing.assert_close(logs.std(dim=0), site.alpha(x), atol=0.03, rtol=0)
    assert (site.alpha(x) < 0.701).all() and (site.alpha(x) > 0.001).all()
    assert torch.equal(site.eval().visit(x)[0], x)


def test_the_price_is_the_divergence_from_the_log_uniform_prior_up_to_a_constant() -> None:
    """Between two spreads the divergence of a log-normal from a flat prior in log x differs by the entropy."""
    site = InformationDropout(1)
    nn.init.zeros_(site.spread.weight)
    prices = []
    for bias in (-1.0, 2.0):
        nn.init.constant_(site.spread.bias, bias)
        site.visit(torch.ones(2, 1, 3, 3))
        alpha = site.alpha(torch.ones(1, 1, 3, 3))[0, 0, 1, 1].detach()
        prices.append((site.price, torch.distributions.Normal(0.0, alpha).entropy()))
    (first, narrow), (second, wide) = prices
    torch.testing.assert_close(first - second, wide - narrow)


def test_the_objective_is_cross_entropy_and_the_mean_price() -> None:
    net, images, labels = informed(), torch.rand(6, 3, 16, 16), torch.arange(6) % 3
    torch.manual_seed(0)
    free, logits = information_dropout(0.0)(net, images, labels)
    torch.testing.assert_close(free, F.cross_entropy(logits, labels))
    torch.manual_seed(0)
    dear, _ = information_dropout(3.0)(net, images, labels)
    assert dear > free
    copy.deepcopy(net)  # no price is left behind, whose history could not be copied
    with pytest.raises(MplibError, match="no site has a price"):
        information_dropout(1.0)(toy_net(), images, labels)


def test_its_parameters_are_learned_with_theta_and_a_high_price_makes_noise() -> None:
    net = informed()
    assert {id(p) for p in own_parameters(net)} == {id(p) for p in net.parameters()}
    before = [p.clone() for p in net.perturbation.parameters()]
    spread = []
    for beta in (0.0, 100.0):
        net = informed()
        objective = find("information_dropout").objective({"beta": beta})
        train(net, toy_data(), steps=40, batch_size=16, warmup=0.0, weight_decay=0.0, objective=objective, device="cpu")
        spread.append(torch.stack([site.spread.bias.mean() for site in net.perturbation.functions]).mean().item())
    assert spread[1] > spread[0]
    assert any(not torch.equal(a, b) for a, b in zip(before, net.perturbation.parameters(), strict=True))


def test_refuses_what_cannot_be() -> None:
    with pytest.raises(MplibError, match="largest alpha is 0"):
        InformationDropout(2, most=0)
