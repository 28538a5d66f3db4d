"""Sites found in networks of every make, and a probe that leaves no trace."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from mplib import nets
from mplib.discovery import Site, find_sites
from mplib.errors import MplibError


class Toy(nn.Module):
    """One convolution, and whatever comes after it."""

    def __init__(self, rest: Callable[[Toy, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.rest = rest

    def forward(self, x: Tensor) -> Tensor:
        return self.rest(self, self.conv(x))


class Block(nn.Module):
    def __init__(self, forward: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def names_and_numbers(net: nn.Module) -> list[tuple[str, int | None]]:
    return [(site.name, site.addition) for site in find_sites(net, 8)]


@pytest.mark.parametrize(
    ("name", "count", "channels"),
    [
        ("conv4", 4, 32),
        ("conv6", 6, 32),
        ("vgg9", 8, 512),
        ("resnet20", 9, 64),
        ("resnet32", 15, 64),
        ("resnet44", 21, 64),
        ("resnet56", 27, 64),
        ("resnet18", 8, 512),
        ("resnet34", 16, 512),
        ("wrn28_2", 12, 128),
    ],
)
def test_sites_of_our_networks(name: str, count: int, channels: int) -> None:
    with torch.device("meta"):  # shapes are enough to find sites
        net = nets.build(name, 10)
    sites = find_sites(net)
    assert len(sites) == count
    assert max(site.channels for site in sites) == channels
    assert all(site.addition is None for site in sites)  # each is what a module returns
    assert {site.kind for site in sites} == {"sum" if "res" in name or "wrn" in name else "batch norm"}


@pytest.mark.parametrize(
    ("name", "count", "first"),
    [
        ("resnet18", 8, Site("layer1.0", 64, 16, 16, "sum", addition=0)),
        ("resnet50", 16, Site("layer1.0", 256, 16, 16, "sum", addition=0)),
        ("vgg11_bn", 8, Site("features.1", 64, 64, 64, "batch norm")),
        ("mobilenet_v2", 10, Site("features.3", 24, 16, 16, "sum")),
        ("densenet121", 121, Site("features.norm0", 64, 32, 32, "batch norm")),
    ],
)
def test_sites_of_torchvisions_networks(name: str, count: int, first: Site) -> None:
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        net = getattr(models, name)(weights=None)
    sites = find_sites(net, 64)
    assert len(sites) == count
    assert sites[0] == first


def test_sizes_follow_the_image_and_the_first_convolution() -> None:
    net = nets.build("resnet20", 10, image_size=84, in_channels=1)
    sites = find_sites(net, 84)
    assert [(site.channels, site.height) for site in sites[::3]] == [(16, 84), (32, 42), (64, 21)]
    assert str(sites[3]) == "stages.1.0: sum, 32 x 42 x 42"


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        # Sums, in all their spellings; with something after them they have a number.
        (lambda net, x: x + net.bn(x), [("", None)]),
        (lambda net, x: torch.add(input=x, other=net.bn(x), alpha=2), [("", None)]),
        (lambda net, x: F.relu(x + net.bn(x)), [("", 0)]),
        (lambda net, x: net.relu(net.bn(x).add_(x)), [("", 0)]),  # the in-place ReLU returns the sum's own tensor
        (lambda net, x: net.drop(x + net.bn(x)), [("", 0)]),  # as does dropout in eval mode
        (lambda net, x: F.relu(x + 1) + x.mean((2, 3), keepdim=True) + F.relu(x), [("", None)]),
        (lambda net, x: F.relu(x + net.bn(x)) + x, [("", 0), ("", None)]),
        (lambda net, x: sum([x, net.bn(x)]), [("", None)]),
        # No feature maps, or not of equal shape: the batch norm that feeds an activation counts.
        (lambda net, x: F.relu(net.bn(x)) + torch.ones(1, 4, 8, 8), [("bn", None)]),
        (lambda net, x: net.relu(net.bn(x)) + 1, [("bn", None)]),
        (lambda net, x: F.leaky_relu_(net.bn(x)), [("bn", None)]),
        (lambda net, x: F.hardtanh(net.bn(x), 0, 6), [("bn", None)]),
        (lambda net, x: net.bn(x) * torch.sigmoid(net.bn(x)), [("bn", None)]),
        (lambda net, x: net.bn(F.gelu(net.bn(x))), [("bn", None)]),
        (lambda net, x: net.bn(x).clamp(min=0), [("bn", None)]),
        (lambda net, x: F.relu(net.bn(x)).flatten(1) + F.relu(x).flatten(1), [("bn", None)]),
    ],
)
def test_the_rule(rest: Callable[[Toy, Tensor], Tensor], expected: list[tuple[str, int | None]]) -> None:
    assert names_and_numbers(Toy(rest)) == expected


def test_a_sum_belongs_to_the_innermost_module() -> None:
    inner = Block(lambda x: F.relu(x + 2 * x))
    outer = Block(lambda x: F.relu(x + inner(x)))
    outer.inner = inner
    net = nn.Sequential(nn.Conv2d(1, 2, 1), outer)
    assert names_and_numbers(net) == [("1.inner", 0), ("1", 0)]


class Restless(nn.Module):
    """A block with an addition before its sum that is made in training mode only, or that is left out as a whole."""

    def __init__(self, skipped: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.skipped = skipped

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.skipped:
            return x
        y = x + torch.randn_like(x) if self.training else x
        return torch.relu(x + self.conv(y))


def test_a_sum_whose_number_depends_on_the_mode() -> None:
    net = nn.Sequential(Restless(skipped=False)).train()
    before = torch.get_rng_state()
    with pytest.raises(
        MplibError, match=r"^the module '0' adds maps 1 times in eval mode and 2 times in training mode"
    ):
        find_sites(net, 8)
    assert net[0].training and torch.equal(before, torch.get_rng_state())
    assert [site.name for site in find_sites(net, 8, ["0"])] == ["0"]


def test_a_block_that_training_may_skip() -> None:
    assert names_and_numbers(nn.Sequential(Restless(skipped=True))) == [("0", 0)]


def test_an_outer_module_that_returns_an_inner_modules_sum() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Sequential(Block(lambda x: x + x)))
    assert names_and_numbers(net) == [("1.0", None)]


def test_a_module_that_runs_twice_is_one_site() -> None:
    twice = Block(lambda x: x + x)
    net = nn.Sequential(nn.Conv2d(1, 2, 1), twice, nn.MaxPool2d(2), twice)
    assert find_sites(net, 8) == [Site("1", 2, 8, 8, "sum")]


def test_a_module_that_runs_with_two_numbers_of_channels() -> None:
    twice = Block(lambda x: x + x)
    net = nn.Sequential(nn.Conv2d(1, 2, 1), twice, nn.Conv2d(2, 3, 1), twice)
    with pytest.raises(MplibError, match=r"'1' runs with 2 and with 3 channels.*sites="):
        find_sites(net, 8)


def test_a_sum_of_weights_is_no_site() -> None:
    class Plus(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return weight + weight

    net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU())
    parametrize.register_parametrization(net[0], "weight", Plus())
    assert names_and_numbers(net) == [("1", None)]


class Stateful(nn.Module):
    """Does everything to itself that a network should not do in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.bn = nn.BatchNorm2d(4)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("last", torch.zeros(()))
        self.modes: list[bool] = []

    def train(self, mode: bool = True) -> Stateful:
        super().train(mode)
        self.bn.eval()  # frozen
        return self

    def forward(self, x: Tensor) -> Tensor:
        self.modes.append(self.training)
        self.calls += 1
        self.last = x.mean() + 1
        return F.dropout(F.relu(self.bn(self.conv(x))), training=True)


def test_the_probe_leaves_no_trace() -> None:
    net = Stateful().train()
    hooks = lambda: sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())  # noqa: E731
    state = {key: value.clone() for key, value in net.state_dict().items()}
    flags = [module.training for module in net.modules()]
    buffers = dict(net.named_buffers())
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    find_sites(net, 8)
    assert torch.equal(torch.rand(3), expected)
    assert net.modes == [False]
    assert [module.training for module in net.modules()] == flags == [True, True, False]
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert all(buffer is buffers[name] for name, buffer in net.named_buffers())
    assert hooks() == 0
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_probe_that_fails_leaves_no_trace() -> None:
    net = nets.build("conv4", 10)
    with pytest.raises(MplibError, match=r"ConvNet could not be run on images of shape \(2, 3, 20, 20\).*sites=") as e:
        find_sites(net, 20)
    assert "\n" not in str(e.value)
    assert net.training and all(module.training for module in net.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_precision_of_the_network() -> None:
    assert len(find_sites(nets.build("resnet20", 10).double())) == 9


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()), "no site was found in Sequential"),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), "no batch norm module feeds an activation"),
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), "has no 2-D convolution"),
        (nn.Bilinear(2, 2, 2), "has no 2-D convolution"),
    ],
)
def test_networks_without_sites(net: nn.Module, message: str) -> None:
    with pytest.raises(MplibError, match=rf"{re.escape(message)}.*sites="):
        find_sites(net, 8)


def test_named_modules() -> None:
    net = nets.build("conv4", 10, width=8)
    assert find_sites(net, 32, ["blocks.2", "blocks.0.conv"]) == [
        Site("blocks.2", 8, 4, 4, "named"),
        Site("blocks.0.conv", 8, 32, 32, "named"),
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["blocks.9"], "unknown module 'blocks.9', did you mean 'blocks.3'"),
        (["fc"], "the module 'fc' in sites= returns a tensor of shape (2, 10), expected"),
        ([], "sites is [], expected a list of different module names"),
        ("blocks.0", "sites is 'blocks.0', expected a list"),
        (["blocks.0", "blocks.0"], "expected a list of different module names"),
    ],
)
def test_names_that_cannot_be_sites(names: list[str], message: str) -> None:
    with pytest.raises(MplibError, match=re.escape(message).replace("blocks\\.3", r"blocks\.\d")):
        find_sites(nets.build("conv4", 10), 32, names)


def test_a_named_module_that_does_not_run() -> None:
    net = Toy(lambda net, x: F.relu(x))
    with pytest.raises(MplibError, match="'bn' in sites= does not run"):
        find_sites(net, 8, ["bn"])


def test_a_network_that_cannot_be_run_may_name_its_batch_norms() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn, self.act = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU()

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.act(self.bn(self.conv(x))) + y

    net = Two()
    with pytest.raises(MplibError, match="could not be run on images"):
        find_sites(net, 8)
    assert find_sites(net, 8, ["bn", "conv"]) == [
        Site("bn", 4, None, None, "named"),
        Site("conv", 4, None, None, "named"),
    ]
    with pytest.raises(MplibError, match="could not be run on images"):
        find_sites(net, 8, ["act"])
    assert str(find_sites(net, 8, ["bn"])[0]) == "bn: named, 4 x ? x ?"
