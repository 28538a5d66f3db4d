"""Attacks against what is known of them: closed forms, bounds, gradients, and networks left as they were."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mplib import MplibError, fused
from mplib.adversaries import AVERAGES, METHODS, NORMS, Attack, Averaged, adversarial
from mplib.data import Split
from mplib.training import train
from tests.toys import toy_data, toy_net, toy_phi, toy_split

ORDER = {"linf": float("inf"), "l2": 2.0, "l1": 1.0}
RADIUS = {"linf": 0.05, "l2": 0.8, "l1": 8.0}


class Linear(nn.Module):
    """Logits (0, w x): the loss has one gradient direction everywhere, so the best attack is known."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        score = (x * self.weight).flatten(1).sum(dim=1)
        return torch.stack([torch.zeros_like(score), score], dim=1)


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    net = toy_net(phi=toy_phi())
    train(net, toy_data(), steps=60, batch_size=24, augment=False, device="cpu")
    return net


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("norm", NORMS)
def test_stays_in_the_ball_and_among_the_pixels(trained: nn.Module, method: str, norm: str) -> None:
    split = toy_split(n=6)
    moved = adversarial(trained, split, Attack(norm, RADIUS[norm], steps=4, eot=2, method=method), batch_size=4)
    step = (moved - split.images.float() / 255).flatten(1)
    assert moved.shape == split.images.shape and moved.min() >= 0 and moved.max() <= 1
    assert (step.norm(p=ORDER[norm], dim=1) <= RADIUS[norm] * (1 + 1e-5)).all()
    assert step.abs().sum() > 0 or method == "square"  # which gives back an image that it cannot break


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_finds_the_best_point_of_a_linear_network(norm: str, average: str) -> None:
    weight = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    split = Split(torch.full((2, 3, 4, 4), 128, dtype=torch.uint8), torch.tensor([0, 1]))
    eps = 0.1
    moved = adversarial(Linear(weight), split, Attack(norm, eps, steps=120, eot=2, average=average))
    direction = weight.sign() if norm == "linf" else weight / weight.norm()
    best = split.images / 255 + eps * torch.stack([direction[0], -direction[0]])
    torch.testing.assert_close(moved, best, rtol=0, atol=0.012 if norm == "l2" else 1e-5)


@pytest.mark.parametrize("average", AVERAGES)
def test_averages_what_it_says(average: str) -> None:
    """Two draws of known weights: one long step goes along the average that was asked for, computed by hand."""
    weights = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    split = Split(torch.full((1, 3, 4, 4), 160, dtype=torch.uint8), torch.tensor([0]))
    turns = [0, 1]

    class Alternating(Linear):
        def forward(self, x: Tensor) -> Tensor:
            score = (x * weights[turns.pop(0)]).flatten(1).sum(dim=1)
            return torch.stack([torch.zeros_like(score), score], dim=1)

    net = Alternating(torch.zeros(1, 3, 4, 4))
    x = split.images / 255
    moved = adversarial(net, split, Attack("l2", 0.02, steps=1, eot=2, average=average, step_size=1e4))
    assert not turns
    wrong = torch.stack([((2 * x - 1) * weight).sum().sigmoid() for weight in weights])  # probability of class 1
    if average == "gradients":
        direction = (wrong[:, None, None, None] * weights).sum(dim=0)
    elif average == "logits":
        direction = weights.sum(dim=0)
    else:  # the gradient of -log mean(1 - p)
        direction = ((wrong * (1 - wrong))[:, None, None, None] * weights).sum(dim=0)
    assert F.cosine_similarity((moved - x).flatten(), direction.flatten(), dim=0) > 0.9999


def test_the_fast_path_gives_an_attack_the_gradients_of_the_plain_one() -> None:
    net, split = toy_net(phi=toy_phi()).eval(), toy_split(n=5)
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    noises = [torch.randn(5, 4, side, side, generator=torch.Generator().manual_seed(side)) for side in (16, 8, 4, 2)]
    site_function, queue = net.perturbation.phi, []
    visit = site_function.visit

    def with_known_noise(x: Tensor, *arguments: object, **options: object) -> tuple[Tensor, object]:
        options["eps"] = queue.pop(0)
        assert fused.supports(x, site_function.weights) == fast
        return visit(x, *arguments, **options)

    site_function.visit = with_known_noise  # type: ignore[method-assign]
    gradients = []
    for fast in (True, False):
        queue[:] = noises
        x = (split.images.float() / 255).requires_grad_()
        with fused.plain_only() if not fast else _nothing():
            loss = F.cross_entropy(Averaged(net, 1, "logits")(x), split.labels)
            gradients.append(torch.autograd.grad(loss, x)[0])
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-6)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@pytest.mark.parametrize("method", METHODS)
def test_repeats_itself_and_leaves_no_trace(trained: nn.Module, method: str) -> None:
    trained.train()
    trained.blocks[0].eval()
    next(trained.parameters()).requires_grad_(False)
    modes = [module.training for module in trained.modules()]
    wanted = [parameter.requires_grad for parameter in trained.parameters()]
    state, values = torch.get_rng_state(), {name: value.clone() for name, value in trained.state_dict().items()}
    for parameter in trained.parameters():
        parameter.grad = None
    split, plan = toy_split(n=6), Attack(eps=0.1, steps=3, eot=2, method=method)
    first, again, other = (adversarial(trained, split, plan, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert [module.training for module in trained.modules()] == modes
    assert [parameter.requires_grad for parameter in trained.parameters()] == wanted
    assert all(parameter.grad is None for parameter in trained.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(value.equal(values[name]) for name, value in trained.state_dict().items())
    next(trained.parameters()).requires_grad_(True)
    trained.eval()


def test_averaged_is_what_its_formulas_say() -> None:
    net, x = toy_net(phi=toy_phi()).eval(), torch.rand(3, 3, 16, 16)
    torch.manual_seed(0)
    each = torch.stack([net(2 * x - 1) for _ in range(4)])
    for average, expected in (("logits", each.mean(dim=0)), ("probabilities", each.softmax(dim=2).mean(dim=0).log())):
        torch.manual_seed(0)
        torch.testing.assert_close(Averaged(net, 4, average)(x), expected)


def test_two_classes_are_enough() -> None:
    split = Split(torch.full((2, 3, 16, 16), 128, dtype=torch.uint8), torch.tensor([0, 1]))
    assert adversarial(toy_net(classes=2), split, Attack(steps=3, method="apgd")).shape == (2, 3, 16, 16)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Attack(norm="l0"), "unknown norm 'l0'"),
        (Attack(method="pdg"), "unknown method 'pdg', did you mean 'pgd'"),
        (Attack(average="gradient"), "unknown average 'gradient', did you mean 'gradients'"),
        (Attack(steps=0), "steps is 0"),
        (Attack(eot=0), "eot is 0"),
        (Attack(eps=0.0), "eps is 0.0, expected a number above 0"),
        (Attack(eps=float("nan")), "eps is nan"),
        (Attack(step_size=-1.0), "step_size is -1.0"),
    ],
)
def test_refuses_what_no_attack_can_have(plan: Attack, message: str) -> None:
    with pytest.raises(MplibError, match=message):
        adversarial(toy_net(), toy_split(n=3), plan)
    with pytest.raises(MplibError, match="batch_size is 0"):
        adversarial(toy_net(), toy_split(n=3), Attack(), batch_size=0)


@pytest.mark.parametrize(("method", "package"), [("pgd", "foolbox"), ("apgd", "pyautoattack")])
def test_says_what_to_install(method: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MplibError, match=f"pip install {package}"):
        adversarial(toy_net(), toy_split(n=3), Attack(method=method))


@pytest.mark.gpu
def test_runs_on_a_gpu() -> None:
    net, split = toy_net(phi=toy_phi()).cuda(), toy_split(n=6)
    for method in METHODS:
        moved = adversarial(net, split, Attack(eps=0.1, steps=3, eot=2, method=method))
        assert moved.is_cuda and (moved.cpu() - split.images / 255).abs().max() <= 0.1 + 1e-5
