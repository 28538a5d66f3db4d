"""The usual benchmarks, read by torchvision's own classes.

What is missing is downloaded to where torchvision expects it, from where and with the checksum that torchvision
names, but so that a stopped download goes on. torchvision unpacks it, and finds it there the next time; a folder that
torchvision filled before serves as it is.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sized
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from PIL import Image

from mplib.data.catalogue import Description, known
from mplib.data.dataset import Split
from mplib.data.images import Pixels, collect, to_square
from mplib.data.locking import locked
from mplib.data.sources.fetching import fetch
from mplib.data.sources.source import Pictures, Source
from mplib.errors import MplibError


class _Items(Sized, Protocol):
    """What torchvision's data sets have in common."""

    def __getitem__(self, index: int) -> tuple[Image.Image, int]: ...


_Remote = tuple[str, str, str]  # an address, the file's place under the root, and its checksum


def _archive(maker: Any) -> list[_Remote]:
    return [(maker.url, maker.filename, maker.tgz_md5)]


def _file_a_split(maker: Any) -> list[_Remote]:
    return [tuple(maker.split_list[split]) for split in ("train", "test")]


def _raw_files(maker: Any) -> list[_Remote]:
    return [(maker.mirrors[0] + file, f"{maker.__name__}/raw/{file}", md5) for file, md5 in maker.resources]


def _aircraft(maker: Any) -> list[_Remote]:
    file = "fgvc-aircraft-2013b.tar.gz"  # torchvision names no checksum
    url = f"https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/{file}"
    return [(url, file, "d4acdd33327262359767eeaa97a4f732")]


class _Class(NamedTuple):
    """A class of ``torchvision.datasets``, what it downloads and reads, and the arguments that choose its splits."""

    name: str
    remote: Callable[[Any], list[_Remote]]
    files: tuple[str, ...]
    train: dict[str, Any]
    test: dict[str, Any]
    classes: tuple[str, ...] | None = None  # where torchvision does not have them


_CLASSES = {
    "cifar10": _Class("CIFAR10", _archive, ("cifar-10-batches-py",), {"train": True}, {"train": False}),
    "cifar100": _Class("CIFAR100", _archive, ("cifar-100-python",), {"train": True}, {"train": False}),
    "stl10": _Class(
        "STL10",
        _archive,
        ("stl10_binary",),
        {"split": "train"},
        {"split": "test"},
        ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"),
    ),
    "svhn": _Class(
        "SVHN",
        _file_a_split,
        ("train_32x32.mat", "test_32x32.mat"),
        {"split": "train"},
        {"split": "test"},
        tuple("0123456789"),
    ),
    "fashion-mnist": _Class("FashionMNIST", _raw_files, ("FashionMNIST/raw",), {"train": True}, {"train": False}),
    "aircraft": _Class("FGVCAircraft", _aircraft, ("fgvc-aircraft-2013b",), {"split": "trainval"}, {"split": "test"}),
}


class Download(Source):
    """One of torchvision's data sets, with its official splits.

    Args:
        name: a name of kind "download" in the catalogue.
        root: the data root.
    """

    def __init__(self, name: str, root: Path):
        self.name, self.place = name, root
        self._class = _CLASSES[name]

    def is_there(self) -> bool:
        """Whether torchvision has filled the root, as far as names tell."""
        return all(path.exists() for path in self.files())

    def fetch(self) -> Download:
        """Download what is missing, and have torchvision unpack it.

        Raises:
            MplibError: torchvision is not installed, or the files are neither there nor to be had.
        """
        which = self._class
        for url, file, md5 in which.remote(self._maker()):
            fetch(url, self.place / file, md5, otherwise=f"put the files of torchvision's {which.name} there")
        self._open()
        return self

    def describe(self) -> Description:
        return replace(known(self.name), origin=f"torchvision's {self._class.name}")

    def files(self) -> list[Path]:
        return [self.place / file for file in self._class.files]

    def read(self, image_size: int) -> Pictures:
        sources = self._open()
        train, test = (_split(source, image_size, self.name) for source in sources)
        return Pictures(train, test, list(self._class.classes or sources[0].classes))

    def _maker(self) -> Any:
        """torchvision's class."""
        try:
            from torchvision import datasets
        except ImportError as error:
            raise MplibError(
                f"data set {self.name!r} needs torchvision ({error}), expected it installed: "
                "pip install 'metaperturb-book[vision]'"
            ) from error
        return getattr(datasets, self._class.name)

    def _open(self) -> list[Any]:
        """torchvision's two data sets, of the training and of the test images."""
        which, root, maker = self._class, self.place, self._maker()
        try:
            root.mkdir(parents=True, exist_ok=True)
            with contextlib.ExitStack() as stack:
                with contextlib.suppress(OSError):  # a root that cannot be written to needs no lock
                    stack.enter_context(locked(root / which.name))  # two processes do not unpack at once
                stack.enter_context(contextlib.redirect_stdout(sys.stderr))  # some of the classes print
                return [maker(str(root), download=True, **split) for split in (which.train, which.test)]
        except (OSError, RuntimeError, EOFError, ValueError, LookupError, AssertionError) as error:
            raise MplibError(
                f"data set {self.name!r} is not whole under {root} and could not be downloaded ({_reason(error)}), "
                f"expected a network connection, or the files of torchvision's {which.name} in that folder: "
                f"{', '.join(which.files)}"
            ) from error


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
