"""Training batches, shuffled and augmented, of one network or of many at once, from images that lie on the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mplib.data import Split, normalise
from mplib.data.augmentation import draws, moved, padding_for
from mplib.errors import MplibError
from mplib.seeding import stream

Batch = tuple[Tensor, Tensor]
"""Images (batch, 3, H, W) in [-1, 1], and their labels (batch,)."""


class Batches:
    """The training batch of any step, as a function of the seed and of the step alone: the same on every device.

    An epoch visits every image once in a fresh order; what is left over at its end, less than a batch, is dropped, as
    in the authors' code. A split smaller than a batch is one batch.

    Args:
        split: images (N, 3, H, W) of type uint8 and labels (N,).
        batch_size: images in a batch, at least 2 (the perturbation needs a variance over the batch).
        seed: seed of the order and of the augmentation.
        device: where the images are kept.
        crop: whether to crop at random after padding with black, by 4 pixels up to 32 px, by 8 above.
        flip: whether to mirror half of the images.

    Raises:
        MplibError: a batch of fewer than 2 images.

    Example:
        >>> images = torch.zeros(10, 3, 8, 8, dtype=torch.uint8)
        >>> batches = Batches(Split(images, torch.arange(10)), batch_size=4, seed=0)
        >>> images, labels = batches[0]
        >>> images.shape, images.dtype, torch.equal(labels, batches[0][1]), batches.per_epoch
        (torch.Size([4, 3, 8, 8]), torch.float32, True, 2)
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        crop: bool = True,
        flip: bool = True,
    ) -> None:
        self.batch_size = min(batch_size, len(split.labels))
        if self.batch_size < 2:
            raise MplibError(
                f"a batch would hold {self.batch_size} image (batch size {batch_size}, {len(split.labels)} images), "
                "expected at least 2"
            )
        self.split, self.device = split, torch.device(device)
        self.padding = padding_for(split.images.shape[3]) if crop else 0
        self.per_epoch = len(split.labels) // self.batch_size
        self._seed, self._flip = seed, flip
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)
        self._alone: BatchStack | None = None

    def plan(self, step: int) -> Tensor:
        """Which images step ``step`` takes and how they are moved, on the CPU: index, row, column, coin, (4, batch)."""
        epoch, position = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._order = torch.randperm(len(self.split.labels), generator=stream(self._seed, "order", epoch))
            self._epoch = epoch
        chosen = self._order[position * self.batch_size : (position + 1) * self.batch_size]
        augmentation = stream(self._seed, "augmentation", step)
        return torch.stack([chosen, *draws(self.batch_size, self.padding, self._flip, augmentation)])

    def __getitem__(self, step: int) -> Batch:
        """Images of step ``step``, (batch, 3, H, W) in [-1, 1], and their labels, (batch,)."""
        if self._alone is None:
            self._alone = BatchStack([self])
        return self._alone[step][0]


class BatchStack:
    """The batches that several networks take at a step, made together: a few launches for all of them.

    Batches of the same shape are cut out of one pool of images; a split that several networks share is in it once.

    Args:
        batches: one for each network, on one device; they may differ in image size and batch size.

    Example:
        >>> split = Split(torch.zeros(10, 3, 8, 8, dtype=torch.uint8), torch.arange(10))
        >>> two = [Batches(split, batch_size=4, seed=seed) for seed in (0, 1)]
        >>> [torch.equal(labels, own[3][1]) for (_, labels), own in zip(BatchStack(two)[3], two, strict=True)]
        [True, True]
    """

    def __init__(self, batches: Sequence[Batches]) -> None:
        groups: dict[tuple[object, ...], list[int]] = {}
        for number, own in enumerate(batches):
            alike = (own.device, own.batch_size, own.padding, own.split.images.shape[1:])
            groups.setdefault(alike, []).append(number)
        self._pools = [_Pool([(number, batches[number]) for number in numbers]) for numbers in groups.values()]
        self._count = len(batches)

    def __getitem__(self, step: int) -> list[Batch]:
        """The batch of each network at step ``step``."""
        found: dict[int, Batch] = {}
        for pool in self._pools:
            found.update(pool.batches(step))
        return [found[number] for number in range(self._count)]


class _Pool:
    """The images of batches that are alike in shape."""

    def __init__(self, members: Sequence[tuple[int, Batches]]) -> None:
        self._members, first = members, members[0][1]
        self._device, self._padding = first.device, first.padding
        splits: dict[tuple[int, int], Split] = {}
        starts: dict[tuple[int, int], int] = {}
        total = 0
        for _, own in members:
            key = own.split.images.data_ptr(), own.split.labels.data_ptr()
            if key not in splits:
                splits[key], starts[key] = own.split, total
                total += len(own.split.labels)
        self._starts = [starts[own.split.images.data_ptr(), own.split.labels.data_ptr()] for _, own in members]
        moved_there = [split.to(self._device) for split in splits.values()]
        alone = len(moved_there) == 1
        self._images = moved_there[0].images if alone else torch.cat([split.images for split in moved_there])
        self._labels = moved_there[0].labels if alone else torch.cat([split.labels for split in moved_there])

    def batches(self, step: int) -> list[tuple[int, Batch]]:
        plans = [own.plan(step) for _, own in self._members]
        for plan, start in zip(plans, self._starts, strict=True):
            plan[0] += start
        plan = torch.cat(plans, dim=1)
        if self._device.type == "cuda":
            plan = plan.pin_memory().to(self._device, non_blocking=True)
        chosen, rows, columns, mirrored = plan
        images = self._images[chosen]
        if self._padding or mirrored.device.type == "cuda" or mirrored.any():
            images = moved(images, rows, columns, mirrored, self._padding)
        size = self._members[0][1].batch_size
        cut = zip(normalise(images).split(size), self._labels[chosen].split(size), strict=True)
        return [(number, batch) for (number, _), batch in zip(self._members, cut, strict=True)]
