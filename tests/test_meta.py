from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mplib import MetaPerturb, MplibError, fused, meta_train, nets
from mplib.attachment import attach, batch_statistics
from mplib.batches import Batches
from mplib.checkpoints import read_state
from mplib.meta import frozen_batch_norm
from mplib.seeding import derive, stream
from mplib.steps import frozen_perturbation
from tests.toys import flat, toy_phi, toy_task

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
            with frozen_batch_norm(net), batch_statistics(net), fused.first_order():
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


def test_the_phi_step_updates_running_statistics_only_when_asked() -> None:
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


def test_a_probe_sees_phi_at_each_row_and_changes_nothing() -> None:
    seen: list[torch.Tensor] = []

    def probe(step: int, phi: MetaPerturb) -> dict[str, float]:
        seen.append(flat(phi))
        return {"size": flat(phi).norm().item(), "twice": 2 * step}

    run = meta_train(TASKS, **OPTIONS, probe=probe)
    assert [row["twice"] for row in run.history.rows] == [2, 4, 6, 8]
    assert torch.equal(seen[-1], flat(run.phi)) and not torch.equal(seen[0], seen[-1])
    assert torch.equal(flat(meta_train(TASKS, **OPTIONS).phi), flat(run.phi))


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


def test_a_loss_that_is_not_finite_names_step_task_and_site_and_the_checkpoint_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The validation batch of task 1 at step 5 overflows in block 2, and does so again when it comes again."""
    bad = Batches(TASKS[1].valid, 16, derive(0, "valid", 1))[5][0]
    build, seen = nets.build, {}

    def poisoned(*arguments: object, **options: object) -> nn.Module:
        net = build(*arguments, **options)
        net.register_forward_pre_hook(lambda module, args: seen.update(now=torch.equal(args[0], bad)))
        net.blocks[2].conv.register_forward_hook(lambda module, args, y: y * float("inf") if seen["now"] else None)
        return net

    monkeypatch.setattr(nets, "build", poisoned)
    options = {**OPTIONS, "steps": 200, "checkpoint": tmp_path / "c.pt", "checkpoint_every": 2}
    message = "the valid loss of task 1 .toy/1. is not finite at step 6 of 200, first in .* the site 'blocks.2.bn'"
    with pytest.raises(MplibError, match=message):
        meta_train(TASKS, **options)
    state = read_state(tmp_path / "c.pt")
    assert state["step"] == 4
    assert all(value.isfinite().all() for learner in state["learners"] for value in learner["network"].values())


def test_bfloat16_meta_trains_with_finite_losses() -> None:
    exact, coarse = (meta_train(TASKS, **OPTIONS, precision=precision) for precision in ("float32", "bfloat16"))
    assert flat(coarse.phi).isfinite().all() and not torch.equal(flat(coarse.phi), flat(exact.phi))
    for name in ("train_loss", "valid_loss"):
        for ours, theirs in zip(coarse.history.rows, exact.history.rows, strict=True):
            assert ours[name] == pytest.approx(theirs[name], rel=0.05)


def test_the_noise_keeps_its_law_in_the_run_itself() -> None:
    """Drawn in meta-training as it runs: standard normal, and alike in nothing, be it pixels, sites, tasks or steps.

    The location is set to 0 and the map to 1, so a site's noise can be read off its output: softplus(eps) * s.
    """
    tasks = [toy_task(0), toy_task(1)]
    phi = toy_phi()
    with torch.no_grad():
        for name in ("own_2", "pooled_2", "kernels", "head"):
            getattr(phi, name).zero_()  # alpha is 0, the scale one half
    seen: list[list[torch.Tensor]] = []

    def watched(self: MetaPerturb, x: torch.Tensor, *rest: object, **options: object) -> object:
        with torch.no_grad():
            state = torch.get_rng_state()
            y, _ = visit(phi, torch.ones_like(x).contiguous(), *rest, **{**options, "clip": None})
            torch.set_rng_state(state)
        z = 2 * y.double()
        (seen[-1] if seen and len(seen[-1]) < 4 else seen.append([]) or seen[-1]).append(z.expm1().log())
        return visit(self, x, *rest, **options)

    visit = MetaPerturb.visit
    for parameter in phi.parameters():
        parameter.requires_grad_(False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MetaPerturb, "visit", watched)
        meta_train(tasks, **{**OPTIONS, "width": 16, "batch_size": 32, "steps": 3}, phi=toy_phi(1))
    assert len(seen) == 3 * 2 * 2  # steps, tasks, halves, in this order
    first = torch.stack([sites[0] for sites in seen])  # (12, B, C, H, W)
    count = first.numel()
    for draw in (*first, torch.cat([sites[1].flatten() for sites in seen])):
        error = draw.numel() ** -0.5
        assert abs(draw.mean()) < 5 * error and abs(draw.std() - 1) < 5 * error
        assert abs((draw**3).mean()) < 5 * (15**0.5) * error and abs((draw**4).mean() - 3) < 5 * (96**0.5) * error

    def uncorrelated(a: torch.Tensor, b: torch.Tensor) -> bool:
        return bool(abs((a * b).mean()) < 5 * a.numel() ** -0.5)

    assert count > 10**6
    assert uncorrelated(first[..., 1:], first[..., :-1]) and uncorrelated(first[..., 1:, :], first[..., :-1, :])
    assert uncorrelated(first[:, :, 1:], first[:, :, :-1]) and uncorrelated(first[:, 1:], first[:, :-1])
    pairs = [(a, b) for a in range(12) for b in range(a)]  # steps, tasks and halves, each with each
    assert all(uncorrelated(first[a], first[b]) for a, b in pairs)
    pixels = sites_alike(seen)
    assert all(uncorrelated(a, b) for a, b in pixels)


def sites_alike(seen: list[list[torch.Tensor]]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """As many draws of a site as of the one before it, in the order in which they are drawn."""
    return [(before.flatten()[: after.numel()], after.flatten()) for sites in seen for before, after in pairwise(sites)]


@pytest.mark.gpu
def test_runs_on_the_gpu() -> None:
    run = meta_train(TASKS, **{**OPTIONS, "device": "cuda"})
    assert flat(run.phi).isfinite().all() and next(run.phi.parameters()).device.type == "cpu"
