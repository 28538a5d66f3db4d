"""Meta-training in several processes that ``torchrun`` started: who owns which tasks, and what they tell each other.

Each rank trains the networks of its own tasks. After every step the ranks add up one small table, a row for each task,
in which each has filled in its own rows: so all of them have the same numbers, take the same mean over the *tasks*,
and make the same step of phi, however many they are.

A rank that dies leaves the others waiting; torchrun then stops them. They first call the roll in the store that
torchrun keeps, so that the message can say who is missing.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from mplib import devices
from mplib.errors import MplibError

PATIENCE = timedelta(minutes=5)
"""How long a rank waits for another one that is alive but does not answer."""

ROLL_CALL = 3.0
"""Seconds in which the ranks that are left answer each other."""


class RankLost(MplibError):
    """A rank ended before the run did. One of the others, the speaker, is to say so to the user."""

    def __init__(self, message: str, speaker: bool) -> None:
        super().__init__(message)
        self.speaker = speaker


class _Interrupted(Exception):
    """Another rank does not answer, or torchrun stops this one."""


class Ranks:
    """This process among those of the run; alone if nothing else is said.

    Example:
        >>> Ranks().own(3), Ranks(rank=1, size=2).own(5)
        ([0, 1, 2], [1, 3])
        >>> Ranks().sum(torch.ones(2)), Ranks().told("all of them")
        (tensor([1., 1.]), 'all of them')
    """

    def __init__(self, rank: int = 0, size: int = 1, store: Any = None) -> None:
        self.rank, self.size, self._store = rank, size, store

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes and prints."""
        return self.rank == 0

    def own(self, tasks: int) -> list[int]:
        """The numbers of this rank's tasks; they are dealt like cards."""
        return list(range(self.rank, tasks, self.size))

    def owner(self, task: int) -> int:
        """The rank that has a task."""
        return task % self.size

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the ranks, the same on each of them."""
        if self.size > 1:
            with _talking():
                dist.all_reduce(values)
        return values

    def told(self, value: Any, by: int = 0) -> Any:
        """What rank ``by`` has for ``value``: anything that can be pickled."""
        box = [value]
        if self.size > 1:
            with _talking():
                dist.broadcast_object_list(box, src=by)
        return box[0]

    def gathered(self, own: Mapping[int, Any]) -> dict[int, Any]:
        """The entries of all ranks, on the first one; nothing on the others."""
        if self.size == 1:
            return dict(own)
        parts: list[Any] | None = [None] * self.size if self.first else None
        with _talking():
            dist.gather_object(dict(own), parts)
        return {key: value for part in parts or [] for key, value in part.items()}

    def roll_call(self) -> list[int]:
        """The ranks that do not answer in time; SIGTERM is ignored from now on."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        run = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        keys = [f"mplib/{run}/here/{rank}" for rank in range(self.size)]
        try:
            self._store.set(keys[self.rank], "yes")
            until = time.monotonic() + ROLL_CALL
            while not self._store.check(keys) and time.monotonic() < until:
                time.sleep(0.05)
            return [rank for rank, key in enumerate(keys) if not self._store.check([key])]
        except RuntimeError:  # whoever kept the store is gone
            return []


@contextmanager
def joined(tasks: int, device: str | torch.device) -> Iterator[tuple[Ranks, torch.device]]:
    """Take part in the run that torchrun started; without torchrun, be alone.

    Args:
        tasks: how many tasks there are to share.
        device: as for :func:`mplib.devices.resolve`; of several GPUs each rank takes its own.

    Yields:
        The ranks, and the device of this one.

    Raises:
        MplibError: more ranks than tasks.
        RankLost: a rank died, or torchrun stopped this one.
    """
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Ranks(), devices.resolve(device)
        return
    if size > tasks:
        raise MplibError(f"there are {size} ranks for {tasks} tasks, expected at most one rank for each task")
    place = devices.resolve(device)
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if str(place) == "cuda":  # any GPU
        torch.cuda.set_device(local % torch.cuda.device_count())
    own_gpu = place.type == "cuda" and torch.cuda.device_count() >= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    store, _, _ = next(rendezvous("env://"))
    # Objects travel through gloo in any case. Two ranks on one GPU are more than nccl allows.
    backend = "cpu:gloo,cuda:nccl" if own_gpu else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    ranks = Ranks(rank, size, store)
    with _stoppable():
        try:
            yield ranks, place
            ranks.sum(torch.zeros((), device=place))  # nobody leaves before all have what they need
        except _Interrupted as interruption:
            missing = ranks.roll_call()
            present = [other for other in range(size) if other not in missing]
            who = f"rank {', '.join(map(str, missing))} of {size} ended" if missing else "the job was stopped"
            message = f"{who} before the run did; the same command with --resume goes on from the last checkpoint"
            raise RankLost(message, speaker=rank == min(present, default=rank)) from interruption
    dist.destroy_process_group()


def speaks(error: MplibError | None = None) -> bool:
    """Whether this process is the one to print what all of them know: a result, or an error."""
    if isinstance(error, RankLost):
        return error.speaker
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def _talking() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # what torch raises when the other end is gone, or does not answer in time
        raise _Interrupted from error


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM, with which torchrun ends the ranks that are left, is an exception inside."""

    def stop(*_: object) -> None:
        raise _Interrupted

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
