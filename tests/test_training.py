from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mplib import MplibError, evaluate, train, train_together
from mplib.checkpoints import read_state
from mplib.steps import own_parameters
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


def test_the_strength_follows_the_recipe() -> None:
    net = toy_net(phi=toy_phi())
    history = train(net, toy_data(), steps=5, batch_size=8, device="cpu")
    assert [row["strength"] for row in history.rows] == [0, 0.5, 1, 1, 1]
    assert net.perturbation.strength == 1


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
        ({"precision": "float16"}, "unknown precision 'float16', did you mean 'bfloat16'"),
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


def test_trained_together_each_is_as_if_alone() -> None:
    """Other kinds, sizes and numbers of classes, one phi for two of them, one with no phi at all."""
    phi = toy_phi()

    def make() -> list[nn.Module]:
        return [toy_net(0, phi=phi), toy_net(1, phi=phi), toy_net(2, classes=5), toy_net(3, phi=toy_phi(1), size=32)]

    sets = [toy_data(), toy_data(), toy_data(n=40, classes=5, flip=False), toy_data(n=12, size=32)]
    together, alone = make(), make()
    histories = train_together(together, sets, [0, 1, 1, 7], steps=9, batch_size=16, device="cpu")
    for net, other, data, seed, history in zip(together, alone, sets, (0, 1, 1, 7), histories, strict=True):
        assert train(other, data, seed=seed, steps=9, batch_size=16, device="cpu").rows == history.rows
        assert torch.equal(flat(net), flat(other))
    assert all(parameter.requires_grad for parameter in phi.parameters())


def test_interrupted_together_and_resumed(tmp_path: Path) -> None:
    options = {"steps": 8, "batch_size": 16, "device": "cpu"}
    whole = [toy_net(seed, phi=toy_phi()) for seed in range(2)]
    expected = train_together(whole, toy_data(), [0, 1], **options)

    def interrupt(step: int, net: nn.Module) -> dict[str, float]:
        if step == 6 and net is not nets[0]:
            raise Interrupted
        return {}

    kept = {**options, "checkpoint": tmp_path / "c.pt", "checkpoint_every": 2}
    nets = [toy_net(seed, phi=toy_phi()) for seed in range(2)]
    with pytest.raises(Interrupted):
        train_together(nets, toy_data(), [0, 1], probe=interrupt, **kept)
    again = [toy_net(9, phi=toy_phi()) for _ in range(2)]
    histories = train_together(again, toy_data(), [0, 1], resume=True, **kept)
    assert [history.rows for history in histories] == [history.rows for history in expected]
    assert all(torch.equal(flat(net), flat(other)) for net, other in zip(again, whole, strict=True))


@pytest.mark.parametrize(
    ("count", "sets", "seeds"), [(0, 1, 0), (2, 1, 3), (2, 3, 2)], ids=["none", "seeds", "data sets"]
)
def test_refuses_numbers_that_do_not_match(count: int, sets: int, seeds: int) -> None:
    nets = [toy_net() for _ in range(count)]
    with pytest.raises(MplibError, match=f"there are {count} networks"):
        train_together(nets, toy_data() if sets == 1 else [toy_data()] * sets, range(seeds), steps=1, device="cpu")
    with pytest.raises(MplibError, match="2 networks .1 of them different"):
        net = toy_net()
        train_together([net, net], toy_data(), [0, 1], steps=1, device="cpu")


@pytest.mark.parametrize(
    ("block", "where"), [(2, "reaches the site 'blocks.2.bn'"), (3, "reaches the site 'blocks.3.bn'")]
)
def test_a_loss_that_is_not_finite_names_step_and_site_and_the_checkpoint_stays(
    tmp_path: Path, block: int, where: str
) -> None:
    net = toy_net(phi=toy_phi())
    net.blocks[block].conv.register_forward_hook(lambda module, args, y: Poisoned.output(y))
    Poisoned.batches, Poisoned.bad = 0, toy_batch(step=7)
    net.register_forward_pre_hook(lambda module, args: Poisoned.look(args[0]))
    options = {"steps": 200, "batch_size": 16, "device": "cpu", "checkpoint": tmp_path / "c.pt", "checkpoint_every": 2}
    with pytest.raises(
        MplibError, match=f"loss is not finite at step 8 of 200, first in .* reaches the site 'blocks.{block}.bn'"
    ):
        train(net, toy_data(), **options)
    state = read_state(tmp_path / "c.pt")
    assert state["step"] == 6
    assert all(value.isfinite().all() for value in state["nets"][0]["network"].values())


class Poisoned:
    """Makes one batch of the run, known by its pixels, overflow; so that it does so again when it comes again."""

    batches, bad, now = 0, torch.empty(0), False

    @classmethod
    def look(cls, images: torch.Tensor) -> None:
        cls.now = torch.equal(images, cls.bad)

    @classmethod
    def output(cls, y: torch.Tensor) -> torch.Tensor | None:
        return y * float("inf") if cls.now else None


def toy_batch(step: int) -> torch.Tensor:
    from mplib.batches import Batches
    from mplib.seeding import derive

    return Batches(toy_data().train, 16, derive(0, "batches"))[step][0]


def test_weights_that_the_last_step_before_a_checkpoint_spoilt_are_not_kept(tmp_path: Path) -> None:
    """The loss of step 6 is finite, its gradient is not: the checkpoint that was due is not written."""
    net = toy_net(phi=toy_phi())

    def spoil(module: nn.Module, args: tuple, y: torch.Tensor) -> torch.Tensor:
        if torch.equal(Spoil.images, Spoil.bad):
            y = y.clone()
            y.register_hook(lambda gradient: gradient * float("inf"))
        return y

    class Spoil:
        images, bad = torch.empty(0), toy_batch(step=5)

    def look(module: nn.Module, args: tuple) -> None:
        Spoil.images = args[0]

    net.register_forward_pre_hook(look)
    net.blocks[3].conv.register_forward_hook(spoil)
    options = {"steps": 20, "batch_size": 16, "device": "cpu", "checkpoint": tmp_path / "c.pt", "checkpoint_every": 2}
    with pytest.raises(MplibError, match="a weight is not finite at step 6 of 20, first in the map that reaches"):
        train(net, toy_data(), **options)
    assert read_state(tmp_path / "c.pt")["step"] == 4


def test_a_network_without_sites_names_the_step_and_one_among_others_its_number() -> None:
    nets = [toy_net(), toy_net(1)]
    nets[1].fc.weight.data.fill_(float("inf"))
    with pytest.raises(MplibError, match="the loss of network 1 is not finite at step 1 of 5; expected"):
        train_together(nets, toy_data(), [0, 1], steps=5, batch_size=16, device="cpu")


def test_bfloat16_trains_with_finite_losses() -> None:
    net = toy_net(phi=toy_phi())
    history = train(net, toy_data(), steps=30, batch_size=24, learning_rate=0.01, device="cpu", precision="bfloat16")
    losses = [row["loss"] for row in history.rows]
    assert torch.tensor(losses).isfinite().all() and losses[-1] < 0.8 * losses[0]
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}
    exact = toy_net(phi=toy_phi())
    rows = train(
        exact,
        toy_data(),
        steps=3,  # as there, no noise in the first step
        batch_size=24,
        learning_rate=0.01,
        device="cpu",
    ).rows
    assert rows[0]["loss"] != losses[0] and rows[0]["loss"] == pytest.approx(losses[0], rel=0.05)


@pytest.mark.gpu
def test_trains_on_the_gpu() -> None:
    history = train(toy_net(phi=toy_phi()), toy_data(), steps=60, batch_size=24, learning_rate=0.01, device="cuda")
    assert history.rows[-1]["loss"] < 0.5 * history.rows[0]["loss"]
