from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mplib import MplibError
from mplib.mislabelling import mislabel
from tests.toys import toy_data


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 1), st.integers(0, 5))
def test_exactly_that_part_of_the_training_labels_is_wrong(fraction: float, seed: int) -> None:
    data = toy_data()
    wrong = mislabel(data, fraction, seed)
    assert int((wrong.train.labels != data.train.labels).sum()) == round(fraction * 48)
    assert torch.equal(wrong.test.labels, data.test.labels) and torch.equal(wrong.train.images, data.train.images)
    assert torch.equal(wrong.train.labels, mislabel(data, fraction, seed).train.labels)


def test_a_wrong_label_is_any_other_class() -> None:
    data = toy_data(n=3000)
    wrong = mislabel(data, 1.0).train.labels
    for label in range(3):
        counts = torch.bincount(wrong[data.train.labels == label], minlength=3)
        assert counts[label] == 0 and counts.sum() == 1000 and counts.max() < 600
    with pytest.raises(MplibError, match="label_noise is 1.5"):
        mislabel(data, 1.5)
