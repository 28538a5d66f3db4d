"""Ordinary training of one network, with or without a perturbation attached to it.

Meta-testing is this: phi is frozen, and its strength rises from 0 to 1 over the first part of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from mplib import devices
from mplib.attachment import perturbation_of, set_strength
from mplib.batches import Batches
from mplib.checkpoints import PathLike, read_state, write_state
from mplib.data import Dataset
from mplib.errors import MplibError
from mplib.seeding import derive, private_randomness

if TYPE_CHECKING:
    import pandas as pd

Objective = Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, Tensor]]
"""What a step minimises: called with the network, a batch of images and its labels; gives the loss, and the logits that
the labels are compared with. It may draw from torch's default generator, which is seeded for each step."""

Probe = Callable[[int, nn.Module], Mapping[str, float]]
"""Called with the number of steps done and the network; what it returns is added to the history."""


def cross_entropy(net: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The usual objective: cross-entropy of the network's logits."""
    logits = net(images)
    return F.cross_entropy(logits, labels), logits


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; the defaults are the paper's protocol on a target data set.

    Attributes:
        steps: optimiser steps, at least 1.
        batch_size: images a step, at least 2; a smaller split is one batch.
        learning_rate: of Adam, above 0.
        weight_decay: L2 penalty inside Adam, at least 0.
        milestones: fractions of the run after which the learning rate is multiplied by ``gamma``.
        gamma: factor of the learning rate at a milestone.
        warmup: fraction of the run over which the strength of a perturbation rises from 0 to 1.
        augment: whether to crop at random, and to flip where the data set allows it.
    """

    steps: int = 10_000
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 5e-4
    milestones: tuple[float, ...] = (0.4, 0.7, 0.9)
    gamma: float = 0.3
    warmup: float = 0.4
    augment: bool = True

    def validate(self) -> None:
        """Refuse values that no run can have.

        Raises:
            MplibError: naming the value and its range.
        """
        for name, low in {"steps": 1, "batch_size": 2}.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise MplibError(f"{name} is {value!r}, expected an integer of at least {low}")
        if not self.learning_rate > 0 or not self.weight_decay >= 0 or not self.gamma > 0:
            raise MplibError(
                f"learning_rate is {self.learning_rate}, weight_decay {self.weight_decay} and gamma {self.gamma}, "
                "expected them positive (weight_decay may be 0)"
            )
        if any(not 0 <= part <= 1 for part in (self.warmup, *self.milestones)):
            raise MplibError(f"warmup is {self.warmup} and milestones {self.milestones}, expected fractions in [0, 1]")

    def strength(self, step: int) -> float:
        """Strength of the perturbation at step ``step`` of the run: min(1, step / int(warmup * steps)).

        Example:
            >>> [Recipe(steps=10).strength(step) for step in (0, 2, 4, 9)]
            [0.0, 0.5, 1.0, 1.0]
        """
        ramp = int(self.warmup * self.steps)
        return min(1.0, step / ramp) if ramp else 1.0

    def rate(self, step: int) -> float:
        """Learning rate at step ``step`` of the run."""
        passed = sum(step >= int(part * self.steps) for part in self.milestones)
        return self.learning_rate * self.gamma**passed


@dataclass
class History:
    """What was seen during a run: one row for every stretch of about a hundredth of it.

    Attributes:
        rows: dictionaries with ``step`` (steps done), ``loss`` and ``accuracy`` on the training batches (means over
            the stretch), ``strength``, ``learning_rate``, and whatever a probe added.
    """

    rows: list[dict[str, float]] = field(default_factory=list)

    def frame(self) -> pd.DataFrame:
        """The rows as a pandas table."""
        import pandas as pd

        return pd.DataFrame(self.rows)


def train(
    net: nn.Module,
    data: Dataset,
    *,
    steps: int = 10_000,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    weight_decay: float = 5e-4,
    milestones: tuple[float, ...] = (0.4, 0.7, 0.9),
    gamma: float = 0.3,
    warmup: float = 0.4,
    augment: bool = True,
    objective: Objective = cross_entropy,
    seed: int = 0,
    device: str | torch.device = "auto",
    probe: Probe | None = None,
    checkpoint: PathLike | None = None,
    checkpoint_every: int = 500,
    resume: bool = False,
    progress: bool = False,
) -> History:
    """Train ``net`` in place on ``data.train``: cross-entropy, Adam, the learning rate falling at the milestones.

    A perturbation that is attached stays frozen; its strength follows :meth:`Recipe.strength`. Every random number
    depends on ``seed`` and the step, so the same call gives the same network, interrupted and resumed or not.

    Args:
        net: a network with as many outputs as the data set has classes, or more.
        data: a data set of :func:`mplib.data.load`.
        steps, batch_size, learning_rate, weight_decay, milestones, gamma, warmup, augment: see :class:`Recipe`.
        objective: what each step minimises; see :data:`Objective`.
        seed: seed of the order, the augmentation and the noise, at least 0. The initial weights are the network's.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``; the network is moved there.
        probe: called at each row of the history, to measure what else is wanted.
        checkpoint: file for the state of the run, rewritten about every ``checkpoint_every`` steps; no file if None.
        checkpoint_every: steps between two writes, at least 1.
        resume: go on from ``checkpoint`` if it exists.
        progress: show a progress bar.

    Returns:
        The history of the run.

    Raises:
        MplibError: a value out of range, labels that the network has no output for, a checkpoint of another run, or a
            loss that is no longer finite.

    Example:
        >>> import mplib
        >>> digits = mplib.data.load("digits", image_size=8)
        >>> net = mplib.nets.build("conv4", num_classes=10, image_size=16, width=4)
        >>> history = mplib.train(net, mplib.data.load("digits", image_size=16), steps=2, batch_size=16, device="cpu")
        >>> history.rows[-1]["step"]
        2

    Source: the paper's meta-testing as in the authors' ``train_tgt.py``.
    """
    recipe = Recipe(steps, batch_size, learning_rate, weight_decay, milestones, gamma, warmup, augment)
    recipe.validate()
    if checkpoint_every < 1:
        raise MplibError(f"checkpoint_every is {checkpoint_every}, expected at least 1")
    place = devices.resolve(device)
    net.to(place)
    check_outputs(net, data)
    batches = Batches(data.train, batch_size, derive(seed, "batches"), place, crop=augment, flip=augment and data.flip)
    optimiser = adam(own_parameters(net), learning_rate, weight_decay)
    run = {**asdict(recipe), "milestones": list(milestones), "seed": seed, "data": data.fingerprint}
    history, first = History(), 0
    if resume and checkpoint is not None and Path(checkpoint).exists():
        state = load_run(checkpoint, run)
        net.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        history, first = History(state["rows"]), state["step"]

    log, saved = Log(history, every=max(1, steps // 100), last=steps), first
    with private_randomness(place), frozen_perturbation(net):
        net.train()
        for step in progress_bar("train", first, steps, progress):
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate(step)
            if perturbation_of(net) is not None:
                set_strength(net, recipe.strength(step))
            torch.manual_seed(derive(seed, "noise", step))
            images, labels = batches[step]
            log.add(*training_step(net, optimiser, images, labels, objective))
            done = step + 1
            if not log.due(done):
                continue
            row = log.close(done, strength=recipe.strength(step), learning_rate=recipe.rate(step))
            if probe is not None:
                row.update(probe(done, net))
                net.train()
            # Written where a row closes, so that a resumed run has the very rows of an uninterrupted one.
            if checkpoint is not None and (done - saved >= checkpoint_every or done == steps):
                state = {"run": run, "step": done, "rows": history.rows}
                write_state(checkpoint, {**state, "network": net.state_dict(), "optimiser": optimiser.state_dict()})
                saved = done
    net.eval()
    return history


def training_step(
    net: nn.Module,
    optimiser: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    objective: Objective = cross_entropy,
) -> tuple[Tensor, Tensor]:
    """One optimiser step on a batch; gives the loss and the fraction of the images that was right."""
    loss, logits = objective(net, images, labels)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return loss.detach(), (logits.detach().argmax(dim=1) == labels).float().mean()


def adam(parameters: list[nn.Parameter], learning_rate: float, weight_decay: float) -> torch.optim.Adam:
    """Adam with its L2 penalty, updating all tensors of a network together."""
    return torch.optim.Adam(parameters, lr=learning_rate, weight_decay=weight_decay, foreach=True)


def own_parameters(net: nn.Module) -> list[nn.Parameter]:
    """What is learned on the network's task: theta, and of a perturbation only what is trained with theta."""
    perturbation = perturbation_of(net)
    foreign = set() if perturbation is None else {id(parameter) for parameter in perturbation.foreign_parameters()}
    return [parameter for parameter in net.parameters() if id(parameter) not in foreign]


@contextmanager
def frozen_perturbation(net: nn.Module) -> Iterator[None]:
    """No gradients for phi inside; afterwards its parameters are as they were."""
    perturbation = perturbation_of(net)
    before = [] if perturbation is None else [(p, p.requires_grad) for p in perturbation.foreign_parameters()]
    for parameter, _ in before:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, required in before:
            parameter.requires_grad_(required)


def transfer_convolutions(source: nn.Module, target: nn.Module) -> list[str]:
    """Start fine-tuning: copy the convolutions of a trained network; batch norms and classifier stay fresh.

    Args:
        source: a trained network.
        target: a network of the same kind, of any number of classes; changed in place.

    Returns:
        The names of the tensors that were copied.

    Raises:
        MplibError: the two networks share no convolution of the same name and shape, or one differs in shape.

    Source: the authors' ``train_tgt.py``, which drops every tensor of a batch norm or a classifier.
    """
    trained = dict(_convolutions(source))
    copied = []
    with torch.no_grad():
        for name, convolution in _convolutions(target):
            if name not in trained or trained[name].weight.shape != convolution.weight.shape:
                raise MplibError(
                    f"the source has no convolution {name} of shape {tuple(convolution.weight.shape)}, "
                    "expected a network of the same kind and width"
                )
            for part in ("weight", "bias"):
                ours, theirs = getattr(convolution, part), getattr(trained[name], part)
                if ours is not None and theirs is not None:
                    ours.copy_(theirs)
                    copied.append(f"{name}.{part}")
    if not copied:
        raise MplibError("the target network has no convolutions, expected at least one to copy")
    return copied


def progress_bar(label: str, first: int, steps: int, show: bool) -> Iterable[int]:
    """The steps from ``first`` on, with a bar if ``show``; ``TQDM_DISABLE=1`` in the environment hides every bar."""
    hidden = {} if show else {"disable": True}  # an explicit disable=False would overrule the environment
    steps_left: Iterable[int] = tqdm(range(first, steps), initial=first, total=steps, desc=label, **hidden)
    return steps_left


def check_outputs(net: nn.Module, data: Dataset) -> None:
    """Refuse a network with fewer outputs than the data set has classes, before the first step.

    Raises:
        MplibError: naming both numbers.
    """
    outputs = getattr(net, "num_classes", None)
    if isinstance(outputs, int) and outputs < data.num_classes:
        raise MplibError(
            f"the network has {outputs} outputs, expected at least the {data.num_classes} classes of {data.name}"
        )
    size = getattr(net, "image_size", None)
    if isinstance(size, int) and size != data.image_size:
        raise MplibError(f"the images are {data.image_size} px, expected the {size} px that the network was built for")


def load_run(checkpoint: PathLike, run: Mapping[str, Any]) -> dict[str, Any]:
    """Read a checkpoint and make sure that it belongs to the run that wants to go on from it.

    Raises:
        MplibError: it is of another run; the message names what differs.
    """
    state = read_state(checkpoint)
    theirs = state.get("run")
    if not isinstance(theirs, dict):
        raise MplibError(f"{checkpoint} is not the checkpoint of a run, expected one that this command wrote")
    different = [f"{key} {theirs.get(key)!r} instead of {run[key]!r}" for key in run if theirs.get(key) != run[key]]
    if different:
        raise MplibError(f"{checkpoint} belongs to another run ({'; '.join(different)}), expected the same settings")
    return state


class Log:
    """Collects losses on the device and turns each stretch of steps into one row, so that no step waits for the CPU.

    Args:
        history: where the rows go.
        every: steps in a row.
        last: the last step of the run, which always closes a row.
    """

    def __init__(self, history: History, every: int, last: int) -> None:
        self._history, self._every, self._last = history, every, last
        self._values: list[tuple[Tensor, ...]] = []

    def add(self, *values: Tensor) -> None:
        """Keep the loss and the accuracy of a step."""
        self._values.append(values)

    def due(self, done: int) -> bool:
        """Whether a row closes after ``done`` steps."""
        return done % self._every == 0 or done == self._last

    def check(self, done: int) -> None:
        """Stop a run whose loss is no longer finite.

        Raises:
            MplibError: naming the stretch of steps.
        """
        losses = [values[0] for values in self._values]
        if losses and not torch.stack(losses).isfinite().all():
            raise MplibError(
                f"the loss is not finite within the last {len(losses)} of {done} steps, expected a smaller "
                "learning rate or a clip to keep it so"
            )

    def close(self, done: int, names: tuple[str, ...] = ("loss", "accuracy"), **more: float) -> dict[str, float]:
        """Make a row of everything kept since the last one."""
        self.check(done)
        means = torch.stack([torch.stack(values).float() for values in self._values]).mean(dim=0).tolist()
        row = {"step": done, **dict(zip(names, means, strict=True)), **more}
        self._history.rows.append(row)
        self._values.clear()
        return row


def _convolutions(net: nn.Module) -> Iterator[tuple[str, nn.Conv2d]]:
    return ((name, module) for name, module in net.named_modules() if isinstance(module, nn.Conv2d))
