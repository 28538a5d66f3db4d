"""Batch norms with fresh statistics, and scores after each repair."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mplib import MplibError, evaluate
from mplib.data import normalise
from mplib.evaluation import log_probabilities
from mplib.regularizers import Dropout
from mplib.second_looks import renorm, renormed, second_looks
from tests.toys import flat, toy_data, toy_net


def buffers(net: nn.Module) -> list[torch.Tensor]:
    return [value.clone() for value in net.state_dict().values()]


def test_statistics_are_those_of_the_images_and_only_inside() -> None:
    net, images = toy_net().eval(), toy_data().train.images
    first = next(module for module in net.modules() if isinstance(module, nn.BatchNorm2d))
    seen: list[torch.Tensor] = []
    first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    before = buffers(net)
    with renormed(net, images):
        maps = seen[-1]
        torch.testing.assert_close(first.running_mean, maps.mean(dim=(0, 2, 3)))
        torch.testing.assert_close(first.running_var, maps.var(dim=(0, 2, 3)))
        assert first.momentum == 0.1 and not first.training
    assert all(torch.equal(a, b) for a, b in zip(before, buffers(net), strict=True))
    with pytest.raises(RuntimeError, match="inside"), renormed(net, images):
        raise RuntimeError("inside")
    assert all(torch.equal(a, b) for a, b in zip(before, buffers(net), strict=True))


def test_it_mends_the_statistics_that_dropout_left_behind() -> None:
    """Trained with dropout, a batch norm expects a larger spread than it meets at test."""
    images = toy_data().train.images
    net = toy_net(phi=Dropout(0.5)).train()
    torch.manual_seed(0)
    for _ in range(60):
        net(normalise(images))
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    noisy = norms[1].running_var.clone()
    with renormed(net.eval(), images):
        assert (norms[1].running_var < 0.9 * noisy).all()


def test_a_second_look_leaves_the_network_and_the_first_look_alone() -> None:
    data, net = toy_data(), toy_net()
    before, first = flat(net).clone(), evaluate(net, data.test)
    answers = log_probabilities(net, data.test.images)
    found = second_looks(net, data.train, data.train, data.test, answers)
    assert evaluate(net, data.test) == first and torch.equal(flat(net), before)
    assert set(found) == {
        "renormed_accuracy", "renormed_nll", "renormed_ece", "temperature", "tempered_nll", "tempered_ece"
    }  # fmt: skip
    without = second_looks(net, data.train, None, data.test, answers)
    assert set(without) == {"renormed_accuracy", "renormed_nll", "renormed_ece"}


def test_refuses_too_few_images() -> None:
    with (
        pytest.raises(MplibError, match="1 images to take statistics of"),
        renormed(toy_net(), torch.zeros(1, 3, 8, 8)),
    ):
        pass


def test_the_permanent_kind_is_the_same_and_stays() -> None:
    """Several chunks are drawn at random, a last chunk of one image is left out, and training goes on as before."""
    images = toy_data().train.images
    inside, stays = toy_net(), toy_net()
    with renormed(inside, images):
        expected = buffers(inside)
    assert renorm(stays, images) is stays
    assert all(torch.equal(a, b) for a, b in zip(expected, buffers(stays), strict=True))
    norms = [module for module in stays.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(norm.momentum == 0.1 for norm in norms)
    assert stays.train().training and renorm(stays, images).training


def test_images_that_are_sorted_by_class_are_looked_at_in_random_order() -> None:
    dark, light = torch.full((2, 50, 3, 8, 8), -1.0).add_(torch.tensor([0.0, 2.0]).view(2, 1, 1, 1, 1))
    images = torch.cat([dark, light]) + 0.1 * torch.randn(100, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(192, 2))
    renorm(net, images, batch_size=33)  # and a last chunk of one
    assert (net[0].running_var > 0.9).all()  # the variance between the two is 1; sorted chunks would hide it
    assert net[0].num_batches_tracked == 3
