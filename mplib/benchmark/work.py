"""Whole training steps of one network (forward, backward, Adam) in several variants, timed in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mplib import devices, fused, nets
from mplib.attachment import attach, batch_statistics, sites
from mplib.benchmark.ideas import Grouped, Recomputed, Reference, StoredNoise
from mplib.benchmark.memory import peak_bytes
from mplib.benchmark.turns import Row, compared, take_turns
from mplib.errors import MplibError, unknown
from mplib.footprint import kept_bytes
from mplib.meta import frozen_batch_norm
from mplib.perturb import MetaPerturb
from mplib.regularizers import matched_noise
from mplib.seeding import private_randomness
from mplib.steps import Objective, adam, cross_entropy, frozen_perturbation, own_parameters, training_step

if TYPE_CHECKING:
    from mplib.benchmark.official import Checkout

CLASSES = 100

VARIANTS = {
    "plain": "the network alone",
    "noise": "plain Gaussian noise at the same sites",
    "perturbed": "phi, frozen",
    "reference": "phi, frozen, by the readable version of the function",
    "grouped": "the readable version, its four filters as one grouped convolution",
    "recomputed": "the readable version, keeping only its input for backward",
    "stored noise": "phi, frozen, with noise that is drawn by torch and kept",
    "meta-training": "a joint step of one task: theta on one batch, then phi on another",
}
AUTHORS = {"authors": "the authors' code, phi frozen", "authors, plain": "the authors' code without its perturbation"}
"""Variants that need a checkout of the authors' repository."""

_PHIS: dict[str, Callable[[], MetaPerturb]] = {
    "perturbed": MetaPerturb,
    "meta-training": MetaPerturb,
    "reference": Reference,
    "grouped": Grouped,
    "recomputed": Recomputed,
    "stored noise": StoredNoise,
}


@dataclass(frozen=True)
class Setting:
    """A network and the batches it is trained on.

    Attributes:
        net: a name of :func:`mplib.nets.names`.
        batch_size: images a step, at least 2.
        image_size: pixels.
        width: channels of conv4 and conv6; their default if None.
        device: where to run.
    """

    net: str = "resnet20"
    batch_size: int = 128
    image_size: int = 32
    width: int | None = None
    device: str | torch.device = "auto"

    def describe(self) -> Row:
        """The setting as the columns of a row."""
        width = self.width if self.net in nets.names() and nets.takes_width(self.net) else None
        return {"net": self.net, "batch_size": self.batch_size, "image_size": self.image_size, "width": width}


@dataclass
class Step:
    """A training step of one network, ready to be repeated; calling it makes one.

    Attributes:
        net: the network, in training mode.
        optimiser: Adam over its own parameters.
        images, labels: the batch.
        objective: what is minimised.
        around: entered around each step.
    """

    net: nn.Module
    optimiser: torch.optim.Optimizer
    images: Tensor
    labels: Tensor
    objective: Objective = cross_entropy
    around: Callable[[], AbstractContextManager[object]] = nullcontext

    def __call__(self) -> None:
        with self.around(), frozen_perturbation(self.net):
            training_step(self.net, self.optimiser, self.images, self.labels, self.objective)

    def loss(self) -> Tensor:
        """The forward half of a step."""
        with self.around(), frozen_perturbation(self.net):
            return self.objective(self.net, self.images, self.labels)[0]


@dataclass
class JointStep(Step):
    """A step of meta-training with a single task, from the same parts as :func:`mplib.meta_train`, step by step."""

    def __post_init__(self) -> None:
        self.phi = list(self.net.perturbation.phi.parameters())  # type: ignore[union-attr]
        self.phi_optimiser = adam(self.phi, 1e-3, 5e-4)

    def __call__(self) -> None:
        super().__call__()
        gradients = torch.autograd.grad(self.loss(), self.phi)
        for parameter, gradient in zip(self.phi, gradients, strict=True):
            parameter.grad = gradient
        self.phi_optimiser.step()

    def loss(self) -> Tensor:
        """The loss that phi is differentiated for: batch norms as in eval mode, sites with batch statistics."""
        with frozen_batch_norm(self.net), batch_statistics(self.net), fused.first_order():
            return F.cross_entropy(self.net(self.images), self.labels)


def make_step(variant: str, setting: Setting, against: Checkout | None = None) -> Step:
    """A step of a fresh network on random images, the same for each variant.

    Args:
        variant: a key of :data:`VARIANTS`, or of :data:`AUTHORS` if there is a checkout.
        setting: the network and its batch.
        against: the authors' checkout.

    Raises:
        MplibError: an unknown variant or network, or a batch that is too small.
    """
    known = VARIANTS if against is None else {**VARIANTS, **AUTHORS}
    if variant not in known:
        raise unknown("variant", variant, known)
    if setting.batch_size < 2:
        raise MplibError(f"batch_size is {setting.batch_size}, expected at least 2 images")
    place, size = devices.resolve(setting.device), setting.image_size
    with _seeded(place):
        images = torch.rand(setting.batch_size, 3, size, size, device=place) * 2 - 1
        labels = torch.randint(CLASSES, (setting.batch_size,), device=place)
        if against is not None and variant in AUTHORS:
            net = against.build(setting, CLASSES, perturbed=variant == "authors").to(place)
            optimiser = adam(against.own_parameters(net), 1e-3, 5e-4)
            return Step(net, optimiser, images, labels, against.objective, lambda: against.patched(place))
        width = setting.width if setting.net in nets.names() and nets.takes_width(setting.net) else None
        net = nets.build(setting.net, CLASSES, size, width)
        if variant == "noise":
            attach(net, matched_noise([(0.5, 0.3)] * len(sites(net, size))), image_size=size)
        elif variant in _PHIS:
            attach(net, _PHIS[variant](), image_size=size)
        net.to(place).train()
        kind = JointStep if variant == "meta-training" else Step
        return kind(net, adam(own_parameters(net), 1e-3, 5e-4), images, labels)


def time_steps(
    setting: Setting,
    variants: Sequence[str] = ("plain", "noise", "perturbed", "meta-training"),
    *,
    turns: int = 15,
    budget: float | None = None,
    against: Checkout | None = None,
) -> list[Row]:
    """Time whole training steps of one network, the variants in turn.

    Args:
        setting: the network and its batch.
        variants: keys of :data:`VARIANTS`; the first is what the others are divided by.
        turns, budget: see :func:`mplib.benchmark.turns.take_turns`.
        against: the authors' checkout; their two variants join in if the network is among theirs.

    Returns:
        Rows, each with the setting, the columns of :func:`mplib.benchmark.turns.compared`, ``kept_mb`` (kept
        for backward) and ``peak_mb`` (peak of a step, on a GPU; else None), both in units of 2^20 bytes.

    Raises:
        MplibError: an unknown variant or network, or a number below its least.

    Example:
        >>> rows = time_steps(Setting("conv4", 2, 16, 4, "cpu"), turns=3)
        >>> [row["variant"] for row in rows], rows[0]["ratio"]
        (['plain', 'noise', 'perturbed', 'meta-training'], 1.0)
    """
    if against is not None and setting.net in against.names():
        variants = [*variants, *AUTHORS]
    else:
        against = None
    place = devices.resolve(setting.device)
    steps = {name: make_step(name, setting, against) for name in variants}
    with _seeded(place):
        times = compared(take_turns(steps, place, turns, budget))
        return [
            {
                **setting.describe(),
                "variant": name,
                **times[name],
                "kept_mb": kept_bytes(step.loss) / 2**20,
                "peak_mb": peak_bytes(step, place) / 2**20 if place.type == "cuda" else None,
            }
            for name, step in steps.items()
        ]


@contextmanager
def _seeded(device: torch.device) -> Iterator[None]:
    """The same draws in each, and the caller's random numbers as they were."""
    with private_randomness(device):
        torch.manual_seed(0)
        yield
