"""Tiny ImageNet, Stanford Cars, Stanford Dogs and CUB-200-2011 as their authors distribute them.

``<root>/<name>/`` holds the archives, or what they unpack to, or some of each. Labels count from 0 in the order of the
official class lists (of Tiny ImageNet, in the order of the WordNet ids); images come whole, in the order of the
official file lists, those of Tiny ImageNet sorted by class and file name.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mplib.data.catalogue import Description, known
from mplib.data.dataset import Split
from mplib.data.images import decode
from mplib.data.sources.fetching import fetch
from mplib.data.sources.source import Pictures, Source
from mplib.data.sources.trees import Tree
from mplib.errors import MplibError


class _File(NamedTuple):
    """A file of the authors'; without an address it is no longer offered."""

    name: str
    url: str = ""
    md5: str = ""


class _Listing(NamedTuple):
    """What a distribution holds: class names, and for each split image files with their labels."""

    classes: list[str]
    train: list[tuple[str, int]]
    test: list[tuple[str, int]]


class _Layout(NamedTuple):
    """How a distribution is laid out."""

    top: str  # the folder inside the archives that everything is in
    files: tuple[_File, ...]  # small ones first, as they are looked through in this order
    marks: tuple[str, ...]  # one of these is there when the archives have been unpacked
    list: Callable[[Tree], _Listing]
    others: tuple[str, ...] = ()  # archives that bring the same in another way


class Archives(Source):
    """One of the four data sets, in a folder with the authors' files.

    Args:
        folder: the folder; its name is the data set's.
    """

    def __init__(self, folder: Path):
        self.name, self.place = folder.name, folder
        self._layout = _LAYOUTS[self.name]
        self._tree = _tree(folder)

    def describe(self) -> Description:
        return replace(known(self.name), origin=f"the authors' files in the folder {self.name} under the data root")

    def files(self) -> list[Path]:
        loose = [path for path in sorted(self.place.iterdir()) if path.is_dir() or path.suffix in (".mat", ".txt")]
        return self._tree.archives + loose

    def read(self, image_size: int) -> Pictures:
        try:
            classes, train, test = self._layout.list(self._tree)
        except MplibError:
            raise
        except (LookupError, ValueError, TypeError) as error:
            raise MplibError(
                f"the lists of {self.name} in {self.place} cannot be understood ({error!r}), expected the authors' own"
            ) from error
        return Pictures(self._split(train, image_size, "train"), self._split(test, image_size, "test"), classes)

    def _split(self, listed: list[tuple[str, int]], image_size: int, split: str) -> Split:
        names = [name for name, _ in listed]
        images = decode(
            self._tree.stream(names),
            len(names),
            image_size,
            lambda i: f"{names[i]} in {self.place}",
            f"{self.name} {split}",
        )
        return Split(images, torch.tensor([label for _, label in listed], dtype=torch.int64))


def has_archives(folder: Path) -> bool:
    """Whether a folder is one of the four data sets', and holds its archives or what they unpack to.

    Archives that can be downloaded must all be there; of others one is enough, so that the rest is asked for by name.
    """
    if folder.name not in _LAYOUTS or not folder.is_dir():
        return False
    tree, layout = _tree(folder), _LAYOUTS[folder.name]
    complete = len(tree.archives) == len(layout.files) if can_be_fetched(folder.name) else bool(tree.archives)
    return complete or any(tree.unpacked(mark) for mark in layout.marks)


def can_be_fetched(name: str) -> bool:
    """Whether the authors still offer all files of a data set."""
    return all(file.url for file in _LAYOUTS[name].files)


def file_names(name: str) -> str:
    """The files that the authors offer, for people."""
    *others, last = [file.name for file in _LAYOUTS[name].files]
    return f"{', '.join(others)} and {last}" if others else last


def fetch_archives(folder: Path) -> None:
    """Download the authors' files of a data set that are not in its folder yet; goes on where it was stopped.

    Raises:
        MplibError: the authors no longer offer them, there is no connection, or a file is not the known one.
    """
    name = folder.name
    put = f"put {file_names(name)} there, or what is in them"
    if not can_be_fetched(name):
        raise MplibError(f"data set {name!r} is not in {folder} and its authors' page is gone, expected you to {put}")
    for file in _LAYOUTS[name].files:
        if not (folder / file.name).is_file():
            fetch(file.url, folder / file.name, file.md5, otherwise=put)


def _tree(folder: Path) -> Tree:
    layout = _LAYOUTS[folder.name]
    names = [file.name for file in layout.files if not file.name.endswith(".mat")]
    return Tree(folder, layout.top, [*names, *layout.others])


def _list_tiny_imagenet(tree: Tree) -> _Listing:
    ids = sorted(_lines(tree, "wnids.txt"))
    words = dict(line.split("\t", 1) for line in _lines(tree, "words.txt"))
    label = {wnid: k for k, wnid in enumerate(ids)}
    train = []
    for name in tree.names():
        parts = name.split("/")
        if len(parts) == 4 and parts[0] == "train" and parts[2] == "images" and parts[1] in label:
            train.append((name, label[parts[1]]))
    test = []
    for line in _lines(tree, "val/val_annotations.txt"):
        file, wnid, *_ = line.split("\t")
        test.append((f"val/images/{file}", label[wnid]))
    return _Listing([f"{wnid} {words[wnid]}" for wnid in ids], train, test)


def _list_cars(tree: Tree) -> _Listing:
    if tree.unpacked("cars_annos.mat"):  # the other distribution: all images in one folder
        table = _matlab(tree, "cars_annos.mat")
        rows = [(str(r["relative_im_path"]), int(r["class"]) - 1, int(r["test"])) for r in _rows(table["annotations"])]
        train, test = ([(file, label) for file, label, tested in rows if tested == split] for split in (0, 1))
        return _Listing(_names(table["class_names"]), train, test)
    classes = _names(_matlab(tree, "devkit/cars_meta.mat")["class_names"])
    listed = []
    for folder, places in (
        ("cars_train", ("devkit/cars_train_annos.mat",)),
        ("cars_test", ("cars_test_annos_withlabels.mat", "devkit/cars_test_annos_withlabels.mat")),
    ):
        annotations = _rows(_matlab(tree, *places)["annotations"])
        if tree.unpacked(f"{folder}/{folder}"):  # as a well-known mirror has it
            folder = f"{folder}/{folder}"
        listed.append([(f"{folder}/{row['fname']}", int(row["class"]) - 1) for row in annotations])
    return _Listing(classes, *listed)


def _list_dogs(tree: Tree) -> _Listing:
    listed: list[list[tuple[str, int]]] = []
    classes: dict[int, str] = {}
    for split in ("train", "test"):
        table = _matlab(tree, f"{split}_list.mat", f"lists/{split}_list.mat")
        files, labels = _names(table["file_list"]), np.atleast_1d(table["labels"]).tolist()
        listed.append([(f"Images/{file}", int(label) - 1) for file, label in zip(files, labels, strict=True)])
        classes.update({int(label) - 1: file.split("/")[0] for file, label in zip(files, labels, strict=True)})
    # A folder is called by the WordNet id and the breed: n02085620-Chihuahua.
    names = [classes[label].partition("-")[2].replace("_", " ") for label in sorted(classes)]
    return _Listing(names, *listed)


def _list_birds(tree: Tree) -> _Listing:
    tables = {}
    for table in ("images", "image_class_labels", "train_test_split", "classes"):
        tables[table] = dict(line.split(" ", 1) for line in _lines(tree, f"{table}.txt"))
    splits: dict[str, list[tuple[str, int]]] = {"0": [], "1": []}
    for key, file in tables["images"].items():
        splits[tables["train_test_split"][key]].append((f"images/{file}", int(tables["image_class_labels"][key]) - 1))
    # 001.Black_footed_Albatross
    classes = [name.partition(".")[2].replace("_", " ") for name in tables["classes"].values()]
    return _Listing(classes, splits["1"], splits["0"])


def _lines(tree: Tree, name: str) -> list[str]:
    return [line.strip() for line in tree.first(name).decode("utf-8").splitlines() if line.strip()]


def _matlab(tree: Tree, *names: str) -> dict[str, Any]:
    from scipy.io import loadmat

    content = tree.first(*names)
    try:
        table: dict[str, Any] = loadmat(io.BytesIO(content), squeeze_me=True)
    except Exception as error:  # whatever a damaged file makes of the reader
        raise MplibError(f"{names[0]} in {tree.folder} cannot be read ({error}), expected MATLAB's format") from error
    return table


def _rows(annotations: Any) -> list[Any]:
    return list(np.atleast_1d(annotations))


def _names(cells: Any) -> list[str]:
    return [str(name) for name in np.atleast_1d(cells)]


_DOGS = "http://vision.stanford.edu/aditya86/ImageNetDogs"
_LAYOUTS = {
    "tiny_imagenet": _Layout(
        "tiny-imagenet-200",
        (
            _File(
                "tiny-imagenet-200.zip",
                "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
                "90528d7ca1a48142e341f4ef8d21d0de",
            ),
        ),
        ("wnids.txt",),
        _list_tiny_imagenet,
    ),
    "stanford_cars": _Layout(
        "",
        (
            _File("car_devkit.tgz"),
            _File("cars_train.tgz"),
            _File("cars_test.tgz"),
            _File("cars_test_annos_withlabels.mat"),
        ),
        ("devkit", "cars_annos.mat"),
        _list_cars,
        ("car_ims.tgz",),
    ),
    "stanford_dogs": _Layout(
        "",
        (
            _File("lists.tar", f"{_DOGS}/lists.tar", "edbb9f16854ec66506b5f09b583e0656"),
            _File("images.tar", f"{_DOGS}/images.tar", "1bb1f2a596ae7057f99d7d75860002ef"),
        ),
        ("Images",),
        _list_dogs,
    ),
    "cub200": _Layout(
        "CUB_200_2011",
        (
            _File(
                "CUB_200_2011.tgz",
                "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1",
                "97eceeb196236b17998738112f37df78",
            ),
        ),
        ("images.txt",),
        _list_birds,
    ),
}
