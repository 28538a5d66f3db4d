from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from mplib import MplibError, evaluate, train, transfer_convolutions
from mplib.training import Recipe, own_parameters, progress_bar
from tests.toys import flat, toy_data, toy_net, toy_phi, toy_split


def run(net: nn.Module, **more: object) -> nn.Module:
    train(net, toy_data(), **{"steps": 8, "batch_size": 16, "device": "cpu", **more})
    return net


def test_learns_and_says_so() -> None:
    net = toy_net(phi=toy_phi())
    history = train(net, toy_data(), steps=60, batch_size=24, learning_rate=0.01, device="cpu")
    assert history.rows[-1]["loss"] < 0.5 * history.rows[0]["loss"]
    assert evaluate(net, toy_split(seed=1), samples=5).accuracy > 0.9
    assert not net.training


def test_equals_a_plain_loop() -> None:
    """The recipe written out with nothing of ours but the batches: Adam with L2 and a stepwise learning rate."""
    from mplib.batches import Batches
    from mplib.seeding import derive

    net, reference = toy_net(), toy_net()
    train(net, toy_data(), steps=10, batch_size=16, seed=2, device="cpu")
    optimiser = torch.optim.Adam(reference.parameters(), lr=1e-3, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, milestones=[4, 7, 9], gamma=0.3)
    batches = Batches(toy_data().train, 16, derive(2, "batches"))
    for step in range(10):
        images, labels = batches[step]
        loss = nn.CrossEntropyLoss()(reference(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    torch.testing.assert_close(flat(net), flat(reference), rtol=1e-6, atol=1e-7)


def test_the_same_seed_gives_the_same_network_and_another_seed_another() -> None:
    networks = [run(toy_net(phi=toy_phi()), seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(flat(networks[0]), flat(networks[1]))
    assert not torch.equal(flat(networks[0]), flat(networks[2]))


def test_leaves_torchs_random_state_and_phi_alone() -> None:
    phi = toy_phi()
    before, state = flat(phi), torch.get_rng_state()
    net = run(toy_net(phi=phi))
    assert torch.equal(flat(phi), before) and torch.equal(torch.get_rng_state(), state)
    assert all(parameter.requires_grad for parameter in phi.parameters())
    assert {id(p) for p in own_parameters(net)}.isdisjoint({id(p) for p in phi.parameters()})


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("stop", [3, 7, 12])
def test_interrupted_and_resumed_is_the_same_run(tmp_path: Path, stop: int) -> None:
    def interrupt(step: int, net: nn.Module) -> dict[str, float]:
        if step == stop:
            raise Interrupted
        return {}

    whole = toy_net(phi=toy_phi())
    expected = train(whole, toy_data(), steps=12, batch_size=16, device="cpu")
    options = {"steps": 12, "batch_size": 16, "device": "cpu", "checkpoint": tmp_path / "c.pt", "checkpoint_every": 2}
    with pytest.raises(Interrupted):
        train(toy_net(phi=toy_phi()), toy_data(), probe=interrupt, **options)
    again = toy_net(seed=9, phi=toy_phi())  # its weights come from the checkpoint
    history = train(again, toy_data(), resume=True, **options)
    assert torch.equal(flat(again), flat(whole))
    assert history.rows == expected.rows


def test_refuses_the_checkpoint_of_another_run(tmp_path: Path) -> None:
    run(toy_net(), checkpoint=tmp_path / "c.pt")
    with pytest.raises(MplibError, match=r"belongs to another run .*seeds \[0\] instead of \[1\]"):
        run(toy_net(), checkpoint=tmp_path / "c.pt", resume=True, seed=1)


def test_a_probe_adds_to_the_history() -> None:
    history = train(
        toy_net(), toy_data(), steps=4, batch_size=8, device="cpu", probe=lambda step, net: {"twice": 2 * step}
    )
    assert [row["twice"] for row in history.rows] == [2, 4, 6, 8]
    assert list(history.frame()["step"]) == [1, 2, 3, 4]


def test_bars_are_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """Shown on request, and never where the environment says no; tqdm reads that when it is imported."""
    for show in (True, False):
        list(progress_bar("train", 0, 3, show))
        assert ("train" in capsys.readouterr().err) == show
    code = "from mplib.training import progress_bar; list(progress_bar('train', 0, 3, True))"
    environment = {**os.environ, "TQDM_DISABLE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_strength_and_rate_follow_the_paper() -> None:
    recipe = Recipe(steps=10_000)
    assert [recipe.strength(step) for step in (0, 1000, 4000, 9999)] == [0, 0.25, 1, 1]
    assert [round(recipe.rate(step) / 1e-3, 6) for step in (0, 3999, 4000, 7000, 9000)] == [1, 1, 0.3, 0.09, 0.027]
    assert Recipe(steps=2).strength(0) == 1  # int(0.4 * 2) is 0: no warm-up
    net = toy_net(phi=toy_phi())
    history = train(net, toy_data(), steps=5, batch_size=8, device="cpu")
    assert [row["strength"] for row in history.rows] == [0, 0.5, 1, 1, 1]
    assert net.perturbation.strength == 1


def test_fine_tuning_takes_the_convolutions_and_nothing_else() -> None:
    source, target = run(toy_net(seed=1)), toy_net(seed=2, classes=5)
    before = {name: value.clone() for name, value in target.state_dict().items()}
    copied = transfer_convolutions(source, target)
    for name, value in target.state_dict().items():
        same_as_source = name in source.state_dict() and value.equal(source.state_dict()[name])
        assert same_as_source if name in copied else value.equal(before[name])
    assert copied and all("conv" in name for name in copied)
    with pytest.raises(MplibError, match="expected a network of the same kind"):
        transfer_convolutions(nn.Conv2d(3, 4, 3), target)
    with pytest.raises(MplibError, match="no convolutions"):
        transfer_convolutions(source, nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps is 0, expected an integer of at least 1"),
        ({"steps": 2.0}, "steps is 2.0"),
        ({"batch_size": 1}, "batch_size is 1"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"weight_decay": -1.0}, "weight_decay -1.0"),
        ({"warmup": 1.5}, "warmup is 1.5"),
        ({"seed": -1}, "seed is -1"),
        ({"device": "nowhere"}, "device 'nowhere'"),
        ({"checkpoint_every": 0}, "checkpoint_every is 0"),
        ({"learning_rate": 1e30}, "the loss is not finite"),
    ],
)
def test_refuses_what_cannot_be(options: dict, message: str) -> None:
    with pytest.raises(MplibError, match=message):
        run(toy_net(), **options)


def test_refuses_a_network_that_does_not_fit_the_data() -> None:
    with pytest.raises(MplibError, match="2 outputs, expected at least the 3 classes"):
        run(toy_net(classes=2))
    with pytest.raises(MplibError, match="16 px, expected the 32 px"):
        run(toy_net(size=32))


@pytest.mark.gpu
def test_trains_on_the_gpu() -> None:
    history = train(toy_net(phi=toy_phi()), toy_data(), steps=60, batch_size=24, learning_rate=0.01, device="cuda")
    assert history.rows[-1]["loss"] < 0.5 * history.rows[0]["loss"]
