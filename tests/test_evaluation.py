from __future__ import annotations

import pytest
import torch
from torch import nn

from mplib import MplibError, attach, evaluate, predict, set_strength
from mplib.data import Split, normalise
from mplib.evaluation import draws, mean_noise
from mplib.regularizers import matched_noise
from mplib.stats import wilson
from tests.toys import toy_net, toy_phi, toy_split


def test_scores_are_what_their_formulas_say() -> None:
    net, split = toy_net(phi=toy_phi()), toy_split(n=30)
    metrics = evaluate(net, split, samples=4, batch_size=7, seed=3)
    p = predict(net, split.images, samples=4, batch_size=7, seed=3)
    right = (p.argmax(dim=1) == split.labels).double()
    assert metrics.accuracy == right.mean().item()
    assert (metrics.accuracy_low, metrics.accuracy_high) == wilson(int(right.sum()), 30)
    assert metrics.nll == pytest.approx(-p[torch.arange(30), split.labels].log().mean().item(), rel=1e-5)
    assert metrics.n == 30 and metrics.samples == 4


def test_a_prediction_is_the_mean_softmax_over_draws_of_the_noise() -> None:
    net, images = toy_net(phi=toy_phi()).eval(), normalise(toy_split(n=6).images)
    torch.manual_seed(0)
    with torch.no_grad():
        expected = torch.stack([net(images).softmax(dim=1) for _ in range(5)]).mean(dim=0)
    torch.manual_seed(0)
    torch.testing.assert_close(predict(net, images, samples=5), expected, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(predict(net, images, samples=1), predict(net, images, samples=1))


def test_a_network_without_noise_is_asked_once() -> None:
    calls = []
    net = toy_net()
    net.register_forward_hook(lambda *_: calls.append(1))
    assert evaluate(net, toy_split(n=6), samples=100).samples == 1
    assert len(calls) == 1


@pytest.mark.parametrize("training", [True, False])
def test_leaves_the_modes_and_the_random_state_as_they_were(training: bool) -> None:
    net = toy_net(phi=toy_phi()).train(training)
    net.blocks[0].eval()
    before, state = [module.training for module in net.modules()], torch.get_rng_state()
    statistics = {name: value.clone() for name, value in net.state_dict().items()}
    predict(net, toy_split(n=6).images, samples=2, seed=0)
    assert [module.training for module in net.modules()] == before
    assert torch.equal(torch.get_rng_state(), state)
    assert all(value.equal(statistics[name]) for name, value in net.state_dict().items())


def test_the_size_of_the_chunks_does_not_matter_without_noise() -> None:
    net, images = toy_net(), toy_split(n=30).images
    torch.testing.assert_close(predict(net, images, batch_size=7), predict(net, images, batch_size=30))


def test_a_certain_and_wrong_network_has_a_finite_likelihood() -> None:
    class Certain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(1e4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.scale * torch.eye(3)[torch.zeros(len(x), dtype=torch.int64)]

    metrics = evaluate(Certain(), Split(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.tensor([1, 2])))
    assert metrics.nll == pytest.approx(1e4) and metrics.ece == pytest.approx(1.0)


def test_refuses_what_cannot_be() -> None:
    net, split = toy_net(), toy_split(n=6)
    with pytest.raises(MplibError, match="no images"):
        predict(net, split.images[:0])
    with pytest.raises(MplibError, match="samples is -1"):
        predict(net, split.images, samples=-1)
    with pytest.raises(MplibError, match="6 of 6 images is not a number"):
        broken = toy_net()
        torch.nn.init.constant_(broken.fc.bias, float("nan"))
        evaluate(broken, split)
    with pytest.raises(MplibError, match="expected them within the network's 3 outputs"):
        evaluate(net, Split(split.images, split.labels + 2))


def test_the_mean_of_the_noise_is_one_pass_that_repeats_itself() -> None:
    net, images = toy_net(phi=toy_phi()), toy_split(n=6).images
    calls: list[int] = []
    net.register_forward_hook(lambda *_: calls.append(1))
    first = predict(net, images, samples=0)
    assert len(calls) == 1 and torch.equal(first, predict(net, images, samples=0))
    assert evaluate(net, toy_split(n=6), samples=0).samples == 0
    assert not torch.equal(predict(net, images, samples=1), predict(net, images, samples=1))  # put back afterwards


@pytest.mark.parametrize("kind", ["phi", "noise"])
def test_at_a_single_site_the_mean_noise_gives_the_mean_of_the_map(kind: str) -> None:
    phi = toy_phi() if kind == "phi" else matched_noise([(0.5, 0.4)])
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    attach(net, phi, image_size=8, clip=None, sites=["1"]).eval()
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        many = torch.stack([net(x) for _ in range(4000)])
        with mean_noise(net):
            once = net(x)
    tolerance = 6 * many.std(dim=0) / 4000**0.5
    assert ((many.mean(dim=0) - once).abs() < tolerance + 1e-6).all()


def test_the_mean_noise_is_of_the_present_strength_and_is_taken_off_again() -> None:
    net, images = toy_net(phi=toy_phi()).eval(), normalise(toy_split(n=4).images)
    keys = list(net.state_dict())
    set_strength(net, 0.0)
    plain = predict(net, images, samples=1)
    torch.testing.assert_close(predict(net, images, samples=0), plain)
    with pytest.raises(RuntimeError), mean_noise(net):
        raise RuntimeError
    assert list(net.state_dict()) == keys
    bare = toy_net()
    with mean_noise(bare):
        assert torch.equal(predict(bare, images), predict(bare, images, samples=0))


def test_refuses_noise_whose_mean_is_not_known() -> None:
    class Odd(nn.Module):
        def visit(self, x: torch.Tensor, *_: object, **__: object) -> tuple[torch.Tensor, None]:
            return x * torch.rand_like(x), None

    with pytest.raises(MplibError, match="the mean noise of Odd is not known"):
        predict(toy_net(phi=Odd()), toy_split(n=4).images, samples=0)


def test_draws_are_what_a_prediction_averages() -> None:
    net, images = toy_net(phi=toy_phi()), toy_split(n=10).images
    pool = draws(net, images, samples=5, batch_size=4, seed=1)
    assert pool.shape == (5, 10, 3)
    torch.testing.assert_close(pool.exp().mean(dim=0), predict(net, images, samples=5, batch_size=4, seed=1))
    assert draws(toy_net(), images, samples=5).shape == (1, 10, 3)
