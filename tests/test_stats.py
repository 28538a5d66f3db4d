from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from mplib.errors import MplibError
from mplib.stats import mean_interval, paired_interval, wilson


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
