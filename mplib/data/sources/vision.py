"""The one place that lets torchvision be imported beside a torch of another build.

A package index may pair a CPU build of torch with a torchvision built for CUDA. Its compiled library then does
not load, the operators in it do not exist, and ``import torchvision`` stops at the first line that refers to
``torchvision::nms``. Declaring the two operators that it refers to is enough: the data sets, transforms and
networks work, and only the compiled operators themselves stay missing.

Nothing is declared until somebody imports torchvision, and then only if its library does not load: where the
wheels match, or the operators were declared by somebody else, nothing happens.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

_OPERATORS = ("nms", "qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[Any] = []  # a declaration lasts as long as its object


class _Watch(MetaPathFinder):
    """Finds nothing; is asked before torchvision is imported, and acts then."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "torchvision":
            declare_missing_operators()
        return None


def watch() -> None:
    """Have :func:`declare_missing_operators` called when torchvision is imported, if that is still to come."""
    if "torchvision" not in sys.modules and not any(isinstance(finder, _Watch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watch())


def declare_missing_operators() -> None:
    """Declare the operators that torchvision's Python code refers to, unless its own library brings them."""
    spec = PathFinder.find_spec("torchvision")
    if spec is None or _exist() or _load_library(spec):
        return
    make: Callable[..., Any] = torch.library.Library
    library = make("torchvision", "FRAGMENT")
    for name in _OPERATORS:
        if not hasattr(torch.ops.torchvision, name):
            library.define(name + _SIGNATURE)
    _declared.append(library)


def _exist() -> bool:
    return all(hasattr(torch.ops.torchvision, name) for name in _OPERATORS)


def _load_library(spec: ModuleSpec) -> bool:
    """Whether torchvision's library loads; it would be loaded a moment later anyway, once in all."""
    load: Callable[[str], None] = torch.ops.load_library
    for folder in spec.submodule_search_locations or ():
        for file in sorted(Path(folder).glob("_C.*")):
            try:
                load(str(file))
            except (OSError, ImportError):
                continue
            return _exist()
    return False
