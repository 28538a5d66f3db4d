"""Meta-training: many tasks, a network for each, and one phi that all of them share.

The algorithm is ordinary joint training. In each step every network takes an Adam step on a batch of its task's
training half with the perturbation on; then the loss on a batch of the other half is differentiated with respect to
phi, at the new weights and without looking back through the step that led to them (first order); phi takes an Adam
step on the mean of these gradients over the tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mplib.batches import BatchStack
from mplib.capture import lanes
from mplib.checkpoints import PathLike, write_state
from mplib.data import Task
from mplib.errors import MplibError
from mplib.history import History, Log, load_run, not_finite, progress_bar
from mplib.learners import COLUMNS, Learner, Settings
from mplib.learners import frozen_batch_norm as frozen_batch_norm
from mplib.perturb import MetaPerturb
from mplib.provenance import environment
from mplib.ranks import Ranks, joined
from mplib.recipe import Recipe
from mplib.seeding import private_randomness, stream
from mplib.steps import adam, check_precision, copy_of, finite_weights, load_moments, load_state, on_cpu, state_of

Probe = Callable[[int, MetaPerturb], Mapping[str, float]]
"""Called with the number of steps done and phi; what it returns is added to the history."""


@dataclass
class MetaRun:
    """What meta-training gives: phi, the history, and the trained networks.

    Attributes:
        phi: the meta-trained perturbation, on the CPU; its ``provenance`` describes the run.
        history: rows with ``step``, ``train_loss`` and ``train_accuracy`` (means over tasks, training half),
            ``valid_loss`` and ``valid_accuracy`` (other half, at the new weights), and the size of phi's gradient.
        networks: the T networks as training left them, with phi attached; of several ranks, those of this one's tasks.
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
    precision: str = "float32",
    probe: Probe | None = None,
    checkpoint: PathLike | None = None,
    checkpoint_every: int = 50,
    resume: bool = False,
    progress: bool = False,
    capture: bool = True,
) -> MetaRun:
    r"""Learn phi on many tasks at once.

    .. math::

        \theta_t &\leftarrow \mathrm{Adam}\big(\theta_t,\ \nabla_{\theta} L(B^{\text{train}}_t; \theta_t, \phi)\big)
        \qquad t = 1 \dots T \\
        \phi &\leftarrow \mathrm{Adam}\big(\phi,\ \tfrac1T \textstyle\sum_t
        \nabla_{\phi} L(B^{\text{valid}}_t; \theta_t, \phi)\big)

    In the second line batch norms use their running statistics, while the sites keep using those of the batch,
    differentiably: from running statistics the kernels of the scale would get no gradient.

    On a GPU the steps of the tasks are replayed side by side as CUDA graphs (:mod:`mplib.capture`). Started by
    ``torchrun``, each process takes some of the tasks, and phi is the same whatever their number
    (:mod:`mplib.ranks`); the first one alone writes the checkpoint, and any number of them can go on from it.

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
        precision: ``"float32"``, or ``"bfloat16"`` for the forward passes under torch's autocast.
        probe: called at each row of the history, to measure what phi has become; it may not change phi.
        checkpoint: file for the state of the run, rewritten about every ``checkpoint_every`` steps; none if None.
        checkpoint_every: steps between two writes, at least 1.
        resume: go on from ``checkpoint`` if it exists; the result is that of an uninterrupted run.
        progress: show a progress bar.
        capture: on a GPU, replay steps as CUDA graphs; False to launch them kernel by kernel.

    Returns:
        A :class:`MetaRun`.

    Raises:
        MplibError: no tasks, a number of names that is not that of the tasks, a value out of range, a checkpoint of
            another run, more ranks than tasks, a rank that died, or a loss that is no longer finite: the step, the task
            and the site are named, and the last checkpoint stays.

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
    check_precision(precision)
    if checkpoint_every < 1:
        raise MplibError(f"checkpoint_every is {checkpoint_every}, expected at least 1")
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
        "precision": precision,
        "tasks": [task.fingerprint for task in tasks],
        "started_from": {"source": "untrained"} if phi is None else phi.provenance,
    }
    settings = Settings(batch_size, learning_rate, weight_decay, clip, width, seed, update_statistics, precision)
    with joined(len(tasks), device) as (ranks, place), private_randomness(place):
        made_with = environment(place)  # now, since files may change while the run goes on
        joint = _Joint(tasks, names, _start(phi, seed).to(place), settings, ranks, place, capture)
        history, first = History(), 0
        there = resume and checkpoint is not None and Path(checkpoint).exists()
        if ranks.told(there):
            assert checkpoint is not None
            state = ranks.told(load_run(checkpoint, run) if ranks.first else None)
            joint.load(state)
            history, first = History(state["rows"]), state["step"]
        log, saved = Log(history, every=max(1, steps // 100), last=steps), first
        joint.remember(first)
        for step in progress_bar("meta-train", first, steps, progress and ranks.first):
            log.add(joint.step(step))
            done = step + 1
            if not log.due(done):
                continue
            joint.check(log.failures(), done, steps)
            row = log.close(done, COLUMNS)
            if probe is not None:
                row.update(probe(done, joint.phi))
            if done < steps:
                joint.remember(done)
            if checkpoint is not None and (done - saved >= checkpoint_every or done == steps):
                learners = joint.states()
                if ranks.first:
                    state = {"run": run, "step": done, "rows": history.rows, "learners": learners}
                    write_state(checkpoint, {**state, "optimiser": joint.moments()})
                saved = done
        networks = joint.networks()
    joint.phi.provenance = {
        "source": f"meta-trained with mplib on {tasks[0].name.partition('/')[0]}",
        **{key: value for key, value in run.items() if key != "tasks"},
        "tasks": len(tasks),
        "task_names": [task.name for task in tasks],
        "classes": [task.num_classes for task in tasks],
        "images_per_half": [len(task.train.labels) for task in tasks],
        "image_size": tasks[0].image_size,
        "environment": made_with,
    }
    return MetaRun(joint.phi.cpu(), history, [network.cpu() for network in networks])


class _Joint:
    """phi, and the learners of this rank's tasks."""

    def __init__(
        self,
        tasks: Sequence[Task],
        names: Sequence[str],
        phi: MetaPerturb,
        settings: Settings,
        ranks: Ranks,
        place: torch.device,
        capture: bool,
    ) -> None:
        self.phi, self._tasks, self._ranks, self._place = phi, tasks, ranks, place
        own = ranks.own(len(tasks))
        self._learners = {
            number: Learner(number, tasks[number], names[number], phi, settings, place, lane)
            for number, lane in zip(own, lanes(place, len(own), capture), strict=True)
        }
        halves = [half for learner in self._learners.values() for half in (learner.train, learner.valid)]
        self._batches = BatchStack(halves)
        self._optimiser = adam(list(phi.parameters()), settings.learning_rate, settings.weight_decay)

    def step(self, step: int) -> Tensor:
        """A joint step; gives a row for each task, (T, columns)."""
        batches = iter(self._batches[step])
        for learner in self._learners.values():
            learner.start(step, next(batches), next(batches))
        seen = torch.stack([learner.finish() for learner in self._learners.values()])
        table = torch.zeros(len(self._tasks), seen.shape[1], device=self._place)
        table[list(self._learners)] = seen
        table = self._ranks.sum(table)
        shown = len(COLUMNS) - 1
        gradient = table[:, shown:].mean(dim=0)
        for part, piece in zip(self.phi.parameters(), gradient.split([p.numel() for p in self.phi.parameters()]),
                               strict=True):  # fmt: skip
            part.grad = piece.view_as(part)
        self._optimiser.step()
        return torch.cat([table[:, :shown], gradient.norm().expand(len(self._tasks), 1)], dim=1)

    def remember(self, done: int) -> None:
        """Keep the state in which a row begins."""
        self._row = done
        self._states = {n: copy_of(own.network, own.optimiser) for n, own in self._learners.items()}
        self._moments = copy_of(self.phi, self._optimiser)["moments"]

    def states(self) -> list[dict[str, Any]] | None:
        """The state of the learner of every task, on the first rank."""
        own = {n: on_cpu(state_of(learner.network, learner.optimiser)) for n, learner in self._learners.items()}
        found = self._ranks.gathered(own)
        return [found[number] for number in range(len(self._tasks))] if found else None

    def moments(self) -> dict[str, Any]:
        """Those of phi's optimiser; phi itself is part of each network."""
        moments: dict[str, Any] = state_of(self.phi, self._optimiser)["moments"]
        return moments

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        for number, learner in self._learners.items():
            load_state(learner.network, learner.optimiser, state["learners"][number])
        load_moments(self._optimiser, state["optimiser"])

    def networks(self) -> list[nn.Module]:
        """The networks of this rank's tasks; gradients are given up, for those of a captured step hold its memory."""
        for learner in self._learners.values():
            learner.optimiser.zero_grad(set_to_none=True)
        self._optimiser.zero_grad(set_to_none=True)
        return [learner.network for learner in self._learners.values()]

    def check(self, failures: list[tuple[int, ...]], done: int, steps: int) -> None:
        """Stop where a loss, a gradient, or what the last step left of the weights is not finite; on all ranks alike.

        Raises:
            MplibError: naming the step, the task and the site.
        """
        spoilt = torch.zeros(len(self._tasks), device=self._place)
        for number, learner in self._learners.items():
            spoilt[number] = finite_weights(learner.network).logical_not()
        tasks = self._ranks.sum(spoilt).nonzero().flatten().tolist()
        if failures:
            # The size of phi's mean gradient is last in every row: a task whose own numbers are at fault comes first.
            at, task, column = min(failures, key=lambda place: (place[2] == len(COLUMNS) - 1, *place))
            shows, kind = self._row + at, COLUMNS[column].replace("_", " ")
        elif tasks:
            shows, task, kind = done, tasks[0], "weight"
        else:
            return
        for learner, state in ((own, self._states[n]) for n, own in self._learners.items()):
            load_state(learner.network, learner.optimiser, state)
            learner.uncaptured()
        load_moments(self._optimiser, self._moments)
        for step in range(self._row, shows):
            self.step(step)
        last, where = min(shows, done - 1), ""
        if task in self._learners:
            batches = self._batches[last]
            place = 2 * list(self._learners).index(task)
            where = self._learners[task].site(kind, last, *batches[place : place + 2])
        where = self._ranks.told(where, by=self._ranks.owner(task))
        raise not_finite(f"the {kind} of task {task} ({self._tasks[task].name})", last + 1, steps, where)


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
