from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from mplib import MplibError, attack, evaluate
from mplib.stats import wilson
from mplib.training import train
from tests.toys import toy_data, toy_net, toy_phi, toy_split

TEST = toy_split(n=36, seed=1)


def learned(phi: nn.Module | None) -> nn.Module:
    net = toy_net(phi=phi)
    train(net, toy_data(), steps=150, batch_size=24, learning_rate=1e-2, augment=False, device="cpu")
    return net


@pytest.fixture(scope="module")
def plain() -> nn.Module:
    return learned(None)


@pytest.fixture(scope="module")
def noisy() -> nn.Module:
    return learned(toy_phi())


def test_a_large_ball_leaves_nothing_and_a_tiny_one_everything(plain: nn.Module, noisy: nn.Module) -> None:
    for net in (plain, noisy):
        tiny, large = attack(net, TEST, eps=[1e-5, 0.9], steps=30, eot=4)
        assert tiny.clean == large.clean > 0.8
        assert tiny.accuracy >= tiny.clean - 2 / 36 and large.accuracy <= 0.05


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_a_large_ball_leaves_nothing_in_other_norms(plain: nn.Module, norm: str) -> None:
    assert attack(plain, TEST, norm=norm, eps={"l2": 12.0, "l1": 400.0}[norm], steps=40).accuracy <= 0.05


def test_scores_are_what_their_names_say(noisy: nn.Module) -> None:
    result = attack(noisy, TEST, eps=0.1, steps=5, eot=3, samples=7, restarts=2, seed=4)
    assert (result.accuracy_low, result.accuracy_high) == wilson(round(36 * result.accuracy), 36)
    assert result.n == 36 and result.samples == 7 and result.eot == 3 and not result.transferred
    assert result.row()["restarts"] == 2 and result.accuracy <= result.clean
    assert result == attack(noisy, TEST, eps=0.1, steps=5, eot=3, samples=7, restarts=2, seed=4)
    assert abs(result.clean - evaluate(noisy, TEST, samples=100).accuracy) <= 3 / 36


def test_more_restarts_never_leave_more(noisy: nn.Module) -> None:
    once, often = (attack(noisy, TEST, eps=0.08, steps=4, eot=2, restarts=n) for n in (1, 3))
    assert often.accuracy <= once.accuracy


def test_a_network_without_noise_is_asked_once(plain: nn.Module) -> None:
    result = attack(plain, TEST, eps=0.05, steps=3, eot=10, samples=50)
    assert result.eot == 1 and result.samples == 1


def test_faces_the_same_images_whatever_the_seed(plain: nn.Module) -> None:
    seen: list[torch.Tensor] = []
    handle = plain.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for seed in (0, 1):
        assert attack(plain, TEST, eps=0.05, steps=1, images=10, seed=seed).n == 10
    handle.remove()
    assert torch.equal(seen[0], seen[len(seen) // 2])


def test_a_transfer_attack_follows_the_gradients_of_the_other_network(plain: nn.Module, noisy: nn.Module) -> None:
    calls = {"plain": 0, "noisy": 0}

    def count(name: str) -> Callable[[nn.Module, object], None]:
        return lambda *_: calls.update({name: calls[name] + 1})

    handles = [net.register_forward_pre_hook(count(name)) for name, net in (("plain", plain), ("noisy", noisy))]
    result = attack(noisy, TEST, eps=0.1, steps=6, samples=5, surrogate=plain)
    for handle in handles:
        handle.remove()
    assert result.transferred and result.eot == 1 and result.samples == 5
    assert calls == {"plain": 6, "noisy": 10}  # a gradient for each step; two predictions of five samples
    own = attack(noisy, TEST, eps=0.1, steps=6, samples=5, eot=4)
    assert own.accuracy <= result.accuracy + 3 / 36


def test_refuses_what_cannot_be(plain: nn.Module) -> None:
    for options, message in (
        ({"samples": 0}, "samples is 0"),
        ({"restarts": 0}, "restarts is 0"),
        ({"images": 0}, "images is 0"),
        ({"eps": []}, "there are no radii"),
        ({"eps": [0.1, -0.1]}, "eps is -0.1"),
        ({"norm": "linfty"}, "unknown norm 'linfty', did you mean 'linf'"),
    ):
        with pytest.raises(MplibError, match=message):
            attack(plain, TEST, **options)
