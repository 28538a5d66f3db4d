"""Wrong labels: a data set some of whose training labels are not those of their images."""

from __future__ import annotations

from dataclasses import replace

import torch

from mplib.data import Dataset, Split
from mplib.errors import MplibError
from mplib.seeding import stream


def corrupt_labels(data: Dataset, fraction: float, seed: int = 0) -> Dataset:
    """Give the same fraction of each class's training images a label of another class, drawn evenly.

    The images stay, and the test split stays right: it measures what was learned of the true labels.

    Args:
        data: a data set.
        fraction: of the training labels of each class, in [0, 1]; rounded to whole images.
        seed: which images, and which labels.

    Returns:
        A data set whose name says how many labels are wrong.

    Raises:
        MplibError: a fraction outside of [0, 1].

    Example:
        >>> import mplib
        >>> data = mplib.data.load("digits", image_size=8).subset(per_class=10)
        >>> noisy = corrupt_labels(data, 0.4)
        >>> int((noisy.train.labels != data.train.labels).sum()), noisy.name
        (40, 'digits[per_class=10,seed=0][wrong_labels=0.4,seed=0]')
    """
    if not 0 <= fraction <= 1:
        raise MplibError(f"fraction is {fraction}, expected a number from 0 to 1")
    generator, labels = stream(seed, "wrong labels"), data.train.labels.clone()
    for label in range(data.num_classes):
        own = (data.train.labels == label).nonzero()[:, 0]
        chosen = own[torch.randperm(len(own), generator=generator)[: round(fraction * len(own))]]
        shift = torch.randint(1, data.num_classes, (len(chosen),), generator=generator)
        labels[chosen] = (label + shift) % data.num_classes
    name = f"{data.name}[wrong_labels={fraction},seed={seed}]"
    return replace(data, name=name, train=Split(data.train.images, labels))
