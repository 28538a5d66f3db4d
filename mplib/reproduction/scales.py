"""The sizes of a suite: the paper's protocol, one for a CPU, and one that is done in seconds.

=========================  =======================  ====================================  ===========================
what                       paper                    small                                 toy
=========================  =======================  ====================================  ===========================
source of meta-training    Tiny ImageNet, 32 px     the same, 125 of 500 images a class   photos, 16 px
tasks, network, steps      10, resnet20, 750        10, conv4, 750                        4, conv4 of width 4, 3
batch (tasks and targets)  128                      32                                    8
target runs                10,000 steps, 5 seeds    1,000 steps, 3 seeds                  3 steps, 2 seeds
test                       all images, 100 samples  2,000 images at most, 20 samples      30 images, 2 samples
targets                    32 px, fine-grained 84   32 px                                 digits and mnist5k, 16 px
network of the targets     resnet20                 conv4                                 conv4 of width 4
=========================  =======================  ====================================  ===========================

At small scale a quarter of the images meets a quarter of the batch, so that each network of meta-training sees each
image as often as at paper scale. A choice of fewer test images is balanced over the classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mplib.errors import unknown


@dataclass(frozen=True)
class Scale:
    """How large everything in a suite is.

    Attributes:
        name: "paper", "small" or "toy".
        source, source_size, source_per_class: the data set that phis are meta-trained from, its pixels, and the images
            of each class (all if None, else those of ``subset(per_class, seed=0)``).
        tasks, classes_per_group: of meta-training; see :func:`mplib.data.split_tasks`.
        task_counts: numbers of tasks that the suite ``tasks`` compares.
        meta_net, meta_steps, meta_seeds: of meta-training.
        selection_steps, selection_per_class: of the runs that phis are chosen by
            (:mod:`mplib.reproduction.selection`).
        targets: data sets with their pixels, in order; those that are not at hand are left out.
        first: the data set of the suites that have one.
        net: network of the suites that have one.
        nets: those of the suite ``architectures``.
        width: channels of conv4 and conv6; their default if None.
        steps, batch_size, samples, seeds: of a target run; the batch also of meta-training.
        test_images: test images at most; all if None.
        draws, counts: Monte-Carlo samples of the suite ``calibration``, and numbers of them to compare.
        attack: settings of :func:`mplib.attack`, and ``radii`` for each norm.
    """

    name: str
    source: str
    source_size: int
    source_per_class: int | None
    tasks: int
    classes_per_group: int
    task_counts: tuple[int, ...]
    meta_net: str
    meta_steps: int
    meta_seeds: tuple[int, ...]
    selection_steps: int
    selection_per_class: int
    targets: Mapping[str, int]
    first: str
    net: str
    nets: tuple[str, ...]
    width: int | None
    steps: int
    batch_size: int
    samples: int
    seeds: tuple[int, ...]
    test_images: int | None
    draws: int
    counts: tuple[int, ...]
    attack: Mapping[str, Any] = field(default_factory=dict)


_TARGETS = {
    "s-cifar100": 32,
    "stl10": 32,
    "stanford_cars": 84,
    "aircraft": 84,
    "stanford_dogs": 84,
    "cub200": 84,
    # Not in the paper's list.
    "cub200_first10": 84,
    "gtsrb": 32,
}
_RADII = {"linf": (1 / 255, 2 / 255, 4 / 255, 8 / 255), "l2": (0.25, 0.5, 1.0), "l1": (4.0, 8.0, 16.0)}

_PAPER = Scale(
    name="paper",
    source="tiny_imagenet",
    source_size=32,
    source_per_class=None,
    tasks=10,
    classes_per_group=40,
    task_counts=(2, 4, 6, 8, 10),
    meta_net="resnet20",
    meta_steps=750,
    meta_seeds=(0, 1, 2, 3, 4),
    selection_steps=3_000,
    selection_per_class=20,
    targets=_TARGETS,
    first="s-cifar100",
    net="resnet20",
    nets=("conv4", "conv6", "vgg9", "resnet20", "resnet44", "wrn28_2"),
    width=None,
    steps=10_000,
    batch_size=128,
    samples=100,
    seeds=(0, 1, 2, 3, 4),
    test_images=None,
    draws=100,
    counts=(1, 2, 5, 10, 20, 50, 100),
    attack={"steps": 200, "eot": 10, "images": 1_000, "samples": 20, "radii": _RADII},
)

_SMALL = Scale(
    name="small",
    source="tiny_imagenet",
    source_size=32,
    source_per_class=125,
    tasks=10,
    classes_per_group=40,
    task_counts=(2, 6, 10),
    meta_net="conv4",
    meta_steps=750,
    meta_seeds=(0, 1, 2, 3, 4),
    selection_steps=1_000,
    selection_per_class=20,
    targets=dict.fromkeys(_TARGETS, 32),
    first="s-cifar100",
    net="conv4",
    nets=("conv4", "conv6", "resnet20"),
    width=None,
    steps=1_000,
    batch_size=32,
    samples=20,
    seeds=(0, 1, 2),
    test_images=2_000,
    draws=20,
    counts=(1, 2, 5, 10, 20),
    attack={
        "steps": 20,
        "eot": 4,
        "images": 100,
        "samples": 10,
        "radii": {"linf": (2 / 255, 8 / 255), "l2": (0.5,)},
    },
)

_TOY = Scale(
    name="toy",
    source="photos",
    source_size=16,
    source_per_class=None,
    tasks=4,
    classes_per_group=8,
    task_counts=(2, 4),
    meta_net="conv4",
    meta_steps=3,
    meta_seeds=(0, 1),
    selection_steps=3,
    selection_per_class=4,
    targets={"digits": 16, "mnist5k": 16},
    first="digits",
    net="conv4",
    nets=("conv4", "conv6", "resnet20"),
    width=4,
    steps=3,
    batch_size=8,
    samples=2,
    seeds=(0, 1),
    test_images=30,
    draws=4,
    counts=(1, 2, 4),
    attack={"steps": 2, "eot": 2, "images": 6, "samples": 2, "radii": {"linf": (0.05,)}},
)

SCALES = {scale.name: scale for scale in (_PAPER, _SMALL, _TOY)}


def find_scale(name: str) -> Scale:
    """The scale of a name.

    Raises:
        MplibError: there is none.

    Example:
        >>> find_scale("paper").steps, find_scale("small").steps
        (10000, 1000)
    """
    if name not in SCALES:
        raise unknown("scale", name, SCALES)
    return SCALES[name]
