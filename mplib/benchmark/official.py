"""The authors' own networks and their own perturbation, out of a checkout of their repository, to be timed beside ours.

Their files are imported where they are, and nothing of them is copied. Of their repository only the package ``models``
is imported: no script runs. Their code moves small tensors to a GPU wherever it runs; on a CPU that one method of
torch is made to do nothing while their code is at work.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mplib import devices
from mplib.checkpoints import PathLike
from mplib.errors import MplibError

if TYPE_CHECKING:
    from mplib.benchmark.work import Setting

CLIP = 100.0  # of the authors' training
_RESNETS = ("resnet20", "resnet32", "resnet44", "resnet56", "resnet18", "resnet34")
_FILES = ("perturb.py", "resnet.py", "vgg.py")


class Checkout:
    """A checkout of the authors' repository.

    Args:
        path: its root, the folder that holds ``models/``.

    Raises:
        MplibError: the folder is not such a checkout.

    Source: ``models/perturb.py``, ``models/resnet.py`` and ``models/vgg.py`` of the authors' repository.
    """

    def __init__(self, path: PathLike) -> None:
        root = Path(path).resolve()
        missing = [f"models/{name}" for name in _FILES if not (root / "models" / name).is_file()]
        if missing:
            raise MplibError(f"{path} has no {', '.join(missing)}, expected a checkout of the authors' repository")
        self._resnet, self._vgg = _imported(root / "models")
        if not hasattr(self._resnet, "resnet20") or not hasattr(self._vgg, "ConvNet4"):
            raise MplibError(
                f"the files in {path}/models define no resnet20 and ConvNet4, expected a checkout of the authors' "
                "repository"
            )

    def names(self) -> tuple[str, ...]:
        """The networks that their code can run: it names others, which lack a forward pass."""
        return ("conv4", *(name for name in _RESNETS if hasattr(self._resnet, name)))

    def build(self, setting: Setting, num_classes: int, perturbed: bool) -> nn.Module:
        """A fresh network of theirs in training mode, phi frozen if it has one."""
        options = {"num_classes": num_classes, "img_size": setting.image_size, "do_perturb": perturbed}
        place = devices.resolve(setting.device)
        with self.patched(place):
            if setting.net == "conv4":
                net: nn.Module = self._vgg.ConvNet4(conv_channels=setting.width or 32, **options)
            else:
                net = getattr(self._resnet, setting.net)(**options)
        if perturbed:
            net.perturb.requires_grad_(False)
        return net.to(place).train()

    @staticmethod
    def own_parameters(net: nn.Module) -> list[nn.Parameter]:
        """The parameters of the network without those of phi, which :meth:`build` froze."""
        return [parameter for parameter in net.parameters() if parameter.requires_grad]

    @staticmethod
    def objective(net: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy of their network, which takes a clip and a strength and gives its measurements as well."""
        logits, _ = net(images, CLIP, 1.0)
        return F.cross_entropy(logits, labels), logits

    @staticmethod
    @contextmanager
    def patched(device: torch.device) -> Iterator[None]:
        """Let their ``tensor.cuda()`` do nothing where the work is done on a CPU."""
        if device.type == "cuda":
            yield
            return
        with mock.patch.object(torch.Tensor, "cuda", lambda tensor, *_, **__: tensor):
            yield


def _imported(folder: Path) -> list[ModuleType]:
    """Their modules ``resnet`` and ``vgg``, as parts of a package whose name nothing else has."""
    package = f"official_models_{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_loader(package, loader=None, is_package=True)
    assert spec is not None and spec.submodule_search_locations is not None
    spec.submodule_search_locations.append(str(folder))
    sys.modules[package] = importlib.util.module_from_spec(spec)
    try:
        return [importlib.import_module(f"{package}.{name}") for name in ("resnet", "vgg")]
    except Exception as error:
        raise MplibError(f"{folder} cannot be imported ({error}), expected the authors' models") from error
