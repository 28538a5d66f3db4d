from __future__ import annotations

import pytest

from mplib import MplibError, nets, regularizers
from mplib.adversaries import NORMS
from mplib.data import describe
from mplib.reproduction.declarations import METHODS
from mplib.reproduction.scales import SCALES, find_scale


@pytest.mark.parametrize("scale", SCALES.values(), ids=list(SCALES))
def test_what_a_scale_names_is_there(scale: object) -> None:
    scale = find_scale(scale.name)  # type: ignore[attr-defined]
    for name in (scale.source, scale.first, *scale.targets):
        assert describe(name).title
    assert {scale.net, scale.meta_net, *scale.nets} <= set(nets.names())
    assert scale.first in scale.targets and scale.tasks in scale.task_counts
    assert set(scale.attack["radii"]) <= set(NORMS) and max(scale.counts) <= scale.draws
    assert {method for methods in METHODS.values() for method in methods} <= set(regularizers.names())


def test_the_paper_scale_is_the_protocol() -> None:
    paper = find_scale("paper")
    assert (paper.steps, paper.batch_size, paper.samples, len(paper.seeds)) == (10_000, 128, 100, 5)
    assert (paper.tasks, paper.classes_per_group, paper.meta_steps, len(paper.meta_seeds)) == (10, 40, 750, 5)
    assert paper.nets == ("conv4", "conv6", "vgg9", "resnet20", "resnet44", "wrn28_2")


def test_at_small_scale_each_image_is_seen_as_often() -> None:
    paper, small = find_scale("paper"), find_scale("small")
    assert small.source_per_class is not None
    assert 500 / small.source_per_class == paper.batch_size / small.batch_size == 4
    assert small.meta_steps == paper.meta_steps


def test_refuses_an_unknown_scale() -> None:
    with pytest.raises(MplibError, match="unknown scale 'papers', did you mean 'paper'"):
        find_scale("papers")
