from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mplib import MetaPerturb
from mplib.data import load
from mplib.experiments import Transfer, transfer_config
from mplib.reproduction.costs import Costs, flops
from mplib.reproduction.declarations import units
from mplib.reproduction.scales import find_scale

TOY, PAPER = find_scale("toy"), find_scale("paper")


def row(method: str, seconds: float, device: str = "here", **environment: Any) -> dict[str, Any]:
    transfer = Transfer(method, "conv4", 4, steps=TOY.steps, batch_size=TOY.batch_size, samples=TOY.samples)
    config = transfer_config(transfer, load("digits", image_size=16), MetaPerturb())
    return {"config": config, "seconds": seconds, "environment": {"device": device, **environment}}


def test_rows_of_the_same_kind_and_device_tell_the_time() -> None:
    unit = next(unit for unit in units(["datasets"], TOY) if unit.method == "dropblock")
    rows = [row("dropblock", 10), row("dropblock", 20), row("none", 99), row("dropblock", 999, "there"),
            row("dropblock", 0.5, resumed=True)]  # fmt: skip
    cost = Costs(TOY, "cpu", "here", rows, timed=False).of(unit)
    assert (cost.seconds, cost.how) == (15.0, "measured")
    longer = Costs(replace(TOY, steps=2 * TOY.steps), "cpu", "here", rows, timed=False).of(unit)
    assert longer.seconds == 30.0


def test_rows_that_were_made_meanwhile_are_taken_in() -> None:
    unit = units(["datasets"], TOY)[0]
    costs = Costs(TOY, "cpu", "here", [], timed=False)
    assert costs.of(unit).how == "guess"
    costs.add([row("none", 7.0)])
    assert costs.of(unit) == (7.0, "measured", costs.of(unit).bytes)


def test_without_rows_a_few_steps_are_timed() -> None:
    longer = replace(TOY, steps=100, meta_steps=100)
    for suite in ("datasets", "meta"):
        cost = Costs(longer, "cpu", "here", []).of(units([suite], longer)[0])
        assert cost.how == "timed" and 0 < cost.seconds < 6000
        assert Costs(TOY, "cpu", "here", []).of(units([suite], TOY)[0]).how == "guess"  # shorter than the timing


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_guesses_grow_with_the_work(kind: str) -> None:
    costs = Costs(PAPER, kind, "nowhere", [], together=True, timed=False)
    found = {(unit.net, unit.method): costs.of(unit) for unit in units(["architectures"], PAPER, together=True)}
    assert {cost.how for cost in found.values()} == {"guess"}
    assert found["resnet44", "phi"].seconds > found["resnet20", "phi"].seconds > found["resnet20", "none"].seconds
    assert found["resnet44", "phi"].bytes > found["resnet20", "phi"].bytes > found["resnet20", "none"].bytes
    ten = costs.of(units(["meta"], PAPER)[0])
    assert ten.how == "guess" and ten.bytes > 10 * 2**20


def test_what_cannot_be_replayed_takes_longer_on_a_gpu() -> None:
    costs = Costs(PAPER, "cuda", "nowhere", [], together=True, timed=False)
    found = {unit.method: costs.of(unit).seconds for unit in units(["datasets"], PAPER, together=True)}
    assert found["manifold_mixup"] > 2 * found["phi"]


def test_attacks_and_reliability_come_on_top_of_training() -> None:
    costs = Costs(PAPER, "cuda", "nowhere", [], together=True, timed=False)
    trained, *_ = (costs.of(unit).seconds for unit in units(["ablation"], PAPER, together=True) if unit.method == "phi")
    for suite in ("calibration", "robustness"):
        own = [costs.of(unit).seconds for unit in units([suite], PAPER, together=True) if unit.method == "phi"]
        assert own[0] > trained


def test_operations_are_counted() -> None:
    """resnet20 at 32 px is known for 41 million multiplications and additions, two operations each."""
    assert flops("resnet20", None, 10, 32) == pytest.approx(2 * 41e6, rel=0.02)
