from __future__ import annotations

from itertools import combinations

import pytest
import torch

from mplib.errors import MplibError
from mplib.evaluation import draws, evaluate, score
from mplib.montecarlo import sample_counts
from tests.toys import toy_net, toy_phi, toy_split


def test_the_whole_pool_is_the_prediction_of_as_many_samples() -> None:
    net, split = toy_net(phi=toy_phi()), toy_split(n=30)
    pool = draws(net, split.images, samples=7, batch_size=8, seed=2)
    assert pool.shape == (7, 30, 3)
    row = sample_counts(pool, split.labels, [7])[0]
    metrics = evaluate(net, split, samples=7, batch_size=8, seed=2)
    assert (row["accuracy"], row["accuracy_sd"]) == (metrics.accuracy, 0)
    assert row["nll"] == pytest.approx(metrics.nll) and row["ece"] == pytest.approx(metrics.ece)


def test_the_mean_over_subsets_is_that_over_all_of_them() -> None:
    pool = torch.randn(6, 40, 4, generator=torch.Generator().manual_seed(0)).mul(2).log_softmax(dim=2)
    labels = torch.arange(40) % 4
    row = sample_counts(pool, labels, [3], repeats=1500)[0]
    every = [score(pool[list(part)].exp().mean(dim=0).log(), labels, 3) for part in combinations(range(6), 3)]
    for name in ("accuracy", "nll", "ece"):
        values = torch.tensor([getattr(metrics, name) for metrics in every], dtype=torch.float64)
        assert row[name] == pytest.approx(values.mean().item(), abs=4 * values.std().item() / 1500**0.5)
        assert row[f"{name}_sd"] == pytest.approx(values.std().item(), rel=0.15)


def test_more_draws_never_make_the_mean_likelihood_worse() -> None:
    pool = torch.randn(40, 60, 5, generator=torch.Generator().manual_seed(1)).mul(3).log_softmax(dim=2)
    rows = sample_counts(pool, torch.arange(60) % 5, [1, 2, 5, 10, 40], repeats=30)
    nll = [row["nll"] for row in rows]
    assert nll == sorted(nll, reverse=True)
    assert rows == sample_counts(pool, torch.arange(60) % 5, [1, 2, 5, 10, 40], repeats=30)


@pytest.mark.parametrize(("counts", "repeats"), [([0], 1), ([6], 1), ([2], 0)])
def test_refuses_what_the_pool_does_not_hold(counts: list[int], repeats: int) -> None:
    pool = torch.zeros(5, 2, 3).log_softmax(dim=2)
    with pytest.raises(MplibError, match="expected counts from 1 to the pool's 5 draws"):
        sample_counts(pool, torch.tensor([0, 1]), counts, repeats)


def test_confidence_is_the_mean_over_subsets() -> None:
    pool = torch.randn(3, 20, 4, generator=torch.Generator().manual_seed(3)).mul(2).log_softmax(dim=2)
    one, whole = sample_counts(pool, torch.arange(20) % 4, [1, 3], repeats=600)
    assert whole["confidence"] == pytest.approx(pool.exp().mean(dim=0).amax(dim=1).mean().item())
    assert one["confidence"] == pytest.approx(pool.exp().amax(dim=2).mean().item(), abs=0.01)
    assert one["confidence"] > whole["confidence"]  # an average hedges
