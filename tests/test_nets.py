"""The networks: their sizes, that they compute what they are said to compute, and where their blocks end."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mplib import nets
from mplib.errors import MplibError

ONE_OF_EACH_FAMILY = ["conv6", "vgg9", "resnet20", "resnet18", "wrn28_2"]


def parameters(name: str, **arguments: int | None) -> int:
    with torch.device("meta"):  # shapes without numbers
        return sum(parameter.numel() for parameter in nets.build(name, **arguments).parameters())


@pytest.mark.parametrize(
    ("name", "width", "count"),
    [
        ("conv4", 32, 41_796),
        ("conv4", 64, 138_788),
        ("conv6", 32, 60_420),
        ("vgg9", None, 9_277_284),
        ("resnet20", None, 275_572),
        ("resnet32", None, 470_004),
        ("resnet44", None, 664_436),
        ("resnet56", None, 858_868),
        ("resnet18", None, 11_227_812),
        ("resnet34", None, 21_335_972),
    ],
)
def test_parameters_are_as_many_as_in_the_authors_code(name: str, width: int | None, count: int) -> None:
    assert parameters(name, num_classes=100, image_size=32, width=width) == count


def test_wide_resnet_has_the_published_number_of_parameters() -> None:
    assert parameters("wrn28_2", num_classes=10) == 1_467_610


def test_width_is_32_unless_given() -> None:
    assert parameters("conv4", num_classes=100) == parameters("conv4", num_classes=100, width=32)
    assert [name for name in nets.names() if nets.takes_width(name)] == ["conv4", "conv6"]


@pytest.mark.parametrize("name", ONE_OF_EACH_FAMILY)
@pytest.mark.parametrize(("image_size", "in_channels"), [(32, 3), (37, 1)])
def test_logits_and_gradients(name: str, image_size: int, in_channels: int) -> None:
    torch.manual_seed(0)
    net = nets.build(name, num_classes=7, image_size=image_size, in_channels=in_channels)
    assert net.training and (net.arch, net.num_classes, net.image_size) == (name, 7, image_size)
    logits = net(torch.randn(2, in_channels, image_size, image_size))
    assert logits.shape == (2, 7)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize("name", ["conv4", "resnet20"])
def test_seed_and_arguments_repeat_a_network(name: str) -> None:
    torch.manual_seed(3)
    net = nets.build(name, 5, width=8 if name == "conv4" else None)
    torch.manual_seed(3)
    again = nets.build(**net.arguments)
    for key, value in net.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key


@pytest.mark.parametrize("name", ONE_OF_EACH_FAMILY)
def test_convolutions_are_kaiming_normal_with_fan_out(name: str) -> None:
    torch.manual_seed(0)
    for module in nets.build(name, 10).modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 2000:
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)
            assert abs(module.weight.mean().item()) < 0.1 * module.weight.std().item()


def test_resnet20_is_the_usual_one() -> None:
    """Against the textbook's block, which ends in its ReLU, and a shortcut written with slices."""
    torch.manual_seed(0)
    net = nets.build("resnet20", 10).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 3, 32, 32)
    expected = net(x)

    x = F.relu(net.stem(x))
    for stage in net.stages:
        for block in stage:
            y = F.relu(block.bn1(F.conv2d(x, block.conv1.weight, stride=block.conv1.stride, padding=1)))
            y = block.bn2(F.conv2d(y, block.conv2.weight, padding=1))
            x = F.relu(y + textbook_shortcut(x, y))
    assert torch.allclose(net.fc(F.adaptive_avg_pool2d(x, 1).flatten(1)), expected, atol=1e-4, rtol=1e-5)


def textbook_shortcut(x: Tensor, y: Tensor) -> Tensor:
    if x.shape == y.shape:
        return x
    short, extra = torch.zeros_like(y), (y.shape[1] - x.shape[1]) // 2
    short[:, extra : extra + x.shape[1]] = x[:, :, ::2, ::2]
    return short


def test_resnet18_computes_what_torchvisions_does() -> None:
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    theirs = models.resnet18(num_classes=10)
    ours = nets.build("resnet18", 10)
    renamed = {}
    for key, value in theirs.state_dict().items():
        key = re.sub(r"^layer(\d)", lambda match: f"stages.{int(match[1]) - 1}", key)
        key = re.sub(r"^conv1", "stem.conv", re.sub(r"^bn1", "stem.bn", key))
        renamed[key.replace("downsample.0", "shortcut.conv").replace("downsample.1", "shortcut.bn")] = value
    ours.load_state_dict(renamed)
    x = torch.randn(2, 3, 64, 64)
    assert torch.allclose(ours(x), theirs(x), atol=1e-5)
    assert torch.allclose(ours.eval()(x), theirs.eval()(x), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "heights"),
    [
        ("conv4", [32, 16, 8, 4]),
        ("conv6", [32, 16, 8, 8, 4, 4]),
        ("vgg9", [32, 16, 8, 8, 4, 4, 2, 2]),
    ],
)
def test_maps_are_halved_after_the_right_blocks(name: str, heights: list[int]) -> None:
    net, seen = nets.build(name, 10), []
    for block in net.blocks:
        block.bn.register_forward_hook(lambda module, args, output: seen.append(output.shape[2]))
    net(torch.zeros(2, 3, 32, 32))
    assert seen == heights


@pytest.mark.parametrize("name", ["resnet20", "resnet18", "wrn28_2"])
def test_residual_blocks_return_their_sum(name: str) -> None:
    net, outputs = nets.build(name, 10), []
    for stage in net.stages:
        for block in stage:
            block.register_forward_hook(lambda module, args, output: outputs.append(output))
    net(torch.randn(2, 3, 32, 32))
    assert all((output < 0).any() for output in outputs)  # the ReLU has not been there yet


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet21"}, "unknown network 'resnet21', did you mean 'resnet"),
        ({"num_classes": 1}, "num_classes is 1, expected an integer of at least 2"),
        ({"num_classes": "10"}, "num_classes is '10', expected an integer"),
        ({"num_classes": True}, "num_classes is True"),
        ({"image_size": 0}, "image_size is 0, expected an integer of at least 1"),
        ({"image_size": 32.0}, "image_size is 32.0"),
        ({"in_channels": 0}, "in_channels is 0"),
        ({"width": 64}, "width is 64 for resnet20, expected none: only conv4 and conv6 take one"),
        ({"name": "conv4", "width": 0}, "width is 0, expected an integer of at least 1"),
        ({"name": "conv4", "image_size": 15}, "image_size is 15, expected at least 16: the network halves"),
        ({"name": "vgg9", "image_size": 31}, "image_size is 31, expected at least 32"),
    ],
)
def test_errors_are_one_sentence(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(MplibError, match=re.escape(message)) as caught:
        nets.build(**{"name": "resnet20", "num_classes": 10, **arguments})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "image_size"), [("conv4", 16), ("conv6", 16), ("vgg9", 32), ("resnet20", 1)])
def test_smallest_images(name: str, image_size: int) -> None:
    net = nets.build(name, 3, image_size=image_size).eval()
    assert net(torch.zeros(1, 3, image_size, image_size)).shape == (1, 3)
