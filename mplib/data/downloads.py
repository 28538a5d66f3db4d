"""The usual benchmarks, downloaded on demand by torchvision's own classes.

torchvision downloads a set under the data root in its usual layout, checks it, and finds it there the next time;
a folder that torchvision filled before serves as it is.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sized
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from PIL import Image

from mplib.data.catalogue import CATALOGUE
from mplib.data.dataset import Dataset, Split
from mplib.data.images import Pixels, collect, to_square
from mplib.errors import MplibError


class _Items(Sized, Protocol):
    """What torchvision's data sets have in common."""

    def __getitem__(self, index: int) -> tuple[Image.Image, int]: ...


class _Class(NamedTuple):
    """A class of ``torchvision.datasets`` and the arguments that choose its splits."""

    name: str
    train: dict[str, Any]
    test: dict[str, Any]
    classes: tuple[str, ...] | None = None  # where torchvision does not have them


_CLASSES = {
    "cifar10": _Class("CIFAR10", {"train": True}, {"train": False}),
    "cifar100": _Class("CIFAR100", {"train": True}, {"train": False}),
    "stl10": _Class(
        "STL10",
        {"split": "train"},
        {"split": "test"},
        ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"),
    ),
    "svhn": _Class("SVHN", {"split": "train"}, {"split": "test"}, tuple("0123456789")),
    "fashion-mnist": _Class("FashionMNIST", {"train": True}, {"train": False}),
    "aircraft": _Class("FGVCAircraft", {"split": "trainval"}, {"split": "test"}),
}


def read_download(name: str, image_size: int, root: Path) -> Dataset:
    """Read one of torchvision's data sets, downloading it first if it is not under the root.

    Args:
        name: a name of kind "download" in the catalogue.
        image_size: height and width to resize to, in pixels.
        root: the data root.

    Returns:
        The data set with its official splits.

    Raises:
        MplibError: torchvision is not installed, or the files are neither there nor to be had.
    """
    try:
        from torchvision import datasets
    except ImportError as error:
        raise MplibError(
            f"data set {name!r} needs torchvision ({error}), expected it installed: "
            "pip install 'metaperturb-book[vision]'"
        ) from error
    about, which = CATALOGUE[name], _CLASSES[name]
    maker = getattr(datasets, which.name)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with contextlib.redirect_stdout(sys.stderr):  # some of the classes print
            sources = [maker(str(root), download=True, **which.train), maker(str(root), download=True, **which.test)]
    except (OSError, RuntimeError, EOFError, ValueError, LookupError, AssertionError) as error:
        raise MplibError(
            f"data set {name!r} is not whole under {root} and could not be downloaded ({_reason(error)}), expected "
            f"a network connection, or the files of torchvision's {which.name} in that folder"
        ) from error
    train, test = (_split(source, image_size, name) for source in sources)
    classes = list(which.classes or sources[0].classes)
    origin = f"torchvision's {which.name}"
    return Dataset(name, train, test, classes, about.flip, about.licence, about.citation, origin)


def _reason(error: Exception) -> str:
    """The first line of an error's message."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _split(source: _Items, image_size: int, name: str) -> Split:
    labels = torch.empty(len(source), dtype=torch.int64)

    def one(index: int) -> Pixels:
        try:
            image, label = source[index]
            labels[index] = int(label)
            return to_square(image, image_size)
        except (OSError, ValueError, SyntaxError) as error:
            raise MplibError(f"image {index} of {name!r} cannot be read ({error}), expected a whole file") from error

    images = collect(one, len(source), image_size, name)
    return Split(images, labels)
