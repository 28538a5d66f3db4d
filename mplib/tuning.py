"""Settings chosen on images that are neither trained on nor tested on, with equally many tries for each method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from mplib import regularizers
from mplib.errors import MplibError
from mplib.experiments import Transfer
from mplib.runs import Row

Run = Callable[[Sequence[Transfer]], list[Row]]
"""Makes rows, as :func:`mplib.experiments.compare` does once its data set, phi and store are given."""


def tune(
    method: str, common: Transfer, run: Run, tries: int = 3, seeds: Sequence[int] = (1000,)
) -> tuple[dict[str, float], list[Row]]:
    """Try settings of a method and choose those with the best mean accuracy; a tie goes to the earlier try.

    The score is taken on the training images that ``per_class`` left out. The seeds are others than those of the
    comparison, so that these are other training images too.

    Args:
        method: a name of :func:`mplib.regularizers.names`.
        common: the rest of the run.
        run: makes the rows.
        tries: settings to try, at least 1 and at most as many as the method has.
        seeds: of the tuning runs.

    Returns:
        The settings, empty for a method that has none, and the rows of all tries.

    Raises:
        MplibError: more tries than the method has, or none.

    Example:
        >>> rows = [{"result": {"accuracy": accuracy}} for accuracy in (0.5, 0.75, 0.75)]
        >>> options, _ = tune("dropout", Transfer("none", per_class=2), lambda transfers: rows)
        >>> options
        {'rate': 0.2}
    """
    known = regularizers.find(method)
    if not known.tries:
        return {}, []
    if not 1 <= tries <= len(known.tries):
        raise MplibError(f"tries is {tries}, expected from 1 to the {len(known.tries)} that {method} has")
    chosen = known.tries[:tries]
    planned = [
        replace(common, method=method, options=options, seed=seed, tuning=True) for options in chosen for seed in seeds
    ]
    rows = run(planned)
    sums = [sum(row["result"]["accuracy"] for row in rows[k * len(seeds) :][: len(seeds)]) for k in range(tries)]
    return chosen[sums.index(max(sums))], rows
