"""Image files sorted into folders: ``train/<class>/`` and ``test/<class>/``.

The split to test on is called test, validation, valid or val; the first of these that is there is taken.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import torch

from mplib.data.catalogue import Description
from mplib.data.dataset import Split
from mplib.data.images import decode
from mplib.data.sources.shards import tested_split
from mplib.data.sources.source import Pictures, Source
from mplib.errors import MplibError

_ENDINGS = {".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".webp"}
_Listing = tuple[list[Path], list[int]]  # image files and their labels


class ImageFolder(Source):
    """A data set of image files, one folder a class.

    Args:
        folder: the folder with the splits; its name is the data set's.

    Raises:
        MplibError: there is no split to train or to test on.
    """

    def __init__(self, folder: Path):
        self.name, self.place = folder.name, folder
        self._tested = tested_split([path.name for path in folder.iterdir() if path.is_dir()], folder)

    @cached_property
    def _listed(self) -> tuple[list[str], dict[str, _Listing]]:
        """The classes, and the files of each split."""
        classes = _class_names(self.place / "train")
        return classes, {split: _list_images(self.place / split, classes) for split in ("train", self._tested)}

    def describe(self) -> Description:
        classes, listed = self._listed
        train, test = (len(paths) for paths, _ in listed.values())
        return self._found("image files", len(classes), train, test, self._tested)

    def files(self) -> list[Path]:
        return [self.place / split for split in ("train", self._tested)]

    def read(self, image_size: int) -> Pictures:
        classes, listed = self._listed
        train, test = (_read(*files, image_size, f"{self.name} {split}") for split, files in listed.items())
        return Pictures(train, test, classes)


def _class_names(folder: Path) -> list[str]:
    """The sub-folders, sorted; hidden ones do not count."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _list_images(folder: Path, classes: list[str]) -> _Listing:
    """The image files below a split's folder with their labels, sorted by class and file name."""
    strange = sorted(set(_class_names(folder)) - set(classes))
    if strange:
        raise MplibError(f"{folder} has the classes {', '.join(strange)} that train lacks, expected the same classes")
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        inside = folder / name
        found = sorted(p for p in inside.iterdir() if p.suffix.lower() in _ENDINGS) if inside.is_dir() else []
        if not found and folder.name == "train":
            raise MplibError(f"{inside} holds no image, expected {', '.join(sorted(_ENDINGS))} files")
        paths += found
        labels += [label] * len(found)
    return paths, labels


def _read(paths: list[Path], labels: list[int], image_size: int, title: str) -> Split:
    images = decode(enumerate(paths), len(paths), image_size, lambda i: str(paths[i]), title)
    return Split(images, torch.tensor(labels, dtype=torch.int64))
