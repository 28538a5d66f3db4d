from __future__ import annotations

import pytest

from mplib import MplibError
from mplib.reproduction.declarations import METHODS, SUITES, Wanted, units
from mplib.reproduction.scales import find_scale

TOY = find_scale("toy")


@pytest.mark.parametrize("suite", ["datasets", "architectures", "ablation", "calibration", "robustness"])
def test_any_first_part_is_balanced_over_the_methods(suite: str) -> None:
    """All methods of a seed come before the next seed."""
    found = units([suite], TOY)
    seeds = [unit.seeds for unit in found]
    assert seeds == sorted(seeds) and set(seeds) == {(0,), (1,)}
    half = len(found) // 2
    assert [unit.method for unit in found[:half]] == [unit.method for unit in found[half:]]


def test_together_a_unit_has_all_seeds_of_a_method() -> None:
    found = units(["datasets"], TOY, together=True)
    assert {unit.seeds for unit in found} == {(0, 1)}
    assert len(found) == len(TOY.targets) * len(METHODS["datasets"])
    assert [unit.data for unit in found] == sorted(unit.data for unit in found)  # one data set after the other


def test_phi_comes_before_the_noise_that_is_matched_to_it() -> None:
    found = units(["datasets"], TOY, Wanted(methods=["none", "noise", "phi"], seeds=[3], data=["digits"]))
    assert [unit.method for unit in found] == ["none", "phi", "noise"]
    assert {unit.seeds for unit in found} == {(3,)}


def test_meta_makes_every_phi_before_it_scores_them_seed_by_seed() -> None:
    found = units(["meta"], TOY)
    assert [unit.kind for unit in found] == ["meta"] * 2 + ["selection"] * 6
    assert [(unit.seeds[0], unit.phi_seed) for unit in found[2:]] == [(s, p) for s in (0, 1, 2) for p in (0, 1)]


def test_the_number_of_tasks_is_compared_seed_by_seed() -> None:
    found = units(["tasks"], TOY)
    assert [(unit.kind, unit.phi_seed, unit.tasks) for unit in found] == [
        (kind, seed, tasks) for seed in (0, 1) for tasks in TOY.task_counts for kind in ("meta", "transfer")
    ]


def test_fine_tuning_starts_with_its_source_which_is_made_once() -> None:
    found = units(["source", "finetune"], TOY)
    assert [unit.kind for unit in found[:2]] == ["source", "transfer"]
    assert sum(unit.kind == "source" for unit in found) == 1


@pytest.mark.parametrize("suite", SUITES)
def test_units_are_different_and_have_words_of_their_own(suite: str) -> None:
    for scale in ("paper", "toy"):
        found = units([suite], find_scale(scale))
        assert found and len(set(map(str, found))) == len(found) == len(set(found))


@pytest.mark.parametrize(
    ("suites", "wanted", "message"),
    [
        (["dataset"], Wanted(), "unknown suite 'dataset', did you mean 'datasets'"),
        ([], Wanted(), "no suite is named"),
        (["datasets"], Wanted(methods=["fi"]), "unknown method 'fi'"),
        (["datasets"], Wanted(seeds=[]), "seeds is empty"),
    ],
)
def test_refuses_what_cannot_be(suites: list[str], wanted: Wanted, message: str) -> None:
    with pytest.raises(MplibError, match=message):
        units(suites, TOY, wanted)
