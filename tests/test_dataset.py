"""The Dataset and Task containers: what they refuse, subsets, fingerprints."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mplib.data import Dataset, Split, Task
from mplib.data.dataset import fingerprint, interleave
from mplib.errors import MplibError


def split(labels: list[int], size: int = 8) -> Split:
    """Images that all differ: the k-th is filled with k."""
    images = torch.arange(len(labels), dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 3, size, size)
    return Split(images.contiguous(), torch.tensor(labels, dtype=torch.int64))


def dataset(labels: list[int], classes: int = 3) -> Dataset:
    return Dataset("toy", split(labels), split([0, 1]), [f"c{k}" for k in range(classes)])


def test_properties() -> None:
    data = dataset([0, 1, 2, 0])
    assert (data.num_classes, data.image_size, data.train.n, data.test.n, data.flip) == (3, 8, 4, 2, True)
    assert repr(data) == "Dataset('toy', 3 classes, 4 train, 2 test, 8 px)"
    assert repr(data.train) == "Split(4 images, 3 x 8 x 8, cpu)"
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.name = "other"  # type: ignore[misc]
    images, labels = data.train
    assert images.shape[0] == labels.shape[0] == 4


GOOD = split([0, 1, 2])
BAD: dict[str, tuple[Callable[[], Split], str]] = {
    "float images": (lambda: Split(GOOD.images.float(), GOOD.labels), r"train images are torch.float32 \(3, 3, 8, 8\)"),
    "grey images": (lambda: Split(GOOD.images[:, :1], GOOD.labels), r"expected uint8 \(N, 3, S, S\)"),
    "oblong images": (lambda: Split(GOOD.images[..., :4], GOOD.labels), r"expected uint8 \(N, 3, S, S\)"),
    "a single image": (lambda: Split(GOOD.images[0], GOOD.labels), r"expected uint8 \(N, 3, S, S\)"),
    "int32 labels": (lambda: Split(GOOD.images, GOOD.labels.int()), r"train labels are torch.int32 \(3,\)"),
    "too few labels": (lambda: Split(GOOD.images, GOOD.labels[:2]), r"expected int64 \(3,\)"),
    "empty": (lambda: Split(GOOD.images[:0], GOOD.labels[:0]), "the train split is empty"),
    "label too high": (lambda: Split(GOOD.images, GOOD.labels + 1), "train labels run from 1 to 3, expected 0 to 2"),
    "label below 0": (lambda: Split(GOOD.images, GOOD.labels - 1), "train labels run from -1 to 1, expected 0 to 2"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_splits_are_refused(name: str) -> None:
    make, message = BAD[name]
    with pytest.raises(MplibError, match=message):
        Dataset("toy", make(), GOOD, ["a", "b", "c"])
    with pytest.raises(MplibError, match=message):
        Task("toy", make(), GOOD, ["a", "b", "c"])


def test_one_class_and_two_sizes_are_refused() -> None:
    with pytest.raises(MplibError, match="has 1 classes, expected at least 2"):
        Dataset("toy", split([0, 0]), split([0]), ["only"])
    with pytest.raises(MplibError, match=r"images of \[8, 16\] px, expected one size"):
        Dataset("toy", split([0, 1]), split([0, 1], size=16), ["a", "b"])


def test_fingerprint_is_of_pixels_and_labels_alone() -> None:
    data = dataset([0, 1, 2, 0])
    same = Dataset("another name", data.train, data.test, ["x", "y", "z"], flip=False)
    assert data.fingerprint == same.fingerprint == data.fingerprint
    assert len(data.fingerprint) == 64
    pixels, labels = data.train.images.clone(), data.train.labels.clone()
    pixels[1, 2, 3, 4] += 1
    labels[3] = 1
    others = [Split(pixels, data.train.labels), Split(data.train.images, labels)]
    prints = {dataclasses.replace(data, train=other).fingerprint for other in others}
    prints |= {dataclasses.replace(data, train=data.test, test=data.train).fingerprint, data.fingerprint}
    assert len(prints) == 4
    assert Task("t", data.train, data.test, data.classes).fingerprint == data.fingerprint


def test_fingerprint_does_not_depend_on_the_layout_in_memory() -> None:
    images = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    labels = torch.zeros(5, dtype=torch.int64)
    strided = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert fingerprint(Split(images, labels)) == fingerprint(Split(strided, labels))


def test_subset_is_balanced_nested_and_repeatable() -> None:
    data = dataset([k % 3 for k in range(30)])
    small, same, other = data.subset(per_class=2), data.subset(per_class=2), data.subset(per_class=2, seed=1)
    assert small.name == "toy[per_class=2,seed=0]"
    assert torch.bincount(small.train.labels).tolist() == [2, 2, 2]
    assert small.fingerprint == same.fingerprint != other.fingerprint
    assert torch.equal(small.test.images, data.test.images)
    larger = {int(x) for x in data.subset(per_class=5).train.images[:, 0, 0, 0]}
    assert {int(x) for x in small.train.images[:, 0, 0, 0]} <= larger
    # the k-th image is filled with k, and has the label k mod 3
    assert torch.equal(small.train.images[:, 0, 0, 0] % 3, small.train.labels)


def test_left_out_is_what_the_subset_does_not_have() -> None:
    data = dataset([k % 3 for k in range(30)])
    part, rest = data.subset(per_class=4, seed=3).train, data.left_out(4, seed=3)
    filled = [*part.images[:, 0, 0, 0].tolist(), *rest.images[:, 0, 0, 0].tolist()]
    assert sorted(filled) == list(range(30)) and rest.n == 18
    assert torch.bincount(rest.labels[:6]).tolist() == [2, 2, 2]
    assert data.left_out(10).n == 0
    with pytest.raises(MplibError, match="per_class is 11"):
        data.left_out(11)


def test_subset_by_n_is_as_balanced_as_it_can_be() -> None:
    data = dataset([k % 3 for k in range(30)])
    counts = torch.bincount(data.subset(n=11).train.labels, minlength=3)
    assert counts.sum() == 11
    assert counts.max() - counts.min() == 1
    assert data.subset(n=30).train.n == 30
    scarce = dataset([0, 1, 2, 2, 2, 2])
    assert torch.bincount(scarce.subset(n=5).train.labels).tolist() == [1, 1, 3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "per_class=None and n=None, expected exactly one"),
        ({"per_class": 1, "n": 3}, "expected exactly one"),
        ({"per_class": 0}, "per_class is 0, expected a whole number of at least 1"),
        ({"per_class": 1.5}, "per_class is 1.5"),
        ({"per_class": 3}, "class 'c2' of 'toy' has 1 training images"),
        ({"n": 6}, "n is 6, but 'toy' has 5 training images"),
        ({"n": True}, "n is True"),
        ({"n": 2, "seed": -1}, "seed is -1"),
    ],
)
def test_subset_refuses(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(MplibError, match=message):
        dataset([0, 0, 1, 1, 2]).subset(**arguments)


@settings(max_examples=50, deadline=None)
@given(labels=st.lists(st.integers(0, 4), max_size=40), shuffled=st.booleans())
def test_interleave_keeps_every_first_part_balanced(labels: list[int], shuffled: bool) -> None:
    targets = torch.tensor(labels, dtype=torch.int64)
    order = interleave(targets, 5, torch.Generator().manual_seed(0) if shuffled else None)
    assert sorted(order.tolist()) == list(range(len(labels)))
    total = torch.bincount(targets, minlength=5)
    for stop in range(len(labels) + 1):
        counts = torch.bincount(targets[order[:stop]], minlength=5)
        running: Tensor = counts[counts < total]  # classes that have images left
        if len(running):
            assert counts.max() - running.min() <= 1


def test_split_moves() -> None:
    moved = GOOD.to("meta")
    assert moved.images.device.type == moved.labels.device.type == "meta"
    assert torch.equal(GOOD.take(torch.tensor([2, 0])).labels, torch.tensor([2, 0]))
