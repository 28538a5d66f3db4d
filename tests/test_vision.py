"""The guard around torchvision; what depends on a fresh interpreter runs in one of its own."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import types

import pytest
import torch

from mplib.data.sources import vision

needs_torchvision = pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed"
)


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_leaves_everything_alone_and_a_users_own_import_works() -> None:
    run(
        "import sys, torch, mplib.data\n"
        "assert not hasattr(torch.ops.torchvision, 'nms')\n"
        "assert not {'torchvision', 'sklearn', 'skimage', 'mlxtend', 'pyarrow'} & set(sys.modules)\n"
        "import importlib.util as util\n"
        "if util.find_spec('torchvision'):\n"
        "    import torchvision\n"
        "    assert torchvision.models.resnet18() and torchvision.datasets.CIFAR10"
    )


@needs_torchvision
def test_schemas_that_a_user_declares_are_left_alone() -> None:
    run(
        "import torch, mplib.data.sources.vision as vision\n"
        "library = torch.library.Library('torchvision', 'DEF')\n"
        "for name in ('nms', 'qnms'):\n"
        "    library.define(name + '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')\n"
        "import torchvision\n"
        "assert not vision._declared"
    )


@needs_torchvision
def test_inert_where_the_library_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(torch.ops, "load_library", loaded.append)
    monkeypatch.setattr(vision, "_exist", lambda: bool(loaded))  # as in a matching wheel, its library brings them
    monkeypatch.setattr(vision, "_declared", [])
    vision.declare_missing_operators()
    vision.declare_missing_operators()
    assert not vision._declared
    assert len(loaded) == 1
    assert "_C" in loaded[0]


def test_watches_once_and_never_after_the_import(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [finder for finder in sys.meta_path if not isinstance(finder, vision._Watch)]
    monkeypatch.setattr(sys, "meta_path", list(others))
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    vision.watch()
    assert sys.meta_path == others
    monkeypatch.delitem(sys.modules, "torchvision")
    vision.watch()
    vision.watch()
    assert len(sys.meta_path) == len(others) + 1
    assert sys.meta_path[0].find_spec("some_other_module", None) is None
