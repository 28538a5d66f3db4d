"""One task of meta-training: its network, its optimiser, its batches, and the two steps that it takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from mplib import fused, nets
from mplib.attachment import attach, batch_statistics
from mplib.batches import Batch, Batches
from mplib.capture import Lane, Step
from mplib.data import Task
from mplib.perturb import MetaPerturb
from mplib.seeding import derive, private_randomness
from mplib.steps import adam, failing_site, forward_precision, frozen_perturbation, own_parameters, training_step

COLUMNS = ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "phi_gradient")
"""What a row of the history holds: the first four of each learner, and the size of phi's mean gradient."""


@dataclass(frozen=True)
class Settings:
    """How each task is learned; the words of :func:`mplib.meta_train`."""

    batch_size: int
    learning_rate: float
    weight_decay: float
    clip: float | None
    width: int | None
    seed: int
    update_statistics: bool
    precision: str


class Learner:
    """A task with a fresh network that has phi attached; it depends on its number, not on who else learns here."""

    def __init__(
        self,
        number: int,
        task: Task,
        name: str,
        phi: MetaPerturb,
        settings: Settings,
        device: torch.device,
        lane: Lane | None,
    ) -> None:
        self._number, self._settings = number, settings
        self._phi = list(phi.parameters())
        with private_randomness():
            torch.manual_seed(derive(settings.seed, "network", number))
            width = settings.width if nets.takes_width(name) else None
            net = nets.build(name, task.num_classes, task.image_size, width=width)
        self.network = attach(net, phi, image_size=task.image_size, clip=settings.clip).to(device)
        self.optimiser = adam(own_parameters(self.network), settings.learning_rate, settings.weight_decay)
        self.train, self.valid = (
            Batches(split, settings.batch_size, derive(settings.seed, half, number), device, flip=task.flip)
            for half, split in (("train", task.train), ("valid", task.valid))
        )
        self._theta, self._gradient = Step(self._theta_step, lane), Step(self._phi_gradient, lane)

    def start(self, step: int, train: Batch, valid: Batch) -> None:
        """A step of theta on a training batch, and then the gradient of phi on a batch of the other half."""
        self._theta.start(self._seed("theta noise", step), *train)
        self._gradient.start(self._seed("phi noise", step), *valid)

    def finish(self) -> Tensor:
        """Loss and accuracy of both, and the 82 parts of the gradient, as one vector of its own."""
        return torch.cat([value.flatten() for value in (*self._theta.finish(), *self._gradient.finish())])

    def uncaptured(self) -> None:
        """From now on the steps are taken as they are, whatever was captured."""
        self._theta, self._gradient = Step(self._theta_step), Step(self._phi_gradient)

    def site(self, kind: str, step: int, train: Batch, valid: Batch) -> str:
        """Take a step with what is known to be wrong, and say at which site it shows first."""
        theta = lambda: self._theta.start(self._seed("theta noise", step), *train)  # noqa: E731 - one of two
        if not kind.startswith("valid"):
            return "" if kind.startswith("phi") else failing_site(self.network, theta)
        theta()
        return failing_site(self.network, lambda: self._gradient.start(self._seed("phi noise", step), *valid))

    def _seed(self, purpose: str, step: int) -> int:
        return derive(self._settings.seed, purpose, self._number, step)

    def _theta_step(self, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """An Adam step of the network with phi frozen; gives the loss and the accuracy."""
        self.network.train()
        with frozen_perturbation(self.network):
            return training_step(self.network, self.optimiser, images, labels, precision=self._settings.precision)

    def _phi_gradient(self, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """Loss and accuracy, and the gradient of the loss with respect to phi."""
        chosen = self._settings
        with frozen_batch_norm(self.network), batch_statistics(self.network, update=chosen.update_statistics):
            with forward_precision(images.device, chosen.precision), fused.first_order():
                logits = self.network(images)
                loss = F.cross_entropy(logits, labels)
            gradients = torch.autograd.grad(loss, self._phi)
        return loss.detach(), (logits.detach().argmax(dim=1) == labels).float().mean(), *gradients


@contextmanager
def frozen_batch_norm(net: nn.Module) -> Iterator[None]:
    """Batch norms use their running statistics inside, and leave them as they are."""
    norms = [(module, module.training) for module in net.modules() if isinstance(module, _BatchNorm)]
    for module, _ in norms:
        module.eval()
    try:
        yield
    finally:
        for module, training in norms:
            module.train(training)
