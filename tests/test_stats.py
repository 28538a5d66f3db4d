from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from mplib.errors import MplibError
from mplib.stats import (
    common_seed_interval,
    holm,
    mean_interval,
    minimum_detectable_difference,
    p_value,
    paired_interval,
    pooled_interval,
    wilson,
)


def test_mean_interval_is_students() -> None:
    values = [0.3, 0.5, 0.45, 0.41]
    ours = mean_interval(values, confidence=0.9)
    theirs = scipy_stats.ttest_1samp(values, 0).confidence_interval(0.9)
    np.testing.assert_allclose((ours.mean, ours.low, ours.high), (np.mean(values), theirs.low, theirs.high))


def test_paired_interval_is_that_of_the_differences() -> None:
    a, b = [0.9, 0.8, 0.85], [0.7, 0.75, 0.6]
    ours, theirs = paired_interval(a, b), scipy_stats.ttest_rel(a, b).confidence_interval()
    np.testing.assert_allclose((ours.low, ours.high), (theirs.low, theirs.high))


def test_covers_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).normal(size=(2000, 5))
    covered = np.mean([interval.low <= 0 <= interval.high for interval in map(mean_interval, draws)])
    assert abs(covered - 0.95) < 0.02


def test_wilson_stays_in_the_unit_interval_at_its_ends() -> None:
    assert wilson(0, 10)[0] == 0 and wilson(10, 10)[1] == pytest.approx(1)
    assert wilson(10, 10)[0] < 1


def test_one_value_has_a_mean_and_no_interval() -> None:
    interval = mean_interval([0.5])
    assert interval.mean == 0.5 and math.isnan(interval.low) and interval.n == 1


def test_refuses_nothing_and_unpaired_values() -> None:
    with pytest.raises(MplibError, match="no values"):
        mean_interval([])
    with pytest.raises(MplibError, match="expected pairs"):
        paired_interval([1, 2], [1])
    with pytest.raises(MplibError, match="expected a count"):
        wilson(5, 4)


def test_pooled_interval_of_one_task_is_scipys_bootstrap_widened() -> None:
    values = np.random.default_rng(1).normal(0.4, 1, size=6)
    ours = pooled_interval([values], resamples=50_000)
    theirs = scipy_stats.bootstrap(
        (values,), np.mean, n_resamples=50_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    wider = math.sqrt(6 / 5)
    assert ours.mean == pytest.approx(values.mean())
    np.testing.assert_allclose(ours.low - ours.mean, wider * (theirs.low - values.mean()), rtol=0.02)
    np.testing.assert_allclose(ours.high - ours.mean, wider * (theirs.high - values.mean()), rtol=0.02)


def test_pooled_interval_weighs_tasks_and_not_seeds() -> None:
    pooled = pooled_interval([[0.0, 0.0], [3.0] * 10])
    assert pooled == (pytest.approx(1.5), pytest.approx(1.5), pytest.approx(1.5), 12)
    some = [[0.1, 1.3, 2.2, 2.9], [2.0, 5.7, 5.1]]
    assert pooled_interval(some, seed=3) == pooled_interval(some, seed=3)
    assert pooled_interval(some, resamples=101, seed=3) != pooled_interval(some, resamples=101, seed=4)


@pytest.mark.parametrize(("tasks", "expected"), [(1, 0.88), (4, 0.93)])
def test_pooled_interval_covers_as_its_docstring_says(tasks: int, expected: float) -> None:
    draws = np.random.default_rng(0).normal(size=(1500, tasks, 5))
    intervals = [pooled_interval(list(draw), resamples=400, seed=i) for i, draw in enumerate(draws)]
    covered = np.mean([interval.low <= 0 <= interval.high for interval in intervals])
    assert abs(covered - expected) < 0.025


def test_p_value_is_that_of_the_t_test() -> None:
    a, b = [0.9, 0.8, 0.85, 0.7], [0.7, 0.75, 0.6, 0.72]
    assert p_value(np.subtract(a, b)) == pytest.approx(scipy_stats.ttest_rel(a, b).pvalue)
    assert (p_value([0.0, 0.0]), p_value([1.0, 1.0])) == (1.0, 0.0)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_statsmodels(values: list[float]) -> None:
    np.testing.assert_allclose(holm(values), multipletests(values, method="holm")[1], atol=1e-12)


@pytest.mark.parametrize("n", [2, 5, 30])
def test_minimum_detectable_difference_is_statsmodels(n: int) -> None:
    theirs = TTestPower().solve_power(effect_size=None, nobs=n, alpha=0.05, power=0.8)
    assert minimum_detectable_difference(2.0, n) == pytest.approx(2 * float(np.squeeze(theirs)), rel=1e-4)


def test_a_difference_of_that_size_is_found_as_often_as_asked() -> None:
    size = minimum_detectable_difference(1.0, 5)
    draws = np.random.default_rng(0).normal(size, 1, size=(4000, 5))
    assert np.mean([p_value(draw) < 0.05 for draw in draws]) == pytest.approx(0.8, abs=0.02)


def test_refuses_what_cannot_be_pooled_or_tested() -> None:
    with pytest.raises(MplibError, match=r"the tasks have \[2, 1\] differences"):
        pooled_interval([[1, 2], [1]])
    with pytest.raises(MplibError, match="expected tasks"):
        pooled_interval([])
    with pytest.raises(MplibError, match="resamples is 5"):
        pooled_interval([[1, 2]], resamples=5)
    with pytest.raises(MplibError, match="at least 2 for a test"):
        p_value([1.0])
    with pytest.raises(MplibError, match="expected numbers from 0 to 1"):
        holm([0.5, 1.5])
    with pytest.raises(MplibError, match="at least 2 pairs"):
        minimum_detectable_difference(1.0, 1)


def test_tasks_that_share_their_seeds_are_averaged_before_the_interval() -> None:
    tasks = [{0: 1.0, 1: 2.0, 2: 6.0}, {2: 0.0, 1: 4.0, 0: 3.0, 7: 99.0}]
    interval = common_seed_interval(tasks, 0.9)
    np.testing.assert_allclose(interval[:3], mean_interval([2.0, 3.0, 3.0], 0.9)[:3])
    assert interval.n == 6
    for wrong in ([], [{0: 1.0}], [{0: 1.0, 1: 2.0}, {1: 1.0, 2: 2.0}]):
        with pytest.raises(MplibError, match="seeds in common"):
            common_seed_interval(wrong)


@pytest.mark.parametrize(("tasks", "seeds"), [(2, 5), (4, 5), (4, 3)])
def test_coverage_where_tasks_share_seeds(tasks: int, seeds: int) -> None:
    """Half of the variance belongs to the seed: Student's interval covers as asked, the bootstrap falls short."""
    source, trials = np.random.default_rng(tasks + seeds), 400
    covered = bootstrapped = 0
    for _ in range(trials):
        gains = source.normal(size=(tasks, seeds)) + source.normal(size=seeds)
        ours = common_seed_interval([dict(enumerate(values)) for values in gains])
        theirs = pooled_interval(gains.tolist(), resamples=200)
        covered += ours.low < 0 < ours.high
        bootstrapped += theirs.low < 0 < theirs.high
    assert abs(covered / trials - 0.95) < 0.03  # about three standard errors
    assert bootstrapped / trials < 0.87
