from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import mplib.data  # noqa: F401  makes torchvision importable beside a CPU build of torch
from mplib import MplibError, nets
from mplib.regularizers import branches


@pytest.mark.parametrize(
    ("name", "count", "end"), [("resnet20", 9, "bn2"), ("resnet18", 8, "bn2"), ("wrn28_2", 12, "conv2")]
)
def test_each_block_has_a_branch(name: str, count: int, end: str) -> None:
    found = branches(nets.build(name, num_classes=2), 32)
    assert len(set(found)) == count and all(place.endswith(end) for place in found)
    assert found == sorted(found)


def test_branches_of_networks_that_are_not_ours() -> None:
    models = pytest.importorskip("torchvision.models")
    found = branches(models.resnet18(num_classes=2), 64)
    assert len(found) == 8 and all(place.endswith("bn2") for place in found)
    assert len(branches(models.mobilenet_v2(num_classes=2), 64)) == 10


class Outside(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.relu(self.conv(x))


def test_refuses_networks_without_branches_and_leaves_them_as_they_were() -> None:
    net = nets.build("conv4", num_classes=2)
    with pytest.raises(MplibError, match="adds no maps of equal shape"):
        branches(net, 32)
    assert net.training and not any(module._forward_hooks for module in net.modules())
    with pytest.raises(MplibError, match="not the output of a module"):
        branches(Outside(), 8)
