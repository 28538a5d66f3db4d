"""Mirrored tasks: what goes where, what repeats, what is refused."""

from __future__ import annotations

import pytest
import torch

from mplib.data import Dataset, Split, Task, split_tasks
from mplib.errors import MplibError


def source(classes: int = 12, per_class: int = 10, flip: bool = True) -> Dataset:
    """The pixels of an image spell its row, so that it can be recognised in a task."""
    count = classes * per_class
    rows = torch.arange(count)
    images = torch.zeros(count, 3, 4, 4, dtype=torch.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = (rows // 256).to(torch.uint8), (rows % 256).to(torch.uint8)
    train = Split(images, rows % classes)
    return Dataset("toy", train, train, [f"c{k}" for k in range(classes)], flip=flip)


def rows_of(split: Split) -> list[int]:
    first = split.images[:, 0, 0, :2].long()
    return (first[:, 0] * 256 + first[:, 1]).tolist()


def test_the_authors_layout() -> None:
    data = source(classes=200, per_class=4)
    tasks = split_tasks(data, n_tasks=10)
    assert [task.num_classes for task in tasks] == [40] * 10
    assert tasks[4].classes == data.classes[80:120]
    assert [task.name for task in tasks[:3]] == ["toy/1of5/AB", "toy/1of5/BA", "toy/2of5/AB"]
    assert tasks[0].image_size == 4


def test_halves_are_mirrored_disjoint_complete_and_balanced() -> None:
    data = source()
    tasks = split_tasks(data, n_tasks=6)
    seen: list[int] = []
    for first, second in zip(tasks[::2], tasks[1::2], strict=True):
        assert torch.equal(first.train.images, second.valid.images)
        assert torch.equal(first.valid.labels, second.train.labels)
        a, b = set(rows_of(first.train)), set(rows_of(first.valid))
        assert not a & b
        assert torch.bincount(first.train.labels).tolist() == torch.bincount(first.valid.labels).tolist() == [5] * 4
        seen += a | b
    assert sorted(seen) == list(range(data.train.n))


def test_labels_count_from_zero_and_keep_their_class() -> None:
    data = source()
    for task in split_tasks(data, n_tasks=6, seed=3):
        for half in (task.train, task.valid):
            for row, label in zip(rows_of(half), half.labels.tolist(), strict=True):
                assert task.classes[label] == f"c{row % 12}"


def test_odd_classes_share_the_extra_images() -> None:
    for task in split_tasks(source(classes=4, per_class=5), n_tasks=2):
        assert task.train.n == task.valid.n == 10
        assert set(torch.bincount(task.train.labels).tolist()) == {2, 3}


def test_the_seed_decides_the_halves() -> None:
    data = source()
    first, same, other = (split_tasks(data, n_tasks=4, seed=s) for s in (0, 0, 1))
    assert [t.fingerprint for t in first] == [t.fingerprint for t in same]
    assert all(a.fingerprint != b.fingerprint for a, b in zip(first, other, strict=True))
    before = torch.random.get_rng_state()
    split_tasks(data, n_tasks=4)
    assert torch.equal(before, torch.random.get_rng_state())


def test_uneven_class_counts_are_dealt_out() -> None:
    sizes = [task.num_classes for task in split_tasks(source(classes=11), n_tasks=8)]
    assert sizes == [3, 3, 3, 3, 3, 3, 2, 2]


def test_groups_of_a_given_size() -> None:
    tasks = split_tasks(source(), n_tasks=4, classes_per_group=3)
    assert [task.classes for task in tasks[::2]] == [["c0", "c1", "c2"], ["c3", "c4", "c5"]]


def test_groups_that_overlap_use_every_class_about_equally() -> None:
    tasks = split_tasks(source(), n_tasks=10, classes_per_group=7, seed=2)
    groups = [task.classes for task in tasks[::2]]
    assert all(len(set(group)) == 7 for group in groups)
    assert len({tuple(group) for group in groups}) == 5
    uses = [sum(f"c{k}" in group for group in groups) for k in range(12)]
    assert sum(uses) == 35
    assert max(uses) - min(uses) == 1
    assert groups != [t.classes for t in split_tasks(source(), n_tasks=10, classes_per_group=7, seed=3)[::2]]


def test_flip_and_test_split() -> None:
    assert not any(task.flip for task in split_tasks(source(flip=False), n_tasks=2))
    assert all(isinstance(task, Task) for task in split_tasks(source(), n_tasks=2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_tasks": 5}, "n_tasks is 5, expected an even number"),
        ({"n_tasks": 0}, "n_tasks is 0, expected a whole number of at least 2"),
        ({"n_tasks": "10"}, "n_tasks is '10'"),
        (
            {"n_tasks": 14},
            "but the 12 classes of 'toy' make 6 groups of at least 2; expected at most 12",
        ),
        ({"classes_per_group": 1}, "classes_per_group is 1, expected a whole number from 2 to 12"),
        ({"classes_per_group": 13}, "classes_per_group is 13, expected a whole number from 2 to 12"),
        ({"n_tasks": 2, "seed": -1}, "seed is -1"),
        ({"n_tasks": 2, "seed": None}, "seed is None"),
    ],
)
def test_refuses(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(MplibError, match=message):
        split_tasks(source(), **arguments)


def test_refuses_what_is_no_data_set_and_classes_too_small_to_halve() -> None:
    with pytest.raises(MplibError, match="source is of type str, expected a data set"):
        split_tasks("photos")  # type: ignore[arg-type]
    with pytest.raises(MplibError, match="class 'c0' of 'toy' has 1 training images, expected at least 2"):
        split_tasks(source(per_class=1), n_tasks=2)
