"""Which of five meta-trained phis is ours: the rule, written down before any of them was scored.

The authors do not say how theirs was chosen. Ours is chosen on images that neither meta-training nor any table uses:
the *validation* split of the source, of which meta-training sees nothing. (Of the 10,000 validation images of Tiny
ImageNet 7 are also training images, under other labels: so in the source.)

1. The images: every fifth class of the source (40 of Tiny ImageNet's 200, eight from each group of 40 that a source
   task has, so that the task is none of the source tasks), with all their validation images (50 each).
2. Each phi trains fresh networks of the kind that it was learned on: seeds 0, 1, 2. The seed draws the 20 images of
   each class that train; the other 30 are scored. So all phis face the same images, networks and batches.
3. The phi with the highest mean accuracy wins. All that are less than half a point below it are level with it, and
   among these the lowest mean nll wins; if two are equal still, the lower seed.

At paper scale a network takes 3,000 steps of 128 images: 480 passes over the 800 images, where the protocol's 10,000
steps make 256 over the 5,000 of s-CIFAR100. At small scale it takes 1,000 steps of 32. All else is the recipe of every
target. The controls play no part: the rule chooses among five phis, it does not say that any of them is good.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch

from mplib.data import Dataset, Split
from mplib.errors import MplibError

EVERY = 5
"""One of so many classes of the source takes part."""

SEEDS = (0, 1, 2)
"""Of the networks that each phi trains, and of the images that they train on."""

LEVEL = 0.005
"""Accuracies that differ by less are level."""


class Score(NamedTuple):
    """What one network of a phi reached on the images that were left out.

    Attributes:
        accuracy: in [0, 1].
        nll: in nats.
    """

    accuracy: float
    nll: float


def selection_images(source: Dataset) -> Dataset:
    """The images that phis are chosen on: the validation images of every fifth class.

    Both splits of the result are the same images: runs on it say ``tuning`` (see
    :class:`mplib.experiments.Transfer`), which scores on those that the seed did not draw for training.

    Args:
        source: the data set that phis are meta-trained from; only its test split is used.

    Returns:
        The data set, with labels that count from 0.

    Example:
        >>> import mplib
        >>> selection_images(mplib.data.load("photos", image_size=16))
        Dataset('photos[selection]', 4 classes, 48 train, 48 test, 16 px)
    """
    chosen = list(range(0, source.num_classes, EVERY))
    labels = source.test.labels
    rows = torch.nonzero(torch.isin(labels, torch.tensor(chosen, device=labels.device))).flatten()
    found = source.test.take(rows)
    split = Split(found.images, torch.div(found.labels, EVERY, rounding_mode="floor"))
    names = [source.classes[label] for label in chosen]
    return replace(source, name=f"{source.name}[selection]", train=split, test=split, classes=names)


def choose(scores: Mapping[int, Sequence[Score]]) -> int:
    """The seed of the phi that the rule chooses.

    Args:
        scores: for the seed of each phi the scores of its networks, equally many for each.

    Raises:
        MplibError: no phi, or not the same number of scores for each.

    Example:
        >>> choose({0: [Score(0.200, 3.1)], 1: [Score(0.204, 3.3)], 2: [Score(0.150, 2.0)]})
        0
    """
    if not scores or len({len(own) for own in scores.values()}) != 1 or not all(scores.values()):
        counts = {seed: len(own) for seed, own in scores.items()}
        raise MplibError(f"the phis have {counts} scores, expected equally many, at least one, for each of them")
    accuracy = {seed: sum(score.accuracy for score in own) / len(own) for seed, own in scores.items()}
    nll = {seed: sum(score.nll for score in own) / len(own) for seed, own in scores.items()}
    best = max(accuracy.values())
    level = [seed for seed in scores if best - accuracy[seed] < LEVEL]
    return min(level, key=lambda seed: (nll[seed], seed))
