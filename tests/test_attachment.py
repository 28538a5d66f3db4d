"""Attached networks: what is perturbed, with which statistics, what is stored, and what is left after detach."""

from __future__ import annotations

import copy
import io
import logging
import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mplib import nets
from mplib.attachment import (
    Perturbation,
    attach,
    batch_statistics,
    detach,
    observed_sites,
    perturbation_of,
    set_strength,
    sites,
)
from mplib.errors import MplibError
from mplib.perturb import MetaPerturb


class Half(nn.Module):
    """In place of phi, something whose effect can be followed by hand: it multiplies by one half."""

    def visit(self, x: Tensor, *ratios: float, strength: Tensor, **settings: Any) -> tuple[Tensor, None]:
        return x * (1 - strength / 2), None


class PostActivation(nn.Module):
    """The residual block as most people write it: the ReLU after the sum, all of it in place or functional."""

    def __init__(self, style: str, channels: int = 4) -> None:
        super().__init__()
        self.style = style
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(self.conv(x))
        if self.style == "functional":
            return F.relu(y + x)
        if self.style == "in place":
            y += x
            return self.relu(y)
        y.add_(x)  # the result is not looked at
        return self.relu(y)

    def by_hand(self, x: Tensor, factor: float) -> Tensor:
        return F.relu(factor * (self.bn(self.conv(x)) + x))


class Small(nn.Module):
    """Two blocks with a stem and a head."""

    def __init__(self, style: str = "functional") -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.blocks = nn.Sequential(PostActivation(style), PostActivation(style))
        self.fc = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.blocks(self.stem(x)).mean((2, 3)))


def images(batch: int = 4, size: int = 32, seed: int = 0) -> Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(seed))


def a_phi(seed: int = 0, spread: float = 20.0) -> MetaPerturb:
    """An untrained phi, larger than it starts, so that everything about it shows."""
    phi = MetaPerturb(generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for parameter in phi.parameters():
            parameter.mul_(spread)
    return phi


def torchvision_network(name: str) -> nn.Module:
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    net: nn.Module = getattr(models, name)(weights=None, num_classes=10)
    return net


def a_network(name: str) -> tuple[nn.Module, int]:
    """The network of a test, and its image size."""
    if name.startswith("torchvision"):
        return torchvision_network(name.split()[1]), 64
    torch.manual_seed(0)
    if name.startswith("small"):
        return Small(name.removeprefix("small ")), 8
    return nets.build(name, 10, image_size=16, width=8 if nets.takes_width(name) else None), 16


NETWORKS = ["conv4", "resnet20", "wrn28_2", "small functional", "small in place", "small ignored"]
FOREIGN = ["torchvision resnet18", "torchvision mobilenet_v2"]


def gradients(net: nn.Module, x: Tensor) -> list[Tensor]:
    # Not the perturbation's: at strength 0 phi has no effect.
    parameters = [p for name, p in net.named_parameters() if not name.startswith("perturbation")]
    return list(torch.autograd.grad(net(x).square().sum(), parameters))


@pytest.mark.parametrize("name", [*NETWORKS, *FOREIGN])
def test_strength_zero_is_the_original_network(name: str) -> None:
    net, size = a_network(name)
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # draws of its own would follow another stream
    original = copy.deepcopy(net)
    attach(net, a_phi(), image_size=size, clip=None)
    set_strength(net, 0)
    x = images(size=size)
    for mode in (True, False):
        net.train(mode)
        original.train(mode)
        assert torch.allclose(net(x), original(x), atol=1e-6)
        for ours, theirs in zip(gradients(net, x), gradients(original, x), strict=True):
            assert torch.allclose(ours, theirs, atol=1e-5 * theirs.abs().max().item())
    for key, value in original.state_dict().items():  # batch norms have seen the same
        assert torch.allclose(net.state_dict()[key], value, atol=1e-6), key
    set_strength(net, 1)
    assert not torch.allclose(net(x), original(x), atol=1e-3)


def resnet_by_hand(net: nn.Module, x: Tensor, factor: float) -> Tensor:
    x = net.stem(x)
    for stage in net.stages:
        for block in stage:
            x = F.relu(x)
            y = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x)))))
            x = factor * (y + block.shortcut(x))
    return net.fc(F.relu(x).mean((2, 3)))


def wide_resnet_by_hand(net: nn.Module, x: Tensor, factor: float) -> Tensor:
    x = net.stem(x)
    for stage in net.stages:
        for block in stage:
            y = F.relu(block.bn1(x))
            short = x if block.shortcut is None else block.shortcut(y)
            x = factor * (block.conv2(F.relu(block.bn2(block.conv1(y)))) + short)
    return net.fc(F.relu(net.head(x)).mean((2, 3)))


def convnet_by_hand(net: nn.Module, x: Tensor, factor: float) -> Tensor:
    for block in net.blocks:
        x = F.relu(factor * block.bn(block.conv(x)))
        x = F.max_pool2d(x, 2) if block.pool else x
    return net.fc(x.flatten(1))


def small_by_hand(net: nn.Module, x: Tensor, factor: float) -> Tensor:
    x = net.stem(x)
    for block in net.blocks:
        x = block.by_hand(x, factor)
    return net.fc(x.mean((2, 3)))


def torchvision_by_hand(net: nn.Module, x: Tensor, factor: float) -> Tensor:
    x = net.maxpool(F.relu(net.bn1(net.conv1(x))))
    for layer in (net.layer1, net.layer2, net.layer3, net.layer4):
        for block in layer:
            y = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x)))))
            x = F.relu(factor * (y + (x if block.downsample is None else block.downsample(x))))
    return net.fc(x.mean((2, 3)))


BY_HAND: dict[str, Callable[[nn.Module, Tensor, float], Tensor]] = {
    "conv4": convnet_by_hand,
    "resnet20": resnet_by_hand,
    "wrn28_2": wide_resnet_by_hand,
    "small functional": small_by_hand,
    "small in place": small_by_hand,
    "small ignored": small_by_hand,
    "torchvision resnet18": torchvision_by_hand,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_the_site_is_where_it_should_be(name: str) -> None:
    """Halving every site gives what halving by hand at each sum (or batch norm) gives, gradients included."""
    net, size = a_network(name)
    x = images(size=size)
    net.train()
    reference = copy.deepcopy(net)
    expected = BY_HAND[name](reference, x, 0.5)
    wanted = torch.autograd.grad(expected.square().sum(), list(reference.parameters()))
    attach(net, Half(), image_size=size)
    assert torch.allclose(net(x), expected, atol=1e-5)
    for ours, theirs in zip(gradients(net, x), wanted, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4 * max(theirs.abs().max().item(), 1e-3))


@pytest.mark.parametrize("name", ["resnet20", "small functional", "small in place"])
def test_what_phi_sees_is_the_sum_before_its_relu(name: str) -> None:
    net, size = a_network(name)
    x = images(size=size)
    attach(net.eval(), a_phi(), image_size=size)
    with observed_sites(net) as calls:
        net(x)
    assert [call.site for call in calls] == sites(net)
    y = net.stem(x)
    if name == "resnet20":
        block, y = net.stages[0][0], F.relu(y)
        total = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(y))))) + y
    else:
        total = net.blocks[0].bn(net.blocks[0].conv(y)) + y
    assert torch.allclose(calls[0].x, total, atol=1e-6)
    assert (calls[0].x < 0).any()


@pytest.mark.parametrize("training", [True, False])
def test_a_site_is_phi_of_its_map(training: bool) -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU())
    phi = a_phi()
    attach(net, phi, image_size=16, clip=0.7, channel_ref=24).train(training)
    x = images(size=16)
    torch.manual_seed(1)
    with observed_sites(net) as calls:
        y = net(x)
    (call,) = calls
    assert (call.channel_ratio, call.spatial_ratio) == (6 / 24, 7 / 16)
    stats = phi.statistics(call.x) if training else (torch.zeros(6, 4), torch.ones(6, 4))
    torch.manual_seed(1)
    expected = F.relu(phi(call.x, 6 / 24, 7 / 16, stats=stats, clip=0.7))
    assert torch.allclose(y, expected, atol=1e-6)
    assert y.max().item() == pytest.approx(0.7)


def test_ratios_follow_the_live_map() -> None:
    net = attach(nets.build("resnet20", 10), a_phi()).eval()
    with observed_sites(net) as calls:
        net(torch.zeros(2, 3, 48, 40))
    assert [(call.channel_ratio, call.spatial_ratio) for call in calls[::3]] == [(0.25, 1.5), (0.5, 0.75), (1, 0.375)]


def test_running_statistics_follow_the_batches_in_training_mode_only() -> None:
    net, _ = a_network("resnet20")
    phi = a_phi()
    attach(net, phi, image_size=16)
    mean, var = torch.zeros(16, 4), torch.ones(16, 4)
    statistics = net.perturbation.statistics[0]
    for seed in range(3):
        with observed_sites(net) as calls:
            net(images(seed=seed))
        batch_mean, batch_var = phi.statistics(calls[0].x)
        mean, var = 0.9 * mean + 0.1 * batch_mean, 0.9 * var + 0.1 * batch_var
        assert torch.allclose(statistics.mean, mean, rtol=1e-5, atol=1e-7)
        assert torch.allclose(statistics.var, var, rtol=1e-5, atol=1e-7)
    assert not statistics.mean.requires_grad
    net.eval()
    with observed_sites(net) as calls:
        net(images(1))
    assert calls[0].stats is not None
    assert calls[0].stats[0] is statistics.mean and calls[0].stats[1] is statistics.var
    assert torch.allclose(statistics.mean, mean, rtol=1e-5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("update", [True, False])
def test_batch_statistics(training: bool, update: bool) -> None:
    net, _ = a_network("resnet20")
    phi = a_phi()
    attach(net, phi, image_size=16).train(training)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with batch_statistics(net, update=update):
        loss = net(images(size=16)).square().sum()
        assert all(gradient.abs().sum() > 0 for gradient in torch.autograd.grad(loss, list(phi.parameters())))
        assert net.perturbation.update is update
    assert net.perturbation.update is None
    changed = {key for key, value in net.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == ({key for key in before if key.startswith("perturbation.statistics")} if update else set())
    if not training:  # with running statistics the kernels get nothing
        loss = net(images(size=16)).square().sum()
        (gradient,) = torch.autograd.grad(loss, [phi.kernels], allow_unused=True)
        assert gradient is None


def test_batch_statistics_end_with_an_error_too() -> None:
    net = attach(a_network("conv4")[0], a_phi(), image_size=16).eval()
    with pytest.raises(MplibError, match="the batch has 1 image"), batch_statistics(net):
        net(images(1, 16))
    assert net(images(1, 16)).shape == (1, 10)


def test_a_batch_of_one_image() -> None:
    net = attach(a_network("resnet20")[0], a_phi(), image_size=16)
    with pytest.raises(MplibError, match="the batch has 1 image"):
        net(images(1, 16))
    assert net.eval()(images(1, 16)).shape == (1, 10)


@pytest.mark.parametrize("name", ["conv4", "resnet20", "small functional", "torchvision resnet18"])
def test_the_network_stays_itself(name: str) -> None:
    net, size = a_network(name)
    state = net.state_dict(keep_vars=True)
    kind, parameters = type(net), dict(net.named_parameters())
    phi = a_phi()
    assert attach(net, phi, image_size=size) is net
    assert type(net) is kind and net.perturbation.phi is phi
    attached = net.state_dict(keep_vars=True)
    assert all(attached[key] is value for key, value in state.items())
    assert all(dict(net.named_parameters())[key] is value for key, value in parameters.items())
    new = set(attached) - set(state)
    count = len(sites(net))
    expected = {f"perturbation.statistics.{i}.{part}" for i in range(count) for part in ("mean", "var")}
    assert new == expected | {f"perturbation.phi.{key}" for key in phi.state_dict()}
    assert sum(attached[key].numel() for key in new if ".phi." in key) == 82
    assert not any("phi" in key or "strength" in key for key in set(attached) - new)


@pytest.mark.parametrize("name", ["conv4", "resnet20", "small functional", "small ignored", "torchvision resnet18"])
def test_detach_restores_everything(name: str) -> None:
    net, size = a_network(name)
    original = copy.deepcopy(net)
    insides = {module: (set(module.__dict__), dict(module._forward_hooks)) for module in net.modules()}
    attach(net, a_phi(), image_size=size)
    assert perturbation_of(net) is not None
    assert detach(net) is net and perturbation_of(net) is None
    assert {module: (set(module.__dict__), dict(module._forward_hooks)) for module in net.modules()} == insides
    assert list(net.state_dict()) == list(original.state_dict())
    x = images(size=size)
    assert torch.equal(net(x), original(x))
    assert torch.equal(net.eval()(x), original.eval()(x))
    attach(net, a_phi(), image_size=size)  # and again
    with pytest.raises(MplibError, match="call detach"):
        attach(net, a_phi(), image_size=size)
    detach(net)
    with pytest.raises(MplibError, match="nothing is attached"):
        detach(net)


def by_deepcopy(net: nn.Module) -> nn.Module:
    return copy.deepcopy(net)


def by_pickle(net: nn.Module) -> nn.Module:
    again: nn.Module = pickle.loads(pickle.dumps(net))
    return again


def by_torch_save(net: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    again: nn.Module = torch.load(file, weights_only=False)
    return again


@pytest.mark.parametrize("name", ["resnet20", "small in place", "torchvision resnet18"])
@pytest.mark.parametrize("copied", [by_deepcopy, by_pickle, by_torch_save])
def test_copies_have_a_phi_of_their_own(name: str, copied: Callable[[nn.Module], nn.Module]) -> None:
    net, size = a_network(name)
    attach(net, a_phi(), image_size=size)
    set_strength(net, 0.5)
    x = images(size=size)
    net(x)
    twin = copied(net)

    def answer(network: nn.Module) -> Tensor:
        torch.manual_seed(5)
        output: Tensor = network(x)
        return output

    net.eval()
    twin.eval()
    expected = answer(net)
    assert torch.equal(answer(twin), expected)
    with torch.no_grad():
        for parameter in net.perturbation.phi.parameters():
            parameter.add_(1)
        net.perturbation.statistics[0].mean.add_(1)
    set_strength(net, 1)
    assert not torch.allclose(answer(net), expected)
    assert torch.equal(answer(twin), expected)
    before = net.perturbation.statistics[0].mean.clone()
    twin.train()(x)
    assert torch.equal(net.perturbation.statistics[0].mean, before)
    with observed_sites(net) as calls:
        twin(x)
    assert calls == []
    detach(twin)
    assert not torch.equal(answer(net), answer(net.train()))
    assert not any(isinstance(module, Perturbation) for module in twin.modules())
    assert torch.equal(answer(twin), answer(twin))


def test_statistics_survive_save_load_and_to() -> None:
    net = attach(a_network("resnet20")[0], a_phi(), image_size=16)
    net(images(size=16))
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    other = attach(nets.build("resnet20", 10, image_size=16), MetaPerturb(), image_size=16)
    other.load_state_dict(torch.load(file, weights_only=True))
    x = images(size=16, seed=3)
    net.eval()
    other.eval()
    torch.manual_seed(0)
    expected = net(x)
    torch.manual_seed(0)
    assert torch.equal(other(x), expected)
    other.double()
    assert other.perturbation.statistics[0].mean.dtype == torch.float64
    assert other(x.double()).dtype == torch.float64
    assert torch.allclose(
        other.perturbation.statistics[8].var, net.perturbation.statistics[8].var.double(), atol=0, rtol=0
    )


def test_a_phi_joins_the_precision_of_the_network() -> None:
    net, _ = a_network("conv4")
    attach(net.double(), a_phi(), image_size=16)
    assert net(images(size=16).double()).dtype == torch.float64


def test_networks_may_share_a_phi() -> None:
    phi = a_phi()
    one = attach(nets.build("resnet20", 4, image_size=16), phi, image_size=16)
    two = attach(nets.build("conv4", 7, image_size=16, width=4), phi, image_size=16)
    assert one.perturbation.phi is two.perturbation.phi is phi
    one(images(size=16))
    assert (two.perturbation.statistics[0].mean == 0).all()
    (one(images(size=16)).square().sum() + two(images(size=16)).square().sum()).backward()
    assert all(parameter.grad is not None for parameter in phi.parameters())
    detach(one)
    assert perturbation_of(two) is not None and two(images(size=16)).shape == (4, 7)


def test_one_function_for_each_site() -> None:
    net, _ = a_network("conv4")
    functions = nn.ModuleList([Half(), Half(), Half(), a_phi()])
    attach(net, functions, image_size=16)
    with observed_sites(net) as calls:
        net(images(size=16))
    assert [call.stats is None for call in calls] == [True, True, True, False]
    detach(net)
    with pytest.raises(MplibError, match=r"phi has 3 functions, expected one for each of the network's 4 sites"):
        attach(net, functions[:3], image_size=16)


def test_strength_moves_between_the_original_and_the_full_perturbation() -> None:
    net, _ = a_network("conv4")
    x = images(size=16)
    reference = copy.deepcopy(net).eval()
    attach(net.eval(), Half(), image_size=16)
    for strength in (0, 0.25, torch.tensor(0.5).item(), 1):
        set_strength(net, strength)
        assert torch.allclose(net(x), convnet_by_hand(reference, x, 1 - strength / 2), atol=1e-5)


def test_clip_bounds_every_site() -> None:
    net = attach(a_network("resnet20")[0], a_phi(), image_size=16, clip=0.25)
    outputs = []
    net.stages[0][0].register_forward_hook(lambda module, args, output: outputs.append(output))
    net(images(size=16))
    assert outputs[0].max().item() == 0.25 and outputs[0].min().item() < -0.25


def test_noise_follows_the_generator_or_torchs_own() -> None:
    net = attach(a_network("conv4")[0], a_phi(), image_size=16).eval()
    x = images(size=16)
    torch.manual_seed(1)
    expected = net(x)
    assert not torch.equal(net(x), expected)
    torch.manual_seed(1)
    assert torch.equal(net(x), expected)
    net.perturbation.generator = torch.Generator().manual_seed(2)
    state = torch.random.get_rng_state()
    expected = net(x)
    assert torch.equal(torch.random.get_rng_state(), state)
    net.perturbation.generator.manual_seed(2)
    assert torch.equal(copy.deepcopy(net)(x), expected)


def test_modules_that_the_user_named() -> None:
    net, _ = a_network("conv4")
    reference = copy.deepcopy(net).eval()
    attach(net.eval(), Half(), image_size=16, sites=["blocks.1", "blocks.3.conv"])
    x = images(size=16)
    y = reference.blocks[0](x)
    y = reference.blocks[2](reference.blocks[1](y) / 2)
    last = reference.blocks[3]
    y = F.max_pool2d(F.relu(last.bn(last.conv(y) / 2)), 2)
    assert torch.allclose(net(x), reference.fc(y.flatten(1)), atol=1e-6)
    assert [str(site) for site in sites(net)] == ["blocks.1: named, 8 x 4 x 4", "blocks.3.conv: named, 8 x 2 x 2"]


class Nested(nn.Module):
    """Sums in a module, in a module inside it, and again in the outer one; and one that is no site."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.inner = PostActivation("functional")

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        bias = torch.ones(1, 4, 1, 1)
        y = torch.sin((x + bias) + x)
        y = torch.cos(self.inner(y) + y)
        return y * 1

    def by_hand(self, x: Tensor, factor: float) -> Tensor:
        x = self.conv(x)
        y = torch.sin((2 * x + 1) * factor)
        return torch.cos((self.inner.by_hand(y, factor) + y) * factor)


@pytest.mark.parametrize("batch", [1, 3])
def test_sums_within_sums(batch: int) -> None:
    net = Nested().eval()
    reference = copy.deepcopy(net)
    attach(net, Half(), image_size=8)
    assert [(site.name, site.addition) for site in sites(net)] == [("", 1), ("inner", 0), ("", 2)]
    x = images(batch, 8)
    assert torch.allclose(net(x), reference.by_hand(x, 0.5), atol=1e-6)
    assert "forward" in net.__dict__ and "forward" not in detach(net).__dict__
    assert torch.equal(net(x), reference(x))


def test_additions_of_phi_itself_are_not_counted() -> None:
    """phi adds maps too; the statistics of a real phi inside a counted forward must not shift the count."""
    net = attach(Nested(), a_phi(), image_size=8)
    with observed_sites(net) as calls:
        net(images(size=8))
    assert [(call.site.name, call.site.addition) for call in calls] == [("", 1), ("inner", 0), ("", 2)]


def test_a_network_may_be_a_sequential() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
    attach(net, a_phi(), image_size=8)
    assert net(images(size=8)).shape == (4, 2)
    assert len(detach(net)) == 5


def test_a_wrapped_network_is_known_by_its_part() -> None:
    inner = attach(Small(), Half(), image_size=8)
    wrapped = nn.Sequential(nn.Identity(), inner)
    assert perturbation_of(wrapped) is inner.perturbation and sites(wrapped) == sites(inner)
    set_strength(wrapped, 0.25)
    assert inner.perturbation.strength.item() == 0.25
    detach(wrapped)
    assert perturbation_of(inner) is None and not hasattr(inner, "perturbation")


def test_a_map_that_does_not_fit_its_site() -> None:
    net = attach(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU()), a_phi(), image_size=8)
    net[0].weight = nn.Parameter(torch.zeros(5, 3, 1, 1))
    net[0].bias = None
    net[1].forward = lambda x: x
    with pytest.raises(MplibError, match=r"the site '1' got \(2, 5, 8, 8\), expected a map with 4 channels"):
        net(images(2, 8))


@pytest.mark.parametrize("make", [lambda: nets.build("conv4", 3, image_size=16, width=4), lambda: Small("functional")])
def test_many_networks_under_vmap(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    networks = [attach(make(), a_phi(), image_size=16) for _ in range(3)]
    for i, net in enumerate(networks):
        set_strength(net, i / 2)
    parameters, buffers = torch.func.stack_module_state(networks)
    skeleton = copy.deepcopy(networks[0])
    x = images(size=16)

    def run(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        logits: Tensor = torch.func.functional_call(skeleton, (parameters, buffers), (x,))
        return logits

    logits = torch.vmap(run, randomness="different")(parameters, buffers)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in parameters.values())
    networks[0](x)  # strength 0, so without noise
    assert torch.allclose(logits[0], networks[0](x), atol=1e-5)
    for key in ("mean", "var"):
        stacked = buffers[f"perturbation.statistics.0.{key}"]
        for i, net in enumerate(networks):
            fresh = attach(make(), a_phi(), image_size=16)
            fresh.load_state_dict({**net.state_dict(), **{k: v for k, v in fresh.state_dict().items() if "stat" in k}})
            fresh(x)
            assert torch.allclose(stacked[i], getattr(fresh.perturbation.statistics[0], key), atol=1e-6)
    assert (skeleton.perturbation.statistics[0].mean == 0).all()


@pytest.mark.parametrize("name", ["resnet20", "small in place"])
def test_autocast(name: str) -> None:
    net, size = a_network(name)
    attach(net, a_phi(), image_size=size)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = net(images(size=size)).float().square().sum()
    loss.backward()
    assert net.perturbation.statistics[0].mean.dtype == torch.float32
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_modes_follow_the_network() -> None:
    net = attach(a_network("conv4")[0].eval(), a_phi(), image_size=16)
    assert not net.perturbation.training
    assert net.train().perturbation.training
    assert attach(a_network("conv4")[0], a_phi(), image_size=16).perturbation.training


def test_sites_are_listed(caplog: pytest.LogCaptureFixture) -> None:
    plain, _ = a_network("resnet20")
    found = sites(plain, image_size=16)
    with caplog.at_level(logging.INFO, "mplib"):
        attach(plain, a_phi(), image_size=16)
    assert sites(plain) == found and len(found) == 9
    assert "ResNet, 9 sites:" in caplog.text and "stages.2.0: sum, 64 x 4 x 4" in caplog.text
    assert "stages.2.0: sum, 64 x 4 x 4" in repr(plain)


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan"), "1", None, True])
def test_strength_out_of_range(strength: Any) -> None:
    net = attach(a_network("conv4")[0], a_phi(), image_size=16)
    with pytest.raises(MplibError, match=re.escape(f"strength is {strength!r}, expected a number from 0 to 1")):
        set_strength(net, strength)
    assert net.perturbation.strength.item() == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"net": "resnet20"}, "net is 'resnet20', expected a torch module"),
        ({"phi": nn.ReLU()}, "phi is of type ReLU, expected a MetaPerturb"),
        ({"phi": None}, "phi is of type NoneType, expected a MetaPerturb"),
        ({"clip": 0}, "clip is 0, expected a positive number or None"),
        ({"clip": float("inf")}, "clip is inf, expected a positive number or None"),
        ({"channel_ref": -1}, "channel_ref is -1, expected a positive number or None"),
        ({"image_size": 0}, "image_size is 0, expected a whole number of pixels"),
        ({"image_size": 32}, "image_size is 32, expected 16, for which ConvNet was built"),
        ({"sites": ["block"]}, "unknown module 'block'"),
        ({"net": nn.Sequential(nn.Conv2d(3, 4, 1))}, "name the modules to perturb with sites=[...]"),
    ],
)
def test_errors_change_nothing(arguments: dict[str, Any], message: str) -> None:
    net = arguments.get("net", a_network("conv4")[0])
    with pytest.raises(MplibError, match=re.escape(message)) as caught:
        attach(**{"net": net, "phi": a_phi(), "image_size": 16, **arguments})
    assert "\n" not in str(caught.value)
    if isinstance(net, nn.Module):
        assert perturbation_of(net) is None
        assert not any(module._forward_hooks or "forward" in module.__dict__ for module in net.modules())


def test_a_part_that_is_attached_already_or_a_name_that_is_taken() -> None:
    inner = attach(Small(), a_phi(), image_size=8)
    with pytest.raises(MplibError, match="has a perturbation already"):
        attach(nn.Sequential(inner), a_phi(), image_size=8)
    with pytest.raises(MplibError, match="parts with 2 perturbations, expected one"):
        set_strength(nn.ModuleList([inner, copy.deepcopy(inner)]), 0)
    taken = Small()
    taken.perturbation = "mine"
    with pytest.raises(MplibError, match="an attribute 'perturbation' of its own"):
        attach(taken, a_phi(), image_size=8)
    assert perturbation_of(taken) is None


@pytest.mark.parametrize("call", [lambda net: set_strength(net, 1), lambda net: batch_statistics(net).__enter__()])
def test_a_plain_network_has_no_settings(call: Callable[[nn.Module], object]) -> None:
    with pytest.raises(MplibError, match="nothing is attached to Small, expected a network after attach"):
        call(Small())
