from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mplib import MetaPerturb, MplibError, meta_train, nets
from mplib.attachment import attach, batch_statistics
from mplib.batches import Batches
from mplib.meta import frozen_batch_norm
from mplib.seeding import derive, stream
from mplib.training import frozen_perturbation
from tests.toys import flat, toy_net, toy_phi, toy_task

TASKS = [toy_task(0), toy_task(1, classes=2)]
OPTIONS = {"net": "conv4", "width": 4, "steps": 4, "batch_size": 16, "device": "cpu"}


def test_equals_algorithm_1_written_out() -> None:
    """Two steps by hand: an Adam step of each network, then phi on the mean of its gradients at the new weights."""
    run = meta_train(TASKS, **{**OPTIONS, "steps": 2}, seed=5)

    phi = MetaPerturb(generator=stream(5, "phi"))
    networks, optimisers = [], []
    for number, task in enumerate(TASKS):
        torch.manual_seed(derive(5, "network", number))
        net = attach(nets.build("conv4", task.num_classes, 16, width=4), phi, image_size=16)
        networks.append(net)
        theta = [p for p in net.parameters() if not any(p is q for q in phi.parameters())]
        optimisers.append(torch.optim.Adam(theta, lr=1e-3, weight_decay=5e-4))
    phi_optimiser = torch.optim.Adam(phi.parameters(), lr=1e-3, weight_decay=5e-4)
    for step in range(2):
        total = [torch.zeros_like(p) for p in phi.parameters()]
        for number, (task, net, optimiser) in enumerate(zip(TASKS, networks, optimisers, strict=True)):
            images, labels = Batches(task.train, 16, derive(5, "train", number))[step]
            net.train()
            torch.manual_seed(derive(5, "theta noise", number, step))
            optimiser.zero_grad()
            with frozen_perturbation(net):
                F.cross_entropy(net(images), labels).backward()
            optimiser.step()
            images, labels = Batches(task.valid, 16, derive(5, "valid", number))[step]
            torch.manual_seed(derive(5, "phi noise", number, step))
            with frozen_batch_norm(net), batch_statistics(net):
                loss = F.cross_entropy(net(images), labels)
            for sum_, gradient in zip(total, torch.autograd.grad(loss, list(phi.parameters())), strict=True):
                sum_ += gradient / len(TASKS)
        for parameter, gradient in zip(phi.parameters(), total, strict=True):
            parameter.grad = gradient
        phi_optimiser.step()
    torch.testing.assert_close(flat(run.phi), flat(phi), rtol=1e-5, atol=1e-7)
    for ours, theirs in zip(run.networks, networks, strict=True):
        torch.testing.assert_close(flat(ours), flat(theirs), rtol=1e-4, atol=1e-5)


def test_every_part_of_phi_is_learned() -> None:
    run = meta_train(TASKS, **OPTIONS, weight_decay=0.0)  # weight decay would move a part that gets no gradient, too
    before = MetaPerturb(generator=stream(0, "phi")).state_dict()
    assert all(not value.equal(before[name]) for name, value in run.phi.state_dict().items())


def test_the_phi_step_leaves_running_statistics_alone_unless_asked() -> None:
    net = toy_net(phi=toy_phi())
    images = torch.rand(8, 3, 16, 16)
    before = flat(net)
    with frozen_batch_norm(net), batch_statistics(net):
        net(images)
    assert torch.equal(flat(net), before)
    assert all(module.training for module in net.modules() if isinstance(module, nn.BatchNorm2d))
    with frozen_batch_norm(net), batch_statistics(net, update=True):
        net(images)
    changed = {name for name, value in net.state_dict().items() if "statistics" in name and (value != 0).any()}
    assert changed
    runs = [meta_train(TASKS, **OPTIONS, update_statistics=flag) for flag in (False, True)]
    assert not torch.equal(flat(runs[0].networks[0]), flat(runs[1].networks[0]))


def test_the_same_seed_gives_the_same_phi_and_another_seed_another() -> None:
    runs = [meta_train(TASKS, **OPTIONS, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(flat(runs[0].phi), flat(runs[1].phi))
    assert not torch.equal(flat(runs[0].phi), flat(runs[2].phi))


def test_interrupted_and_resumed_is_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = meta_train(TASKS, **OPTIONS)
    file = tmp_path / "c.pt"
    original = Batches.plan

    def interrupt(self: Batches, step: int) -> torch.Tensor:
        if step == 3:
            raise KeyboardInterrupt
        return original(self, step)

    monkeypatch.setattr(Batches, "plan", interrupt)
    with pytest.raises(KeyboardInterrupt):
        meta_train(TASKS, **OPTIONS, checkpoint=file, checkpoint_every=2)
    monkeypatch.undo()
    run = meta_train(TASKS, **OPTIONS, checkpoint=file, checkpoint_every=2, resume=True)
    assert torch.equal(flat(run.phi), flat(expected.phi))
    assert run.history.rows == expected.history.rows
    with pytest.raises(MplibError, match="another run .*batch_size 16 instead of 8"):
        meta_train(TASKS, **{**OPTIONS, "batch_size": 8}, checkpoint=file, resume=True)


def test_phi_itself_survives_in_the_checkpoint(tmp_path: Path) -> None:
    """A run that is complete in its checkpoint gives the same phi again without a step."""
    first = meta_train(TASKS, **OPTIONS, checkpoint=tmp_path / "c.pt")
    again = meta_train(TASKS, **OPTIONS, checkpoint=tmp_path / "c.pt", resume=True)
    assert torch.equal(flat(first.phi), flat(again.phi))


def test_networks_may_differ_between_tasks_and_a_given_phi_is_not_changed() -> None:
    start = toy_phi(3)
    before = flat(start)
    run = meta_train(TASKS, net=["conv4", "resnet20"], width=4, steps=1, batch_size=8, device="cpu", phi=start)
    assert [net.arch for net in run.networks] == ["conv4", "resnet20"]
    assert torch.equal(flat(start), before) and not torch.equal(flat(run.phi), before)


def test_says_what_it_did() -> None:
    run = meta_train(TASKS, **OPTIONS)
    assert run.phi.provenance["classes"] == [3, 2] and run.phi.provenance["nets"] == ["conv4", "conv4"]
    assert {"train_loss", "valid_loss", "valid_accuracy", "phi_gradient"} <= run.history.rows[0].keys()


@pytest.mark.parametrize(
    ("tasks", "options", "message"),
    [
        ([], {}, "there are no tasks"),
        (TASKS, {"net": ["conv4"]}, "1 networks for 2 tasks"),
        (TASKS, {"net": "conv5"}, "unknown network 'conv5'"),
        (TASKS, {"steps": 0}, "steps is 0"),
        (TASKS, {"clip": -1.0}, "clip is -1.0"),
        (TASKS, {"learning_rate": 1e30}, "not finite"),
    ],
)
def test_refuses_what_cannot_be(tasks: list, options: dict, message: str) -> None:
    with pytest.raises(MplibError, match=message):
        meta_train(tasks, **{**OPTIONS, **options})


@pytest.mark.gpu
def test_runs_on_the_gpu() -> None:
    run = meta_train(TASKS, **{**OPTIONS, "device": "cuda"})
    assert flat(run.phi).isfinite().all() and next(run.phi.parameters()).device.type == "cpu"
