"""Predictions of a network with phi, by the number of draws, beside one of the network alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mplib import devices
from mplib.benchmark.turns import Row, compared, take_turns
from mplib.benchmark.work import Setting, make_step
from mplib.errors import MplibError
from mplib.evaluation import predict

DRAWS = (1, 5, 20, 100)
"""One, the 5 and 100 of the authors' code, and what :func:`mplib.predict` takes if nothing is said."""


def time_predictions(
    setting: Setting, draws: Sequence[int] = DRAWS, *, turns: int = 15, budget: float | None = None
) -> list[Row]:
    """Time predictions for one batch, in turn.

    Args:
        setting: the network and its batch.
        draws: numbers of draws that a prediction averages, each at least 1.
        turns, budget: see :func:`mplib.benchmark.turns.take_turns`.

    Returns:
        One row for the network alone and one for each number of draws, with the setting, ``variant`` (``plain`` or
        ``perturbed``), ``draws``, and the columns of :func:`mplib.benchmark.turns.compared`.

    Raises:
        MplibError: an unknown network, or a number below its least.

    Example:
        >>> rows = time_predictions(Setting("conv4", 2, 16, 4, "cpu"), [1, 2], turns=3)
        >>> [(row["variant"], row["draws"]) for row in rows]
        [('plain', 1), ('perturbed', 1), ('perturbed', 2)]
    """
    if not draws or min(draws) < 1:
        raise MplibError(f"draws are {list(draws)}, expected numbers of at least 1")
    place = devices.resolve(setting.device)
    steps = {variant: make_step(variant, setting) for variant in ("plain", "perturbed")}
    kinds = [("plain", 1), *(("perturbed", count) for count in draws)]

    def work(variant: str, count: int) -> Callable[[], object]:
        step = steps[variant]
        return lambda: predict(step.net, step.images, samples=count, seed=0)

    times = compared(take_turns({str(kind): work(*kind) for kind in kinds}, place, turns, budget))
    return [
        {**setting.describe(), "variant": variant, "draws": count, **times[str((variant, count))]}
        for variant, count in kinds
    ]
