"""Shuffled, augmented batches from images that already lie on the device."""

from __future__ import annotations

import torch
from torch import Tensor

from mplib.data import Split, augment, normalise
from mplib.errors import MplibError
from mplib.seeding import stream


class Batches:
    """The training batch of any step, as a function of the seed and of the step alone.

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
        self.images = split.images.to(device)
        self.labels = split.labels.to(device)
        self.per_epoch = len(split.labels) // self.batch_size
        self._seed, self._crop, self._flip = seed, crop, flip
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """Images of step ``step``, (batch, 3, H, W) in [-1, 1], and their labels, (batch,)."""
        epoch, position = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            generator = stream(self._seed, "order", epoch, device=self.images.device)
            self._order = torch.randperm(len(self.labels), generator=generator, device=self.images.device)
            self._epoch = epoch
        chosen = self._order[position * self.batch_size : (position + 1) * self.batch_size]
        images = self.images[chosen]
        if self._crop or self._flip:
            generator = stream(self._seed, "augmentation", step, device=self.images.device)
            images = augment(images, generator, padding=None if self._crop else 0, flip=self._flip)
        return normalise(images), self.labels[chosen]
