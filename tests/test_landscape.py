from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mplib import MplibError, predict
from mplib.data import Split, normalise
from mplib.landscape import displaced, loss_surface, random_direction, sharpness
from tests.toys import flat, toy_net, toy_phi, toy_split


class TwoLayers(nn.Module):
    """Without batch norm and biases, so that scaling one layer up and the next one down changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.fc = nn.Linear(4, 3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(F.relu(self.conv(x)).mean(dim=(2, 3)))


@pytest.mark.parametrize("phi", [False, True])
def test_every_filter_keeps_its_length_and_phi_stays(phi: bool) -> None:
    net = toy_net(phi=toy_phi() if phi else None)
    direction = random_direction(net, seed=3)
    weights = dict(net.named_parameters())
    assert set(direction) == {name for name in weights if name.endswith("weight") and weights[name].dim() > 1}
    for name, part in direction.items():
        torch.testing.assert_close(part.flatten(1).norm(dim=1), weights[name].detach().flatten(1).norm(dim=1))
    cosine = [
        F.cosine_similarity(part.flatten(), random_direction(net, seed=3, number=1)[name].flatten(), dim=0).abs()
        for name, part in direction.items()
        if part.numel() > 100
    ]
    assert cosine and max(cosine) < 0.4
    assert all(torch.equal(part, random_direction(net, seed=3)[name]) for name, part in direction.items())


def test_a_filter_of_zeros_is_not_moved() -> None:
    net = TwoLayers()
    nn.init.zeros_(net.conv.weight)
    assert not random_direction(net)["conv.weight"].any()


def test_the_surface_does_not_see_how_a_network_is_scaled() -> None:
    """What filter normalisation is for; a plain random direction would see it."""
    net, split = TwoLayers(), toy_split(n=12)
    before = loss_surface(net, split, [random_direction(net, number=n) for n in range(2)], [-0.5, 0.0, 0.7])
    with torch.no_grad():
        net.conv.weight.mul_(20)
        net.fc.weight.div_(20)
    after = loss_surface(net, split, [random_direction(net, number=n) for n in range(2)], [-0.5, 0.0, 0.7])
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-5)


def test_the_middle_is_the_loss_of_the_network_and_axes_are_in_order() -> None:
    net, split = toy_net(), toy_split(n=12)
    first, second = (random_direction(net, number=n) for n in range(2))
    plane = loss_surface(net, split, [first, second], [-0.3, 0.0, 0.4])
    loss = -predict(net, split.images)[torch.arange(12), split.labels].log().mean().item()
    assert plane[1, 1].item() == pytest.approx(loss, rel=1e-5)
    torch.testing.assert_close(plane[:, 1], loss_surface(net, split, [first], [-0.3, 0.0, 0.4]))
    torch.testing.assert_close(plane[1], loss_surface(net, split, [second], [-0.3, 0.0, 0.4]))
    with displaced(net, (first, -0.3), (second, 0.4)), torch.no_grad():
        moved = F.cross_entropy(net.eval()(normalise(split.images)), split.labels).item()
    assert plane[0, 2].item() == pytest.approx(moved, rel=1e-5)


def test_the_noise_is_the_same_at_every_point() -> None:
    net, split = toy_net(phi=toy_phi()), toy_split(n=12)
    line = loss_surface(net, split, [random_direction(net)], [0.0, 1e-7, 0.0], samples=2)
    assert line[0] == line[2] and line[1].item() == pytest.approx(line[0].item(), abs=1e-5)
    other = loss_surface(net, split, [random_direction(net)], [0.0], samples=2, seed=1)
    assert abs(other[0] - line[0]) > 1e-4


def test_puts_every_bit_back() -> None:
    net = toy_net(phi=toy_phi()).train()
    before = flat(net)
    sharpness(net, toy_split(n=6), directions=2, samples=1)
    with pytest.raises(RuntimeError), displaced(net, (random_direction(net), 1.0)):
        assert not torch.equal(flat(net), before)
        raise RuntimeError
    assert torch.equal(flat(net), before) and net.training


def test_sharpness_is_the_mean_rise_on_both_sides() -> None:
    net, split = toy_net(), toy_split(n=12)
    rises = sharpness(net, split, radius=0.5, directions=3, seed=2)
    for number, rise in enumerate(rises):
        low, middle, high = loss_surface(net, split, [random_direction(net, 2, number)], [-0.5, 0.0, 0.5]).tolist()
        assert rise == pytest.approx((low + high) / 2 - middle, abs=1e-9)


def test_refuses_what_cannot_be() -> None:
    net, split = toy_net(), Split(*toy_split(n=6))
    with pytest.raises(MplibError, match="the direction does not fit"):
        loss_surface(net, split, [random_direction(TwoLayers())], [0.0])
    with pytest.raises(MplibError, match="0 directions"):
        loss_surface(net, split, [], [0.0])
    with pytest.raises(MplibError, match="0 samples"):
        loss_surface(net, split, [random_direction(net)], [0.0], samples=0)
    with pytest.raises(MplibError, match="radius is 0"):
        sharpness(net, split, radius=0)
