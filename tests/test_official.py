"""A checkout of the authors' repository is timed beside ours; here a stand-in of our own, with the same names."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from mplib.benchmark.official import Checkout
from mplib.benchmark.work import Setting, make_step, time_steps
from mplib.errors import MplibError

TINY = Setting("conv4", 2, 16, 4, "cpu")
FILES = {
    "perturb.py": """
import torch
from torch import nn

class Perturb(nn.Module):
    def __init__(self):
        super().__init__()
        self.size = nn.Parameter(torch.ones(1))
        self.running = torch.zeros(1).cuda()

    def forward(self, x, clipval, noise_coeff):
        return (x * self.size * noise_coeff * torch.ones(1).cuda()).clamp(max=clipval), {}
""",
    "resnet.py": """
from .vgg import Net

def resnet20(num_classes, img_size, do_perturb):
    return Net(num_classes, do_perturb)
""",
    "vgg.py": """
from torch import nn

from .perturb import Perturb

class Net(nn.Module):
    def __init__(self, num_classes, do_perturb):
        super().__init__()
        self.fc = nn.Linear(3, num_classes)
        self.perturb = Perturb() if do_perturb else None

    def forward(self, x, clipval, noise_coeff):
        seen = None
        if self.perturb:
            x, seen = self.perturb(x, clipval, noise_coeff)
        return self.fc(x.mean(dim=(2, 3))), [seen]

class ConvNet4(Net):
    def __init__(self, num_classes, conv_channels, img_size, do_perturb):
        super().__init__(num_classes, do_perturb)
""",
    "__init__.py": "raise RuntimeError('no other file of theirs runs')",
    "get_model.py": "raise RuntimeError('no other file of theirs runs')",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    for name, text in FILES.items():
        (tmp_path / "models" / name).write_text(text)
    return tmp_path


def test_their_steps_are_timed_in_the_same_turns(checkout: Path) -> None:
    rows = time_steps(TINY, ["plain", "perturbed"], turns=3, against=Checkout(checkout))
    assert [row["variant"] for row in rows] == ["plain", "perturbed", "authors", "authors, plain"]
    assert "models" not in sys.modules


def test_their_phi_is_frozen_and_their_theta_learns(checkout: Path) -> None:
    step = make_step("authors", TINY, Checkout(checkout))
    before = step.net.fc.weight.detach().clone()
    step()
    assert step.net.perturb.size.item() == 1 and not torch.equal(step.net.fc.weight, before)
    assert make_step("authors, plain", TINY, Checkout(checkout)).net.perturb is None


def test_cuda_is_patched_only_while_their_code_runs(checkout: Path) -> None:
    original = torch.Tensor.cuda
    make_step("authors", TINY, Checkout(checkout))()
    assert torch.Tensor.cuda is original


def test_networks_that_they_do_not_have_are_timed_without_them(checkout: Path) -> None:
    against = Checkout(checkout)
    assert against.names() == ("conv4", "resnet20")
    rows = time_steps(Setting("conv6", 2, 16, 4, "cpu"), ["plain", "perturbed"], turns=3, against=against)
    assert [row["variant"] for row in rows] == ["plain", "perturbed"]


def test_another_folder_is_refused_with_a_sentence(checkout: Path, tmp_path: Path) -> None:
    with pytest.raises(MplibError, match=r"nowhere has no models/perturb\.py, models/resnet\.py, models/vgg\.py"):
        Checkout(tmp_path / "nowhere")
    (checkout / "models" / "vgg.py").write_text("class Net: pass\n")
    with pytest.raises(MplibError, match="define no resnet20 and ConvNet4"):
        Checkout(checkout)


def test_a_damaged_checkout_is_refused_with_a_sentence(checkout: Path) -> None:
    (checkout / "models" / "vgg.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(MplibError, match="cannot be imported .*nothing_of_this_name"):
        Checkout(checkout)
