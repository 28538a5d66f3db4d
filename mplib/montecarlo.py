"""How many draws of the noise does a prediction need?

The scores of S draws are random: other draws give others. Here a pool of draws is made once, and the scores of many
random subsets of it tell the mean and the spread at each S. Subsets are drawn without replacement, so each is a fair
sample of S independent draws; subsets overlap, so S has to stay well below the size of the pool.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mplib.errors import MplibError
from mplib.evaluation import score
from mplib.seeding import stream

SCORES = ("accuracy", "nll", "ece")


def sample_counts(
    pool: Tensor, labels: Tensor, counts: Sequence[int], repeats: int = 50, seed: int = 0
) -> list[dict[str, float]]:
    """Scores as functions of the number of draws that a prediction averages over.

    Args:
        pool: log-probabilities of single draws, (P, N, classes), as :func:`mplib.evaluation.draws` gives them.
        labels: (N,).
        counts: numbers of draws S, each in [1, P].
        repeats: random subsets for each S, at least 1; where S is P there is only one.
        seed: of the subsets.

    Returns:
        A row for each S, with ``samples``, the mean ``confidence``, and for accuracy, nll and ece the mean and, as
        ``accuracy_sd`` and so on, the standard deviation over the subsets (0 for one subset).

    Raises:
        MplibError: a number out of range.

    Example:
        >>> pool = torch.randn(20, 50, 3, generator=torch.Generator().manual_seed(0)).log_softmax(dim=2)
        >>> rows = sample_counts(pool, torch.zeros(50, dtype=torch.int64), [1, 5])
        >>> rows[0]["nll"] > rows[1]["nll"]   # averaging never makes the mean likelihood worse
        True
    """
    if repeats < 1 or any(not 1 <= count <= len(pool) for count in counts):
        raise MplibError(
            f"counts are {list(counts)} and repeats {repeats}, expected counts from 1 to the pool's {len(pool)} draws "
            "and at least 1 repeat"
        )
    generator = stream(seed, "sample counts")
    rows = []
    for count in counts:
        found, sure = [], 0.0
        repeated = 1 if count == len(pool) else repeats
        for _ in range(repeated):
            subset = torch.randperm(len(pool), generator=generator)[:count].to(pool.device)
            answers = pool[subset].logsumexp(dim=0) - math.log(count)
            metrics = score(answers, labels, count)
            sure += answers.amax(dim=1).exp().mean().item() / repeated
            found.append([getattr(metrics, name) for name in SCORES])
        values = torch.tensor(found, dtype=torch.float64)
        spread = values.std(dim=0) if len(values) > 1 else torch.zeros(len(SCORES))
        row: dict[str, float] = {"samples": count, "confidence": sure}
        for name, mean, deviation in zip(SCORES, values.mean(dim=0).tolist(), spread.tolist(), strict=True):
            row[name], row[f"{name}_sd"] = mean, deviation
        rows.append(row)
    return rows
