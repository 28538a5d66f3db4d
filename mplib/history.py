"""What is seen during a run: rows of a history, a progress bar, and the end of a run whose loss is no number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from mplib.checkpoints import PathLike, read_state
from mplib.errors import MplibError

if TYPE_CHECKING:
    import pandas as pd


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


class Log:
    """Collects what each step gives, on the device, and makes one row of each stretch, so that no step waits.

    Args:
        history: where the rows go.
        every: steps in a row.
        last: the last step of the run, which always closes a row.

    Example:
        >>> log = Log(History(), every=2, last=3)
        >>> log.add(torch.tensor([1.0, 0.0]))
        >>> log.add(torch.tensor([3.0, 1.0]))
        >>> log.due(2), log.failures(), log.close(2, ("loss", "accuracy"))
        (True, [], {'step': 2, 'loss': 2.0, 'accuracy': 0.5})
    """

    def __init__(self, history: History, every: int, last: int) -> None:
        self._history, self._every, self._last = history, every, last
        self._values: list[Tensor] = []

    def add(self, values: Tensor) -> None:
        """Keep what a step gave: (columns,), or (tasks, columns); not copied."""
        self._values.append(values)

    def due(self, done: int) -> bool:
        """Whether a row closes after ``done`` steps."""
        return done % self._every == 0 or done == self._last

    def failures(self) -> list[tuple[int, ...]]:
        """Where the first step of the stretch that gave a number that is not finite did so.

        Returns:
            For each such number the step, counted from 0 in the stretch, (the task,) and the column.
        """
        bad = torch.stack(self._values).isfinite().logical_not()
        if not bad.any():
            return []
        found = [tuple(place) for place in bad.nonzero().tolist()]
        return [place for place in found if place[0] == found[0][0]]

    def close(self, done: int, names: tuple[str, ...], **more: float) -> dict[str, float]:
        """Make a row of the means of everything kept since the last one, over steps and tasks."""
        values = torch.stack(self._values).float()
        means = values.reshape(-1, values.shape[-1]).mean(dim=0).tolist()
        row = {"step": done, **dict(zip(names, means, strict=True)), **more}
        self._history.rows.append(row)
        self._values.clear()
        return row


def not_finite(what: str, step: int, steps: int, where: str = "") -> MplibError:
    """The error for a run that went wrong at a step.

    Args:
        what: the number that is not finite, with its network or task.
        step: the step, counted from 1, of ``steps``.
        where: the site, in the words of :func:`mplib.steps.failing_site`.
    """
    return MplibError(
        f"{what} is not finite at step {step} of {steps}{where}; expected a smaller learning rate or a clip to keep it "
        "so"
    )


def progress_bar(label: str, first: int, steps: int, show: bool) -> Iterable[int]:
    """The steps from ``first`` on, with a bar if ``show``; ``TQDM_DISABLE=1`` in the environment hides every bar."""
    hidden = {} if show else {"disable": True}  # an explicit disable=False would overrule the environment
    steps_left: Iterable[int] = tqdm(range(first, steps), initial=first, total=steps, desc=label, **hidden)
    return steps_left


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
