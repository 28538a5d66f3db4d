"""The networks of the method's experiments, plain: nothing here knows of phi.

The one idea is where a module ends. A residual block *returns its sum*, and the ReLU that follows the sum is
the first thing the next block (or the head) does. A batch norm is a module of its own. So every place where a
perturbation belongs is the output of a module, and an ordinary forward hook reaches it, while the function
that the network computes is the usual one.

Two families: convolutional networks (conv4, conv6, vgg9), which are convolution, batch norm, ReLU and max
pool in a row; and residual networks (resnet20 to resnet56, resnet18 and resnet34, wrn28_2).
"""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mplib.errors import MplibError, unknown


class ConvBlock(nn.Module):
    """Convolution, batch norm, ReLU, and a 2x2 max pool if ``pool``."""

    def __init__(self, c_in: int, c_out: int, pool: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.bn = nn.BatchNorm2d(c_out)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.conv(x)))
        return F.max_pool2d(x, 2) if self.pool else x


class ConvNet(nn.Module):
    """Blocks in a row, and one linear layer on the flattened map.

    Args:
        widths: the channels of each block.
        pools: the numbers, from 1, of the blocks that end in a max pool.
        num_classes, image_size, in_channels: as in ``build``.
    """

    def __init__(
        self, widths: list[int], pools: set[int], *, num_classes: int, image_size: int, in_channels: int
    ) -> None:
        super().__init__()
        size = image_size // 2 ** len(pools)
        if size < 1:
            raise MplibError(
                f"image_size is {image_size}, expected at least {2 ** len(pools)}: "
                f"the network halves the image {len(pools)} times"
            )
        pairs = zip([in_channels, *widths], widths, strict=False)
        self.blocks = nn.Sequential(*(ConvBlock(a, b, pool=i in pools) for i, (a, b) in enumerate(pairs, start=1)))
        self.fc = nn.Linear(widths[-1] * size**2, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(torch.flatten(self.blocks(x), 1))
        return logits


def _conv3x3(c_in: int, c_out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1, bias=False)


class PaddedShortcut(nn.Module):
    """Option A of He et al. (2016): every second pixel, half of the new zero channels on each side."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (c_out - c_in) // 2
        self.after = c_out - c_in - self.before

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


class ProjectedShortcut(nn.Sequential):
    """Option B of He et al. (2016): a 1x1 convolution and a batch norm."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        parts = OrderedDict[str, nn.Module](
            conv=nn.Conv2d(c_in, c_out, 1, stride=stride, bias=False), bn=nn.BatchNorm2d(c_out)
        )
        super().__init__(parts)


class BasicBlock(nn.Module):
    """The residual block of He et al. (2016), from one sum to the next: it begins with the ReLU of its input."""

    def __init__(self, c_in: int, c_out: int, stride: int, shortcut: Callable[[int, int, int], nn.Module]) -> None:
        super().__init__()
        self.conv1 = _conv3x3(c_in, c_out, stride)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = _conv3x3(c_out, c_out)
        self.bn2 = nn.BatchNorm2d(c_out)
        same = c_in == c_out and stride == 1
        self.shortcut = nn.Identity() if same else shortcut(c_in, c_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        total: Tensor = y + self.shortcut(x)
        return total


class PreActBlock(nn.Module):
    """The pre-activation block of Zagoruyko and Komodakis (2016): batch norm, ReLU, convolution, twice.

    Where the shape changes, the shortcut is a 1x1 convolution of the activated input.
    """

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(c_in)
        self.conv1 = _conv3x3(c_in, c_out, stride)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.conv2 = _conv3x3(c_out, c_out)
        same = c_in == c_out and stride == 1
        self.shortcut = None if same else nn.Conv2d(c_in, c_out, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(x))
        identity = x if self.shortcut is None else self.shortcut(y)
        y = self.conv2(F.relu(self.bn2(self.conv1(y))))
        total: Tensor = y + identity
        return total


class ResNet(nn.Module):
    """A stem, stages of residual blocks, and ReLU, global average pooling and a linear layer as the head.

    Args:
        stem: from the image to the first block's input, without a ReLU (the first block has it).
        block: makes a block from input channels, output channels and stride.
        c_stem: the channels of the stem's output.
        widths: the channels of each stage; every stage but the first begins with stride 2.
        depth: blocks in each stage.
        num_classes: outputs of the linear layer.
        head: what comes between the last sum and its ReLU: a batch norm in pre-activation networks.
    """

    def __init__(
        self,
        stem: nn.Module,
        block: Callable[[int, int, int], nn.Module],
        *,
        c_stem: int,
        widths: list[int],
        depth: list[int],
        num_classes: int,
        head: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.stages = nn.Sequential()
        c_in = c_stem
        for i, (width, blocks) in enumerate(zip(widths, depth, strict=True)):
            first = block(c_in, width, 1 if i == 0 else 2)
            self.stages.append(nn.Sequential(first, *(block(width, width, 1) for _ in range(blocks - 1))))
            c_in = width
        self.head = head or nn.Identity()
        self.fc = nn.Linear(c_in, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.head(self.stages(self.stem(x))))
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


def _convnet(widths: list[int], pools: set[int]) -> Callable[..., nn.Module]:
    def make(num_classes: int, image_size: int, width: int | None, in_channels: int) -> nn.Module:
        each = widths if width is None else [width] * len(widths)
        return ConvNet(each, pools, num_classes=num_classes, image_size=image_size, in_channels=in_channels)

    return make


def _small_resnet(depth: int) -> Callable[..., nn.Module]:
    def block(c_in: int, c_out: int, stride: int) -> nn.Module:
        return BasicBlock(c_in, c_out, stride, PaddedShortcut)

    def make(num_classes: int, image_size: int, width: int | None, in_channels: int) -> nn.Module:
        stem = nn.Sequential(OrderedDict[str, nn.Module](conv=_conv3x3(in_channels, 16), bn=nn.BatchNorm2d(16)))
        return ResNet(stem, block, c_stem=16, widths=[16, 32, 64], depth=[depth] * 3, num_classes=num_classes)

    return make


def _large_resnet(depth: list[int]) -> Callable[..., nn.Module]:
    def block(c_in: int, c_out: int, stride: int) -> nn.Module:
        return BasicBlock(c_in, c_out, stride, ProjectedShortcut)

    def make(num_classes: int, image_size: int, width: int | None, in_channels: int) -> nn.Module:
        stem = nn.Sequential(
            OrderedDict[str, nn.Module](
                conv=nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False),
                bn=nn.BatchNorm2d(64),
                # The maximum of ReLUs is the ReLU of the maximum, so the first block's ReLU may come after.
                pool=nn.MaxPool2d(3, stride=2, padding=1),
            )
        )
        return ResNet(stem, block, c_stem=64, widths=[64, 128, 256, 512], depth=depth, num_classes=num_classes)

    return make


def _wide_resnet(num_classes: int, image_size: int, width: int | None, in_channels: int) -> nn.Module:
    return ResNet(
        _conv3x3(in_channels, 16),
        PreActBlock,
        c_stem=16,
        widths=[32, 64, 128],
        depth=[4, 4, 4],
        num_classes=num_classes,
        head=nn.BatchNorm2d(128),
    )


_NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "conv4": _convnet([32] * 4, pools={1, 2, 3, 4}),
    "conv6": _convnet([32] * 6, pools={1, 2, 4, 6}),
    "vgg9": _convnet([64, 128, 256, 256, 512, 512, 512, 512], pools={1, 2, 4, 6, 8}),
    "resnet20": _small_resnet(3),
    "resnet32": _small_resnet(5),
    "resnet44": _small_resnet(7),
    "resnet56": _small_resnet(9),
    "resnet18": _large_resnet([2, 2, 2, 2]),
    "resnet34": _large_resnet([3, 4, 6, 3]),
    "wrn28_2": _wide_resnet,
}
_WITH_WIDTH = ("conv4", "conv6")


def takes_width(name: str) -> bool:
    """Whether a network can be built with another width."""
    return name in _WITH_WIDTH


def names() -> list[str]:
    """The networks that ``build`` knows.

    Example:
        >>> names()[:3]
        ['conv4', 'conv6', 'vgg9']
    """
    return list(_NETWORKS)


def build(
    name: str, num_classes: int, image_size: int = 32, width: int | None = None, in_channels: int = 3
) -> nn.Module:
    """A freshly initialised network, a map from images (B, in_channels, S, S) to logits (B, num_classes).

    Convolutions are drawn Kaiming-normal (fan out, ReLU) from torch's default generator, so
    ``torch.manual_seed`` before the call repeats the network; batch norms start at weight 1 and bias 0; all
    other parameters start as torch starts them. The network carries what it was built with as ``arch``,
    ``num_classes`` and ``image_size``, and all of it as the dictionary ``arguments``, so that
    ``build(**net.arguments)`` is another one.

    Args:
        name: one of ``names()``.
        num_classes: outputs, at least 2.
        image_size: side S of the square images, in pixels. conv4 and conv6 need at least 16, vgg9 at least 32.
        width: channels of every block of conv4 and conv6, 32 if not given; no other network takes it. The
            width in the paper's tables is not known.
        in_channels: channels of the images.

    Returns:
        The network, in training mode, on the CPU.

    Raises:
        MplibError: for an unknown name, or a size that the network cannot have.

    Example:
        >>> net = build("conv4", num_classes=10, width=8)
        >>> net(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])

    Source: the authors' ``models/vgg.py`` and ``models/resnet.py``; wrn28_2, which they did not release, is that of
    Zagoruyko and Komodakis, *Wide Residual Networks* (2016), without dropout.
    """
    if name not in _NETWORKS:
        raise unknown("network", name, _NETWORKS)
    num_classes = _at_least(2, "num_classes", num_classes)
    image_size = _at_least(1, "image_size", image_size)
    in_channels = _at_least(1, "in_channels", in_channels)
    if width is not None:
        if name not in _WITH_WIDTH:
            raise MplibError(f"width is {width!r} for {name}, expected none: only {' and '.join(_WITH_WIDTH)} take one")
        width = _at_least(1, "width", width)

    net = _NETWORKS[name](num_classes, image_size, width, in_channels)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    net.arch, net.num_classes, net.image_size = name, num_classes, image_size  # type: ignore[assignment]
    net.arguments = {  # type: ignore[assignment]
        "name": name,
        "num_classes": num_classes,
        "image_size": image_size,
        "width": width,
        "in_channels": in_channels,
    }
    return net


def _at_least(least: int, what: str, given: object) -> int:
    expected = f"{what} is {given!r}, expected an integer of at least {least}"
    if isinstance(given, bool):
        raise MplibError(expected)
    try:
        number = operator.index(given)  # type: ignore[arg-type]
    except TypeError:
        raise MplibError(expected) from None
    if number < least:
        raise MplibError(expected)
    return number
