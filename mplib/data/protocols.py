"""Named protocols: data sets made from another one by a fixed rule.

A small target set is part of an experiment's definition, so it has a name of its own and always holds the same
images of its source. The rule here is the authors': the first images of each class, in the order of the source's
training split. Drawn at random, by a seed, they are had from :meth:`mplib.data.Dataset.subset`.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from mplib.data.catalogue import CATALOGUE
from mplib.data.dataset import Dataset
from mplib.errors import MplibError

# The name of the protocol, its source, and the training images of each class.
PROTOCOLS: dict[str, tuple[str, int]] = {
    "s-cifar100": ("cifar100", 50),  # the authors' get_dataset.py
    "s-mnist5k": ("mnist5k", 10),  # ours: a target of 100 images that needs no download
}


def apply_protocol(name: str, source: Dataset) -> Dataset:
    """The data set that a protocol makes of its source.

    Args:
        name: a name in :data:`PROTOCOLS`.
        source: the data set that the protocol starts from.

    Returns:
        The source with fewer training images, in the order they had, under the protocol's name.

    Raises:
        MplibError: a class of the source has too few training images.
    """
    _, count = PROTOCOLS[name]
    labels = source.train.labels
    chosen = []
    for label, title in enumerate(source.classes):
        rows = torch.nonzero(labels == label).flatten()[:count]
        if len(rows) < count:
            raise MplibError(
                f"class {title!r} of {source.name!r} has {len(rows)} training images, but {name!r} expected {count}"
            )
        chosen.append(rows)
    rows = torch.cat(chosen).sort().values
    origin = f"{source.name}: {source.source}; {CATALOGUE[name].protocol}"
    return replace(source, name=name, train=source.train.take(rows), source=origin)
