"""What a data set is here: uint8 images and integer labels, in two splits, with class names.

Everything in :mod:`mplib.data` ends as a :class:`Dataset`, and meta-training takes :class:`Task` objects, which
are the same thing with other roles for the two splits. Both are checked when they are made, so nothing
downstream has to ask again, and both have a fingerprint of their pixels and labels: a name stands for pixels,
and two data sets of the same name need not hold the same ones.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mplib.errors import MplibError


class Split(NamedTuple):
    """Images with their labels.

    Attributes:
        images: uint8, (N, 3, H, W), H = W, values 0 to 255.
        labels: int64, (N,), each an index into the class names.
    """

    images: Tensor
    labels: Tensor

    @property
    def n(self) -> int:
        """The number of images (``len`` is that of the tuple, 2)."""
        return self.images.shape[0]

    def to(self, device: torch.device | str) -> Split:
        """The same split on another device."""
        return Split(self.images.to(device), self.labels.to(device))

    def take(self, rows: Tensor) -> Split:
        """The images and labels of some rows, in that order. ``rows``: int64, (M,)."""
        rows = rows.to(self.labels.device)
        return Split(self.images.index_select(0, rows), self.labels.index_select(0, rows))

    def __repr__(self) -> str:
        return f"Split({self.n} images, {' x '.join(str(d) for d in self.images.shape[1:])}, {self.images.device})"


@dataclass(frozen=True, eq=False)
class Dataset:
    """A classification data set: a training and a test split over the same classes.

    Args:
        name: what it is called; a subset's name says which subset.
        train: the training split, uint8 images (N, 3, S, S) and int64 labels (N,).
        test: the test split, of the same image size.
        classes: the class names; a label is an index into this list. At least two.
        flip: whether a mirrored image still belongs to its class (not so for digits and most signs).
        licence: the terms, as commonly stated.
        citation: what to cite.
        source: where the pixels came from, in words.

    Raises:
        MplibError: a shape, type or label that does not fit; an empty split; fewer than two classes.

    Example:
        >>> images, labels = torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 0, 1])
        >>> data = Dataset("toy", Split(images, labels), Split(images[:2], labels[:2]), ["cat", "dog"])
        >>> data
        Dataset('toy', 2 classes, 4 train, 2 test, 8 px)
        >>> data.subset(per_class=1).name
        'toy[per_class=1,seed=0]'
    """

    name: str
    train: Split
    test: Split
    classes: list[str]
    flip: bool = True
    licence: str = "not stated"
    citation: str = "not stated"
    source: str = "made in memory"

    def __post_init__(self) -> None:
        check_splits(f"data set {self.name!r}", {"train": self.train, "test": self.test}, self.classes)

    @property
    def image_size(self) -> int:
        """Height and width of the images, in pixels."""
        return self.train.images.shape[-1]

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.classes)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the pixels and labels of both splits, in hexadecimal; the name plays no part."""
        return fingerprint(self.train, self.test)

    def subset(self, per_class: int | None = None, n: int | None = None, seed: int = 0) -> Dataset:
        """The same data set with fewer training images, balanced over the classes; the test split stays whole.

        The images of a class are shuffled once by the seed and taken from the front, so the 10-a-class subset
        is part of the 50-a-class subset of the same seed.

        Args:
            per_class: training images of each class, at least 1; or
            n: training images in all, at least 1. Where n is not a multiple of the number of classes, or a class
                runs out, counts differ: the rest comes from the others.
            seed: which images, 0 or more.

        Returns:
            A data set whose name says which subset it is.

        Raises:
            MplibError: neither or both counts given, a count below 1, or more images than there are.
        """
        if (per_class is None) == (n is None):
            raise MplibError(f"got per_class={per_class} and n={n}, expected exactly one of the two")
        if per_class is not None:
            whole_number("per_class", per_class, 1)
            counts = torch.bincount(self.train.labels, minlength=self.num_classes)
            least = int(counts.argmin())
            if int(counts[least]) < per_class:
                raise MplibError(
                    f"per_class is {per_class}, but class {self.classes[least]!r} of {self.name!r} has "
                    f"{int(counts[least])} training images; expected no more than that"
                )
            n, label = per_class * self.num_classes, f"per_class={per_class}"
        else:
            n = whole_number("n", n, 1)
            if n > self.train.n:
                raise MplibError(f"n is {n}, but {self.name!r} has {self.train.n} training images; expected no more")
            label = f"n={n}"
        generator = torch.Generator().manual_seed(whole_number("seed", seed, 0))
        rows = interleave(self.train.labels.cpu(), self.num_classes, generator)[:n]
        return replace(self, name=f"{self.name}[{label},seed={seed}]", train=self.train.take(rows))

    def left_out(self, per_class: int, seed: int = 0) -> Split:
        """The training images that the :meth:`subset` of this seed leaves out: to choose settings on, never to test.

        Args:
            per_class: training images of each class in the subset, at least 1.
            seed: which images, 0 or more.

        Returns:
            Images and labels, the classes in turn as long as they last; none where the subset is everything.

        Raises:
            MplibError: what :meth:`subset` raises.
        """
        taken = self.subset(per_class=per_class, seed=seed).train.n
        generator = torch.Generator().manual_seed(seed)
        return self.train.take(interleave(self.train.labels.cpu(), self.num_classes, generator)[taken:])

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name!r}, {self.num_classes} classes, {self.train.n} train, {self.test.n} test, "
            f"{self.image_size} px)"
        )


@dataclass(frozen=True, eq=False)
class Task:
    """One source task of meta-training: a half to train theta on, and a half to judge phi on.

    Args:
        name: which group of classes, and which half trains.
        train: the half that theta learns from.
        valid: the other half, for the gradient of phi.
        classes: the class names; labels count from 0 within the task.
        flip: whether a mirrored image still belongs to its class.

    Raises:
        MplibError: as for :class:`Dataset`.
    """

    name: str
    train: Split
    valid: Split
    classes: list[str]
    flip: bool = True

    def __post_init__(self) -> None:
        check_splits(f"task {self.name!r}", {"train": self.train, "valid": self.valid}, self.classes)

    @property
    def image_size(self) -> int:
        """Height and width of the images, in pixels."""
        return self.train.images.shape[-1]

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.classes)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the pixels and labels of both halves, in hexadecimal."""
        return fingerprint(self.train, self.valid)

    def __repr__(self) -> str:
        return (
            f"Task({self.name!r}, {self.num_classes} classes, {self.train.n} train, {self.valid.n} valid, "
            f"{self.image_size} px)"
        )


def fingerprint(*splits: Split) -> str:
    """SHA-256 over the shapes, pixels and labels of some splits, in hexadecimal.

    The shape comes first, so that the same bytes in another shape are another data set.
    """
    digest = hashlib.sha256()
    for split in splits:
        digest.update(repr(tuple(split.images.shape)).encode())
        for tensor in split:
            digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def interleave(labels: Tensor, num_classes: int, generator: torch.Generator | None = None) -> Tensor:
    """An order of the rows in which the classes take turns, so that any first part is nearly balanced.

    Args:
        labels: int64, (N,), on the CPU.
        num_classes: how many classes there are.
        generator: shuffles the rows inside each class, and the classes that take part in an incomplete last
            turn; ``None`` keeps the rows of a class in the order they have.

    Returns:
        A permutation of the rows, int64, (N,).

    Example:
        >>> interleave(torch.tensor([0, 0, 0, 1, 1, 1]), 2).tolist()
        [0, 3, 1, 4, 2, 5]
    """
    shuffle = torch.arange(len(labels)) if generator is None else torch.randperm(len(labels), generator=generator)
    order = torch.arange(num_classes) if generator is None else torch.randperm(num_classes, generator=generator)
    grouped = shuffle[torch.argsort(labels[shuffle], stable=True)]  # by class, shuffled within
    counts = torch.bincount(labels, minlength=num_classes)
    first = torch.cumsum(counts, 0) - counts
    turn = torch.arange(len(labels)) - first[labels[grouped]]  # the how-manieth of its class
    return grouped[torch.argsort(turn * num_classes + order[labels[grouped]])]


def whole_number(what: str, value: Any, least: int, most: int | None = None) -> int:
    """``value`` if it is a whole number from ``least`` to ``most``.

    Raises:
        MplibError: it is something else (a bool is not a number here).
    """
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if whole and least <= int(value) and (most is None or int(value) <= most):
        return int(value)
    span = f"of at least {least}" if most is None else f"from {least} to {most}"
    raise MplibError(f"{what} is {value!r}, expected a whole number {span}")


def check_splits(what: str, splits: dict[str, Split], classes: list[str]) -> None:
    """Refuse splits that do not hold square uint8 images and int64 labels of ``classes``, with one sentence."""
    if len(classes) < 2:
        raise MplibError(f"{what} has {len(classes)} classes, expected at least 2: there is nothing to classify")
    sizes = set()
    for name, (images, labels) in splits.items():
        shape, count = tuple(images.shape), len(classes)
        if images.dtype != torch.uint8 or images.ndim != 4 or shape[1] != 3 or shape[2] != shape[3]:
            raise MplibError(f"{what}: {name} images are {images.dtype} {shape}, expected uint8 (N, 3, S, S)")
        if labels.dtype != torch.int64 or tuple(labels.shape) != shape[:1]:
            raise MplibError(
                f"{what}: {name} labels are {labels.dtype} {tuple(labels.shape)}, expected int64 ({shape[0]},)"
            )
        if shape[0] == 0 or shape[2] == 0:
            raise MplibError(f"{what}: the {name} split is empty, expected at least one image")
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= count:
            raise MplibError(f"{what}: {name} labels run from {low} to {high}, expected 0 to {count - 1}")
        sizes.add(shape[2])
    if len(sizes) > 1:
        raise MplibError(f"{what}: the splits hold images of {sorted(sizes)} px, expected one size")
