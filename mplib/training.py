"""Ordinary training of a network, or of several at once, with or without a perturbation attached to it.

Meta-testing is this: phi is frozen, and its strength rises from 0 to 1 over the first part of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mplib import devices
from mplib.attachment import perturbation_of, set_strength
from mplib.batches import Batches, BatchStack
from mplib.capture import Lane, Step, lanes
from mplib.checkpoints import PathLike, write_state
from mplib.data import Dataset
from mplib.errors import MplibError
from mplib.finetuning import transfer_convolutions as transfer_convolutions
from mplib.history import History as History
from mplib.history import Log, load_run, not_finite
from mplib.history import progress_bar as progress_bar
from mplib.recipe import Recipe as Recipe
from mplib.seeding import derive, private_randomness
from mplib.steps import Objective as Objective
from mplib.steps import adam as adam
from mplib.steps import check_precision, copy_of, failing_site, finite_weights, load_state, set_rate, state_of
from mplib.steps import cross_entropy as cross_entropy
from mplib.steps import frozen_perturbation as frozen_perturbation
from mplib.steps import own_parameters as own_parameters
from mplib.steps import training_step as training_step

Probe = Callable[[int, nn.Module], Mapping[str, float]]
"""Called with the number of steps done and the network; what it returns is added to the history."""


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
    precision: str = "float32",
    seed: int = 0,
    device: str | torch.device = "auto",
    probe: Probe | None = None,
    checkpoint: PathLike | None = None,
    checkpoint_every: int = 500,
    resume: bool = False,
    progress: bool = False,
    capture: bool = True,
) -> History:
    """Train ``net`` in place on ``data.train``: cross-entropy, Adam, the learning rate falling at the milestones.

    A perturbation that is attached stays frozen; its strength follows :meth:`Recipe.strength`. Every random number
    depends on ``seed`` and the step, so the same call gives the same network, interrupted and resumed or not.

    Args:
        net: a network with as many outputs as the data set has classes, or more.
        data: a data set of :func:`mplib.data.load`.
        steps, batch_size, learning_rate, weight_decay, milestones, gamma, warmup, augment: see :class:`Recipe`.
        objective: what each step minimises; see :data:`Objective`.
        precision: ``"float32"``, or ``"bfloat16"`` for the forward pass under torch's autocast.
        seed: seed of the order, the augmentation and the noise, at least 0. The initial weights are the network's.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``; the network is moved there.
        probe: called at each row of the history, to measure what else is wanted.
        checkpoint: file for the state of the run, rewritten about every ``checkpoint_every`` steps; no file if None.
        checkpoint_every: steps between two writes, at least 1.
        resume: go on from ``checkpoint`` if it exists.
        progress: show a progress bar.
        capture: on a GPU, and with the usual objective, replay each step as a CUDA graph (see :mod:`mplib.capture`);
            False for a network whose forward pass waits for the CPU.

    Returns:
        The history of the run.

    Raises:
        MplibError: a value out of range, labels that the network has no output for, a checkpoint of another run, or a
            loss that is no longer finite: the step and, where one is attached, the site are named, and the last
            checkpoint stays.

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
    run = _Together([net], [data], [seed], recipe, objective, precision, devices.resolve(device), capture)
    return run.histories(probe, checkpoint, checkpoint_every, resume, progress)[0]


def train_together(
    nets: Sequence[nn.Module],
    data: Dataset | Sequence[Dataset],
    seeds: Sequence[int],
    *,
    objective: Objective = cross_entropy,
    precision: str = "float32",
    device: str | torch.device = "auto",
    probe: Probe | None = None,
    checkpoint: PathLike | None = None,
    checkpoint_every: int = 500,
    resume: bool = False,
    progress: bool = False,
    capture: bool = True,
    **recipe: Any,
) -> list[History]:
    """Train several networks in place at the same time: each ends as :func:`train` would have left it.

    On a GPU the steps of the networks are replayed side by side; on a CPU they take turns.

    Args:
        nets: the networks, each another object; they may differ in kind and in number of classes.
        data: a data set for all of them, or one for each.
        seeds: a seed for each.
        objective: what a step minimises, as for :func:`train`.
        precision: of the forward passes, as for :func:`train`.
        device: where they are trained, as for :func:`train`.
        probe: called at each row for each network, in their order.
        checkpoint: one file for all of them.
        checkpoint_every: steps between its writings.
        resume: go on from it, where it is there.
        progress: show a bar.
        capture: as for :func:`train`.
        **recipe: fields of :class:`Recipe`, the same for all of them.

    Returns:
        The history of each network.

    Raises:
        MplibError: as for :func:`train`; or numbers of networks, data sets and seeds that do not match.

    Example:
        >>> import mplib
        >>> digits = mplib.data.load("digits", image_size=16)
        >>> nets = [mplib.nets.build("conv4", num_classes=10, image_size=16, width=4) for _ in range(2)]
        >>> histories = train_together(nets, digits, seeds=[0, 1], steps=2, batch_size=16, device="cpu")
        >>> len(histories), histories[1].rows[-1]["step"]
        (2, 2)
    """
    sets = [data] * len(nets) if isinstance(data, Dataset) else list(data)
    if not nets or not len(nets) == len(sets) == len(seeds) == len({id(net) for net in nets}):
        raise MplibError(
            f"there are {len(nets)} networks ({len({id(net) for net in nets})} of them different), {len(sets)} data "
            f"sets and {len(seeds)} seeds, expected a data set, or one for all, and a seed for each of several networks"
        )
    run = _Together(nets, sets, seeds, Recipe(**recipe), objective, precision, devices.resolve(device), capture)
    return run.histories(probe, checkpoint, checkpoint_every, resume, progress)


class _Together:
    """Networks that take the same number of steps at the same time."""

    def __init__(
        self,
        nets: Sequence[nn.Module],
        data: Sequence[Dataset],
        seeds: Sequence[int],
        recipe: Recipe,
        objective: Objective,
        precision: str,
        place: torch.device,
        capture: bool,
    ) -> None:
        recipe.validate()
        check_precision(precision)
        self._recipe, self._place = recipe, place
        # An objective of the user's may draw on the CPU, or wait for it; a graph would repeat the first draw for ever.
        ways = lanes(place, len(nets), capture and objective is cross_entropy)
        self._pupils = [
            _Pupil(net.to(place), own, seed, recipe, objective, precision, way)
            for net, own, seed, way in zip(nets, data, seeds, ways, strict=True)
        ]
        self._batches = BatchStack(
            [
                Batches(own.train, recipe.batch_size, derive(seed, "batches"), place,
                        crop=recipe.augment, flip=recipe.augment and own.flip)
                for own, seed in zip(data, seeds, strict=True)
            ]
        )  # fmt: skip
        self._run = {
            **asdict(recipe),
            "milestones": list(recipe.milestones),
            "precision": precision,
            "seeds": list(seeds),
            "data": [own.fingerprint for own in data],
        }

    def histories(
        self, probe: Probe | None, checkpoint: PathLike | None, every: int, resume: bool, progress: bool
    ) -> list[History]:
        """Take the steps that are left."""
        if every < 1:
            raise MplibError(f"checkpoint_every is {every}, expected at least 1")
        steps, pupils, first = self._recipe.steps, self._pupils, 0
        if resume and checkpoint is not None and Path(checkpoint).exists():
            state = load_run(checkpoint, self._run)
            first = state["step"]
            for pupil, kept in zip(pupils, state["nets"], strict=True):
                load_state(pupil.net, pupil.optimiser, kept)
                pupil.history.rows.extend(kept["rows"])
        saved = first
        with private_randomness(self._place), ExitStack() as frozen:
            for pupil in pupils:
                frozen.enter_context(frozen_perturbation(pupil.net))
                pupil.net.train()
                pupil.remember(first)
            for step in progress_bar("train", first, steps, progress):
                for pupil, batch in zip(pupils, self._batches[step], strict=True):
                    pupil.start(step, *batch)
                for pupil in pupils:
                    pupil.finish()
                done = step + 1
                if not pupils[0].log.due(done):
                    continue
                for number, pupil in enumerate(pupils):
                    self._check(number, done)
                    pupil.close(done, probe)
                # Written where a row closes, so that a resumed run has the very rows of an uninterrupted one.
                if checkpoint is not None and (done - saved >= every or done == steps):
                    nets = [{**state_of(pupil.net, pupil.optimiser), "rows": pupil.history.rows} for pupil in pupils]
                    write_state(checkpoint, {"run": self._run, "step": done, "nets": nets})
                    saved = done
        for pupil in pupils:
            pupil.optimiser.zero_grad(set_to_none=True)  # gradients of a captured step hold its memory
            pupil.net.eval()
        return [pupil.history for pupil in pupils]

    def _check(self, number: int, done: int) -> None:
        """Stop the run where a network's loss, or what its last step left of its weights, is not finite."""
        pupil, name = self._pupils[number], f" of network {number}" if len(self._pupils) > 1 else ""
        failures = pupil.log.failures()
        if not failures and bool(finite_weights(pupil.net)):
            return
        # A weight that the last step spoilt shows when the network runs once more.
        what, shows = ("the loss", pupil.row + failures[0][0]) if failures else ("a weight", done)
        step = min(shows, done - 1)
        batches = {at: self._batches[at][number] for at in range(pupil.row, step + 1)}
        raise not_finite(what + name, step + 1, self._recipe.steps, pupil.site(shows, batches))


class _Pupil:
    """One network with its optimiser and its place in the run."""

    def __init__(
        self,
        net: nn.Module,
        data: Dataset,
        seed: int,
        recipe: Recipe,
        objective: Objective,
        precision: str,
        lane: Lane | None,
    ) -> None:
        check_outputs(net, data)
        self.net, self._seed, self._recipe = net, seed, recipe
        self._noisy = perturbation_of(net) is not None
        self.optimiser = adam(own_parameters(net), recipe.learning_rate, recipe.weight_decay)
        self.history = History()
        self.log = Log(self.history, every=max(1, recipe.steps // 100), last=recipe.steps)

        def body(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            return training_step(net, self.optimiser, images, labels, objective, precision)

        self._body, self._step = body, Step(body, lane)

    def start(self, step: int, images: Tensor, labels: Tensor) -> None:
        self._set(step)
        self._step.start(derive(self._seed, "noise", step), images, labels)

    def finish(self) -> None:
        self.log.add(torch.stack(self._step.finish()))

    def close(self, done: int, probe: Probe | None) -> None:
        """Make a row, and remember the state that it ends with."""
        last = done - 1
        settings = {"strength": self._recipe.strength(last), "learning_rate": self._recipe.rate(last)}
        row = self.log.close(done, ("loss", "accuracy"), **settings)
        if probe is not None:
            row.update(probe(done, self.net))
            self.net.train()
        if done < self._recipe.steps:
            self.remember(done)

    def remember(self, done: int) -> None:
        self.row, self._state = done, copy_of(self.net, self.optimiser)

    def site(self, step: int, batches: Mapping[int, tuple[Tensor, Tensor]]) -> str:
        """Take the steps of the row again, up to the one that shows what went wrong, and look where it does."""
        load_state(self.net, self.optimiser, self._state)
        again = Step(self._body)
        for at in range(self.row, step):
            self._set(at)
            again.start(derive(self._seed, "noise", at), *batches[at])
        last = max(batches)
        self._set(last)
        return failing_site(self.net, lambda: again.start(derive(self._seed, "noise", last), *batches[last]))

    def _set(self, step: int) -> None:
        set_rate(self.optimiser, self._recipe.rate(step))
        if self._noisy:
            set_strength(self.net, self._recipe.strength(step))


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
