from __future__ import annotations

import pytest
import torch

from mplib import MplibError
from mplib.corruption import corrupt_labels
from tests.toys import toy_data


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.5, 1.0])
def test_each_class_loses_the_same_fraction_and_the_test_split_stays_right(fraction: float) -> None:
    data = toy_data(n=48)
    wrong = corrupt_labels(data, fraction, seed=1)
    changed = wrong.train.labels != data.train.labels
    assert [int(changed[data.train.labels == label].sum()) for label in range(3)] == [round(16 * fraction)] * 3
    assert torch.equal(wrong.train.images, data.train.images) and torch.equal(wrong.test.labels, data.test.labels)
    assert (wrong.fingerprint == data.fingerprint) == (fraction == 0)


def test_wrong_labels_are_spread_over_the_other_classes() -> None:
    data = toy_data(n=3000)
    wrong = corrupt_labels(data, 1.0).train.labels
    for label in range(3):
        counts = torch.bincount(wrong[data.train.labels == label], minlength=3)
        assert counts[label] == 0 and counts.sum() == 1000 and counts[counts > 0].min() > 440


def test_repeats_itself_by_the_seed() -> None:
    data = toy_data()
    first, again, other = (corrupt_labels(data, 0.5, seed).train.labels for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_refuses_what_is_no_fraction(fraction: float) -> None:
    with pytest.raises(MplibError, match="expected a number from 0 to 1"):
        corrupt_labels(toy_data(), fraction)
