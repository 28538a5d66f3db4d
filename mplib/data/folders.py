"""Data sets that lie in a folder of the user's: parquet shards or image files, one folder a data set.

``<root>/<name>/`` holds either the shards of :mod:`mplib.data.shards`, or image files sorted into
``train/<class>/`` and ``test/<class>/``. The split to test on is called test, validation, valid or val; the first of
these that is there is taken.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from mplib.data.catalogue import CATALOGUE, Description
from mplib.data.dataset import Dataset, Split
from mplib.data.images import decode
from mplib.data.shards import count_rows, find_shards, read_classes, read_shards
from mplib.errors import MplibError

_TEST_NAMES = ("test", "validation", "valid", "val")
_ENDINGS = {".png", ".jpg", ".jpeg"}


def find_folder(root: Path, name: str) -> Path | None:
    """The folder of a data set under the root, if it is there and holds shards or a folder ``train``."""
    folder = root / name
    if Path(name).name != name or not folder.is_dir():
        return None
    holds = (folder / "train").is_dir() or next(folder.glob("*-of-*.parquet"), None) is not None
    return folder if holds else None


def find_folders(root: Path) -> list[str]:
    """The names of all data sets in folders under the root, sorted."""
    if not root.is_dir():
        return []
    return sorted(path.name for path in root.iterdir() if find_folder(root, path.name))


def read_folder(folder: Path, image_size: int) -> Dataset:
    """Read the data set in a folder; its name is the folder's.

    Args:
        folder: the folder, one that :func:`find_folder` finds.
        image_size: height and width to resize to, in pixels.

    Raises:
        MplibError: a split, shard or class is missing, or something in it cannot be read.
    """
    name, shards = folder.name, find_shards(folder)
    if shards:
        tested = _test_name(list(shards), folder)
        classes = read_classes(folder)
        train, test = (
            read_shards(shards[split], image_size, len(classes), f"{name} {split}") for split in ("train", tested)
        )
    else:
        tested = _test_name([path.name for path in folder.iterdir() if path.is_dir()], folder)
        classes = _class_names(folder / "train")
        train, test = (_read_images(folder / split, classes, image_size) for split in ("train", tested))
    about = describe_folder(folder)
    return Dataset(name, train, test, classes, about.flip, about.licence, about.citation, about.origin)


def describe_folder(folder: Path) -> Description:
    """What the folder holds, without decoding an image; terms and orientation come from the catalogue if it is
    listed there."""
    shards = find_shards(folder)
    if shards:
        tested, kind = _test_name(list(shards), folder), "parquet shards"
        classes = len(read_classes(folder))
        counts = [count_rows(shards[split]) for split in ("train", tested)]
    else:
        tested, kind = _test_name([path.name for path in folder.iterdir() if path.is_dir()], folder), "image files"
        names = _class_names(folder / "train")
        classes = len(names)
        counts = [len(_list_images(folder / split, names)[0]) for split in ("train", tested)]
    known = CATALOGUE.get(folder.name) or Description(
        folder.name,
        f"the images of the folder {folder.name}",
        "folder",
        None,
        None,
        None,
        "",
        "",
        "",
        "see where the folder came from",
        "see where the folder came from",
    )
    return replace(
        known,
        kind="folder",
        classes=classes,
        train=counts[0],
        test=counts[1],
        pixels=f"originally {known.pixels}" if known.pixels else "size as found",
        origin=f"the folder {folder.name} under the data root, {kind}; not necessarily the official images",
        protocol=f"its train and {tested} splits",
    )


def _test_name(splits: list[str], folder: Path) -> str:
    """The split to test on, once train is known to be there too."""
    tested = next((name for name in _TEST_NAMES if name in splits), None)
    if "train" not in splits or tested is None:
        raise MplibError(
            f"{folder} has the splits {', '.join(sorted(splits)) or 'none'}, expected train and one of "
            f"{', '.join(_TEST_NAMES)}"
        )
    return tested


def _class_names(folder: Path) -> list[str]:
    """The sub-folders, sorted; hidden ones do not count."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _list_images(folder: Path, classes: list[str]) -> tuple[list[Path], list[int]]:
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


def _read_images(folder: Path, classes: list[str], image_size: int) -> Split:
    paths, labels = _list_images(folder, classes)
    images = decode(paths, image_size, lambda i: str(paths[i]), f"{folder.parent.name} {folder.name}")
    return Split(images, torch.tensor(labels, dtype=torch.int64))
