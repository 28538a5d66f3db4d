from __future__ import annotations

import pytest
import torch

import mplib
from mplib import MplibError
from mplib.reproduction.selection import EVERY, Score, choose, selection_images


def test_the_images_are_the_validation_images_of_every_fifth_class() -> None:
    source = mplib.data.load("photos", image_size=16)
    chosen = selection_images(source)
    assert chosen.classes == source.classes[::EVERY]
    assert chosen.train.n == sum(int((source.test.labels == label).sum()) for label in range(0, 17, EVERY))
    for label in range(chosen.num_classes):
        theirs = source.test.images[source.test.labels == EVERY * label]
        assert torch.equal(chosen.train.images[chosen.train.labels == label], theirs)


def test_the_highest_mean_accuracy_wins() -> None:
    assert choose({3: [Score(0.5, 1.0), Score(0.1, 1.0)], 4: [Score(0.32, 9.0), Score(0.31, 9.0)]}) == 4


def test_nll_decides_among_those_that_are_level() -> None:
    scores = {0: [Score(0.300, 2.0)], 1: [Score(0.296, 1.9)], 2: [Score(0.294, 1.0)]}
    assert choose(scores) == 1  # the third is further than half a point below the best
    assert choose({2: [Score(0.3, 1.0)], 1: [Score(0.3, 1.0)]}) == 1


@pytest.mark.parametrize("scores", [{}, {0: []}, {0: [Score(0.1, 1.0)], 1: [Score(0.1, 1.0)] * 2}])
def test_refuses_scores_that_do_not_match(scores: dict[int, list[Score]]) -> None:
    with pytest.raises(MplibError, match="expected equally many"):
        choose(scores)
