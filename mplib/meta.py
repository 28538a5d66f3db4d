"""Meta-training: many tasks, a network for each, and one phi that all of them share.

The algorithm is ordinary joint training. In each step every network takes an Adam step on a batch of its task's
training half with the perturbation on; then the loss on a batch of the other half is differentiated with respect to
phi, at the new weights and without looking back through the step that led to them (first order); phi takes an Adam
step on the mean of these gradients over the tasks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from mplib import devices, nets
from mplib.attachment import attach, batch_statistics
from mplib.batches import Batches
from mplib.checkpoints import PathLike, write_state
from mplib.data import Task
from mplib.errors import MplibError
from mplib.perturb import MetaPerturb
from mplib.provenance import environment
from mplib.seeding import derive, private_randomness, stream
from mplib.training import (
    History,
    Log,
    Recipe,
    adam,
    frozen_perturbation,
    load_run,
    own_parameters,
    progress_bar,
    training_step,
)


@dataclass
class MetaRun:
    """What meta-training gives.

    Attributes:
        phi: the meta-trained perturbation, on the CPU; its ``provenance`` describes the run.
        history: rows with ``step``, ``train_loss`` and ``train_accuracy`` (means over tasks, training half),
            ``valid_loss`` and ``valid_accuracy`` (other half, at the new weights), and the size of phi's gradient.
        networks: the T networks as training left them, with phi attached.
    """

    phi: MetaPerturb
    history: History
    networks: list[nn.Module]


def meta_train(
    tasks: Sequence[Task],
    net: str | Sequence[str] = "resnet20",
    *,
    steps: int = 750,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    weight_decay: float = 5e-4,
    clip: float | None = 100.0,
    width: int | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    phi: MetaPerturb | None = None,
    update_statistics: bool = False,
    checkpoint: PathLike | None = None,
    checkpoint_every: int = 50,
    resume: bool = False,
    progress: bool = False,
) -> MetaRun:
    r"""Learn phi on many tasks at once.

    .. math::

        \theta_t &\leftarrow \mathrm{Adam}\big(\theta_t,\ \nabla_{\theta} L(B^{\text{train}}_t; \theta_t, \phi)\big)
        \qquad t = 1 \dots T \\
        \phi &\leftarrow \mathrm{Adam}\big(\phi,\ \tfrac1T \textstyle\sum_t
        \nabla_{\phi} L(B^{\text{valid}}_t; \theta_t, \phi)\big)

    In the second line batch norms use their running statistics, while the sites keep using those of the batch,
    differentiably: from running statistics the kernels of the scale would get no gradient.

    Args:
        tasks: tasks of :func:`mplib.data.split_tasks`; they may differ in their number of classes.
        net: a name of :func:`mplib.nets.names`, or one for each task.
        steps: joint steps, at least 1.
        batch_size: images a task and step and half, at least 2.
        learning_rate: of both Adams, above 0.
        weight_decay: L2 penalty inside both Adams, at least 0.
        clip: upper bound of the perturbed maps; none if None.
        width: channels of conv4 and conv6; their default if None.
        seed: seed of everything: phi, the networks, the batches, the noise. At least 0.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``.
        phi: where to start from; untrained if None. It is not changed, a copy is.
        update_statistics: let the phi step update the sites' running statistics, as the authors' code does.
        checkpoint: file for the state of the run, rewritten about every ``checkpoint_every`` steps; none if None.
        checkpoint_every: steps between two writes, at least 1.
        resume: go on from ``checkpoint`` if it exists; the result is that of an uninterrupted run.
        progress: show a progress bar.

    Returns:
        A :class:`MetaRun`.

    Raises:
        MplibError: no tasks, a number of names that is not that of the tasks, a value out of range, a checkpoint of
            another run, or a loss that is no longer finite.

    Example:
        >>> import mplib
        >>> digits = mplib.data.load("digits", image_size=16)
        >>> tasks = mplib.data.split_tasks(digits, n_tasks=2)
        >>> run = mplib.meta_train(tasks, net="conv4", width=4, steps=2, batch_size=16, device="cpu")
        >>> run.phi.provenance["tasks"], len(run.history.rows)
        (2, 2)

    Source: Algorithm 1 of the paper as in the authors' ``train_src.py``. Differs from it: the phi step does not update
    the sites' running statistics unless asked to, and all tasks may share one process.
    """
    names = _one_name_per_task(tasks, net)
    Recipe(steps=steps, batch_size=batch_size, learning_rate=learning_rate, weight_decay=weight_decay).validate()
    if checkpoint_every < 1:
        raise MplibError(f"checkpoint_every is {checkpoint_every}, expected at least 1")
    place = devices.resolve(device)
    made_with = environment(place)  # now, since files may change while the run goes on
    started_from = {"source": "untrained"} if phi is None else phi.provenance
    shared = _start(phi, seed).to(place)
    learners = [
        _Learner(task, name, number, shared, batch_size, learning_rate, weight_decay, clip, width, seed, place)
        for number, (task, name) in enumerate(zip(tasks, names, strict=True))
    ]
    optimiser = torch.optim.Adam(shared.parameters(), lr=learning_rate, weight_decay=weight_decay)
    run: dict[str, Any] = {
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "clip": clip,
        "nets": names,
        "width": width,
        "seed": seed,
        "update_statistics": update_statistics,
        "tasks": [task.fingerprint for task in tasks],
        "started_from": started_from,
    }
    history, first = History(), 0
    if resume and checkpoint is not None and Path(checkpoint).exists():
        state = load_run(checkpoint, run)
        for learner, (network, moments) in zip(learners, state["learners"], strict=True):
            learner.network.load_state_dict(network)
            learner.optimiser.load_state_dict(moments)
        optimiser.load_state_dict(state["optimiser"])
        history, first = History(state["rows"]), state["step"]

    columns = ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "phi_gradient")
    log, saved = Log(history, every=max(1, steps // 100), last=steps), first
    with private_randomness(place):
        for step in progress_bar("meta-train", first, steps, progress):
            seen = [(*learner.theta_step(step), *learner.phi_gradient(step, update_statistics)) for learner in learners]
            for part, gradients in zip(shared.parameters(), zip(*(row[4] for row in seen), strict=True), strict=True):
                part.grad = torch.stack(gradients).mean(dim=0)
            optimiser.step()
            size = torch.cat([part.grad.flatten() for part in shared.parameters() if part.grad is not None]).norm()
            log.add(*torch.stack([torch.stack(row[:4]) for row in seen]).mean(dim=0), size)
            done = step + 1
            if not log.due(done):
                continue
            log.close(done, columns)
            if checkpoint is not None and (done - saved >= checkpoint_every or done == steps):
                states = [(learner.network.state_dict(), learner.optimiser.state_dict()) for learner in learners]
                state = {"run": run, "step": done, "rows": history.rows, "learners": states}
                write_state(checkpoint, {**state, "optimiser": optimiser.state_dict()})
                saved = done
    shared.provenance = {
        "source": f"meta-trained with mplib on {tasks[0].name.partition('/')[0]}",
        **{key: value for key, value in run.items() if key != "tasks"},
        "tasks": len(tasks),
        "task_names": [task.name for task in tasks],
        "classes": [task.num_classes for task in tasks],
        "images_per_half": [len(task.train.labels) for task in tasks],
        "image_size": tasks[0].image_size,
        "environment": made_with,
    }
    return MetaRun(shared.cpu(), history, [learner.network.cpu() for learner in learners])


class _Learner:
    """One task with its network, its optimiser and its two streams of batches."""

    def __init__(
        self,
        task: Task,
        name: str,
        number: int,
        phi: MetaPerturb,
        batch_size: int,
        learning_rate: float,
        weight_decay: float,
        clip: float | None,
        width: int | None,
        seed: int,
        device: torch.device,
    ) -> None:
        self._seed, self._number = seed, number
        self._phi = list(phi.parameters())
        with private_randomness():
            torch.manual_seed(derive(seed, "network", number))
            net = nets.build(name, task.num_classes, task.image_size, width=width if nets.takes_width(name) else None)
        self.network = attach(net, phi, image_size=task.image_size, clip=clip).to(device)
        self.optimiser = adam(own_parameters(self.network), learning_rate, weight_decay)
        self._train, self._valid = (
            Batches(split, batch_size, derive(seed, half, number), device, flip=task.flip)
            for half, split in (("train", task.train), ("valid", task.valid))
        )

    def theta_step(self, step: int) -> tuple[Tensor, Tensor]:
        """An Adam step of the network on its training half with phi frozen; gives the loss and the accuracy."""
        self.network.train()
        images, labels = self._train[step]
        torch.manual_seed(derive(self._seed, "theta noise", self._number, step))
        with frozen_perturbation(self.network):
            return training_step(self.network, self.optimiser, images, labels)

    def phi_gradient(self, step: int, update_statistics: bool) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Loss and accuracy on the other half, and the gradient of that loss with respect to phi."""
        images, labels = self._valid[step]
        torch.manual_seed(derive(self._seed, "phi noise", self._number, step))
        with frozen_batch_norm(self.network), batch_statistics(self.network, update=update_statistics):
            logits = self.network(images)
            loss = F.cross_entropy(logits, labels)
            gradients = torch.autograd.grad(loss, self._phi)
        return loss.detach(), (logits.detach().argmax(dim=1) == labels).float().mean(), gradients


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


def _start(phi: MetaPerturb | None, seed: int) -> MetaPerturb:
    shared = MetaPerturb(generator=stream(seed, "phi"))
    if phi is not None:
        shared.load_state_dict(phi.state_dict())
    return shared


def _one_name_per_task(tasks: Sequence[Task], net: str | Sequence[str]) -> list[str]:
    if not tasks:
        raise MplibError("there are no tasks, expected at least one (see mplib.data.split_tasks)")
    names = [net] * len(tasks) if isinstance(net, str) else list(net)
    if len(names) != len(tasks):
        raise MplibError(
            f"there are {len(names)} networks for {len(tasks)} tasks, expected one name, or one for each task"
        )
    return names
