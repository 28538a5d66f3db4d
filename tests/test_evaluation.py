from __future__ import annotations

import pytest
import torch
from torch import nn
from torchmetrics.classification import MulticlassCalibrationError

from mplib import MplibError, evaluate, predict
from mplib.data import Split, normalise
from mplib.evaluation import calibration_error
from mplib.stats import wilson
from tests.toys import toy_net, toy_phi, toy_split


def test_ece_is_that_of_another_library() -> None:
    generator = torch.Generator().manual_seed(0)
    for bins in (5, 15):
        p = (3 * torch.randn(500, 7, generator=generator)).softmax(dim=1)
        labels = torch.randint(0, 7, (500,), generator=generator)
        confidence, answer = p.max(dim=1)
        theirs = MulticlassCalibrationError(num_classes=7, n_bins=bins, norm="l1")(p, labels)
        assert calibration_error(confidence, answer == labels, bins) == pytest.approx(theirs.item(), abs=1e-6)


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
    with pytest.raises(MplibError, match="samples is 0"):
        predict(net, split.images, samples=0)
    with pytest.raises(MplibError, match="6 of 6 images is not a number"):
        broken = toy_net()
        torch.nn.init.constant_(broken.fc.bias, float("nan"))
        evaluate(broken, split)
    with pytest.raises(MplibError, match="expected them within the network's 3 outputs"):
        evaluate(net, Split(split.images, split.labels + 2))
