from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mplib import load_network, nets, predict
from mplib.experiments import Transfer, compare
from mplib.perturb import MetaPerturb
from mplib.regularizers import Start, branches, find, names
from mplib.runs import RunStore
from tests.toys import toy_data, toy_phi

ALL = [name for name in names() if name != "doctest"]


def test_every_method_is_tuned_with_equally_many_tries_its_default_among_them() -> None:
    for name in ALL:
        method = find(name)
        assert len(method.tries) == (3 if method.settings else 0), name
        if method.settings:
            resolved = [method.resolve(options) for options in method.tries]
            assert method.resolve({}) in resolved, name
        assert method.text and (method.source or name == "none")


def test_who_takes_the_ramp() -> None:
    ramped = {name for name in ALL if find(name).ramp}
    controls = {"untrained", "noise", "softplus_noise", "noise_only", "scale_only", "deterministic", "shuffled", "phi"}
    assert ramped == controls | {"dropblock"}
    assert find("dropout").overrides({}) == {"warmup": 0.0} and find("phi").overrides({}) == {}
    assert find("weight_decay").overrides({"penalty": 0.1}) == {"warmup": 0.0, "weight_decay": 0.1}


@pytest.mark.slow
def test_every_method_runs_is_kept_and_answers_alike_when_loaded(tmp_path: Path) -> None:
    data, folder = toy_data(), tmp_path / "networks"
    for name in ALL:
        net = "resnet20" if name == "stochastic_depth" else "conv4"
        transfer = Transfer(name, net, None if net == "resnet20" else 4, 4, steps=3, batch_size=8, samples=2)
        (row,) = compare([transfer], data, toy_phi(), RunStore(tmp_path / name), device="cpu", networks=folder)
        assert row["result"]["n"] == 48 and 0 <= row["result"]["fitted_accuracy"] <= 1
        again, provenance = load_network(folder / f"{row['key']}.safetensors")
        assert provenance["method"] == name
        p = predict(again, data.test.images, samples=2, seed=0)
        assert -p[torch.arange(48), data.test.labels].log().mean().item() == pytest.approx(
            row["result"]["nll"], rel=1e-4
        ), name


def test_stochastic_depth_drops_more_and_more_along_the_network() -> None:
    net = nets.build("resnet20", num_classes=2)
    method = find("stochastic_depth")
    functions = method.perturbation(Start(net, 32, {"rate": 0.45}))
    assert [round(part.rate, 3) for part in functions] == [round(0.05 * k, 3) for k in range(1, 10)]
    assert method.places(net, 32) == branches(net, 32)


def test_what_a_run_starts_from_is_drawn_by_its_seed() -> None:
    net = nets.build("conv4", num_classes=2, image_size=16, width=4)
    a, b, c = (find("untrained").perturbation(Start(net, 16, {}, seed=seed)) for seed in (0, 0, 1))
    assert isinstance(a, MetaPerturb) and isinstance(b, MetaPerturb) and isinstance(c, MetaPerturb)
    assert torch.equal(a.weights.head, b.weights.head) and not torch.equal(a.weights.head, c.weights.head)
