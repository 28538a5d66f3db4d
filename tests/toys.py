"""Small things that many tests need: a data set that can be learned in a few steps, tasks, networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mplib import MetaPerturb, attach, nets
from mplib.data import Dataset, Split, Task


def toy_split(n: int = 48, classes: int = 3, size: int = 16, seed: int = 0) -> Split:
    """Noise, brighter in one colour: the label can be read off the mean of the channels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    images = torch.randint(0, 120, (n, 3, size, size), generator=generator)
    images[torch.arange(n), labels % 3] += 100
    return Split(images.to(torch.uint8), labels)


def toy_data(n: int = 48, classes: int = 3, size: int = 16, flip: bool = True) -> Dataset:
    names = [f"class {k}" for k in range(classes)]
    return Dataset("toy", toy_split(n, classes, size), toy_split(n, classes, size, seed=1), names, flip=flip)


def toy_task(seed: int = 0, classes: int = 3, n: int = 48) -> Task:
    names = [f"class {k}" for k in range(classes)]
    return Task(f"toy/{seed}", toy_split(n, classes, seed=seed), toy_split(n, classes, seed=seed + 50), names)


def toy_net(seed: int = 0, classes: int = 3, phi: nn.Module | None = None, size: int = 16) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nets.build("conv4", num_classes=classes, image_size=size, width=4)
    return net if phi is None else attach(net, phi, image_size=size)


def toy_phi(seed: int = 0) -> MetaPerturb:
    return MetaPerturb(generator=torch.Generator().manual_seed(seed))


def flat(module: nn.Module) -> Tensor:
    """Everything in a module's state, as one vector."""
    return torch.cat([value.detach().flatten().double() for value in module.state_dict().values()])
