"""From one source data set to the tasks of meta-training: groups of classes, halved and mirrored.

The classes are dealt into ``n_tasks / 2`` groups. The images of a group are shuffled and halved into A and B, and
each group gives two tasks: one trains on A and validates on B, the next the other way round. So every image is
used for both, and the networks of all tasks see different problems at the same time.
"""

from __future__ import annotations

import torch

from mplib.data.dataset import Dataset, Split, Task, whole_number
from mplib.errors import MplibError


def split_tasks(source: Dataset, n_tasks: int = 10, seed: int = 0, classes_per_group: int | None = None) -> list[Task]:
    """Split the training images of a data set into mirrored tasks.

    *Halves.* The halves are balanced over the classes: each class is shuffled and halved, and of an odd number
    the extra image goes to A and B in turn. The authors halve the shuffled group as a whole, so that of 500 images
    of a class 250 fall into a half give or take 11, where they are exactly 250 here; their shuffle has no seed, so
    their halves cannot be had again in any case.

    Args:
        source: the data set; only its training split is used.
        n_tasks: how many tasks, even: two from each group of classes. The authors use 10.
        seed: of the shuffles, 0 or more.
        classes_per_group: classes in each group, at least 2. ``None`` deals all classes into groups of
            consecutive classes, as equal as possible (200 classes and 10 tasks: 40 a group, as the authors have
            it). A number that the classes allow gives groups of that many consecutive classes, and the classes
            left over at the end are not used. A larger number gives random groups that overlap, in which every
            class occurs about equally often.

    Returns:
        The tasks; 2i and 2i + 1 share a group, with the halves exchanged. Labels count from 0 in each.

    Raises:
        MplibError: an odd number of tasks, more tasks than the classes allow, groups of one class, a class with
            fewer than 2 images, or something that is not a data set.

    Example:
        >>> images = torch.zeros(16, 3, 8, 8, dtype=torch.uint8)
        >>> toy = Split(images, torch.arange(16) % 4)
        >>> split_tasks(Dataset("toy", toy, toy, list("abcd")), n_tasks=4)[1]
        Task('toy/1of2/BA', 2 classes, 4 train, 4 valid, 8 px)

    Source: the authors' ``split_dataset.py`` and ``dataloader.py``.
    """
    if not isinstance(source, Dataset):
        raise MplibError(f"source is of type {type(source).__name__}, expected a data set such as load() returns")
    generator = torch.Generator().manual_seed(whole_number("seed", seed, 0))
    groups = _groups(source, n_tasks, classes_per_group, generator)
    tasks = []
    for i, group in enumerate(groups, start=1):
        first, second = _halves(source, group, generator)
        classes = [source.classes[c] for c in group]
        name = f"{source.name}/{i}of{len(groups)}"
        tasks.append(Task(f"{name}/AB", first, second, classes, source.flip))
        tasks.append(Task(f"{name}/BA", second, first, classes, source.flip))
    return tasks


def _groups(
    source: Dataset, n_tasks: int, classes_per_group: int | None, generator: torch.Generator
) -> list[list[int]]:
    """The classes of each group, in ascending order."""
    if whole_number("n_tasks", n_tasks, 2) % 2:
        raise MplibError(f"n_tasks is {n_tasks}, expected an even number: every group of classes gives two tasks")
    count, total = n_tasks // 2, source.num_classes
    if classes_per_group is None:
        if total < 2 * count:
            raise MplibError(
                f"n_tasks is {n_tasks}, but the {total} classes of {source.name!r} make {total // 2} groups of at "
                f"least 2; expected at most {total // 2 * 2} tasks, or classes_per_group for groups that overlap"
            )
        return [part.tolist() for part in torch.tensor_split(torch.arange(total), count)]
    size = whole_number("classes_per_group", classes_per_group, 2, total)
    if size * count <= total:
        return [list(range(i * size, (i + 1) * size)) for i in range(count)]
    used, groups = torch.zeros(total), []
    for _ in range(count):
        # The least used classes come first; a draw below 1 settles ties between equal counts.
        chosen = torch.argsort(used + torch.rand(total, generator=generator))[:size]
        used[chosen] += 1
        groups.append(sorted(chosen.tolist()))
    return groups


def _halves(source: Dataset, group: list[int], generator: torch.Generator) -> tuple[Split, Split]:
    """Two halves of a group's training images, balanced over its classes, labelled from 0."""
    labels = source.train.labels.cpu()
    halves: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    extra = 0  # which half gets the extra image of the next odd class
    for c in group:
        rows = torch.nonzero(labels == c).flatten()
        if len(rows) < 2:
            raise MplibError(
                f"class {source.classes[c]!r} of {source.name!r} has {len(rows)} training images, expected at "
                "least 2: one for each half"
            )
        rows = rows[torch.randperm(len(rows), generator=generator)]
        middle = (len(rows) + 1 - extra) // 2
        extra ^= len(rows) % 2
        halves[0].append(rows[:middle])
        halves[1].append(rows[middle:])
    renumber = torch.full((source.num_classes,), -1)
    renumber[torch.tensor(group)] = torch.arange(len(group))
    first, second = (source.train.take(torch.cat(half)) for half in halves)
    renumber = renumber.to(first.labels.device)
    return Split(first.images, renumber[first.labels]), Split(second.images, renumber[second.labels])
