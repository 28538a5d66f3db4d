"""Wrong labels, on purpose."""

from __future__ import annotations

from dataclasses import replace

import torch

from mplib.data import Dataset
from mplib.errors import MplibError
from mplib.seeding import stream


def mislabel(data: Dataset, fraction: float, seed: int = 0) -> Dataset:
    """The same data set with some of its training labels wrong; the test labels stay right.

    Args:
        data: a data set.
        fraction: part of the training images, in [0, 1], whose label is replaced by one of the *other* classes, each
            as likely as the next: so this is the part that is wrong, rounded to whole images.
        seed: which images and which labels, at least 0.

    Returns:
        A data set whose name says how many are wrong.

    Raises:
        MplibError: a fraction out of range.

    Example:
        >>> import mplib
        >>> digits = mplib.data.load("digits", image_size=8)
        >>> wrong = mislabel(digits, 0.25).train.labels != digits.train.labels
        >>> round(wrong.double().mean().item(), 3)
        0.25
    """
    if not 0 <= fraction <= 1:
        raise MplibError(f"label_noise is {fraction}, expected a fraction of the training images, from 0 to 1")
    labels = data.train.labels.clone()
    generator = stream(seed, "wrong labels")
    chosen = torch.randperm(len(labels), generator=generator)[: round(fraction * len(labels))].to(labels.device)
    shift = torch.randint(1, data.num_classes, (len(chosen),), generator=generator).to(labels.device)
    labels[chosen] = (labels[chosen] + shift) % data.num_classes
    train = data.train._replace(labels=labels)
    return replace(data, name=f"{data.name}[wrong={fraction},seed={seed}]", train=train)
