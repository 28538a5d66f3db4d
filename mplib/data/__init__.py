"""Data: one uint8 tensor a split, from wherever the images come.

>>> data = load("digits", image_size=8)
>>> data.train.images.dtype, tuple(data.train.images.shape), data.num_classes
(torch.uint8, (1000, 3, 8, 8), 10)
>>> tasks = split_tasks(load("photos"), n_tasks=8, classes_per_group=8)
>>> len(tasks), tasks[0].num_classes
(8, 8)
>>> batch = normalise(augment(data.train.images[:16], flip=data.flip))
>>> tuple(batch.shape)
(16, 3, 8, 8)

``sources`` has a module for each form that images lie on a disk in, ``catalogue`` what is known about each set,
``registry`` the names; ``cache`` keeps what was decoded, ``packing`` cuts a set into pieces that can be carried.
"""

from __future__ import annotations

from mplib.data.augmentation import augment, normalise
from mplib.data.dataset import Dataset, Split, Task
from mplib.data.registry import describe, load, names
from mplib.data.sources import vision
from mplib.data.tasks import split_tasks

vision.watch()  # so that a user's own `import torchvision` works too

__all__ = ["Dataset", "Split", "Task", "augment", "describe", "load", "names", "normalise", "split_tasks"]
