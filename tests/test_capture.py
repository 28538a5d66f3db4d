"""Steps that are replayed on a GPU are the steps that a CPU takes one by one; here their rules, there their numbers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mplib import capture, meta_train, train, train_together
from mplib.capture import LANES, Step, lanes
from mplib.history import Log
from mplib.steps import adam, own_parameters, training_step
from tests.toys import flat, toy_data, toy_net, toy_phi, toy_task


def test_without_a_gpu_there_are_no_lanes() -> None:
    assert lanes(torch.device("cpu"), 3) == [None] * 3
    assert lanes(torch.device("cuda"), 2, capture=False) == [None] * 2


def test_a_step_draws_what_its_seed_says_and_gives_what_the_last_start_made() -> None:
    def body(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return images.sum() + torch.randn(()), labels.sum()

    step = Step(body)
    seen = []
    for seed, value in ((3, 1.0), (4, 1.0), (3, 1.0)):
        step.start(seed, torch.full((2,), value), torch.ones(2))
        seen.append(step.finish()[0])
    torch.manual_seed(3)
    assert seen[0] == seen[2] == 2 + torch.randn(()) and seen[0] != seen[1]


def test_steps_of_several_networks_do_not_disturb_each_other() -> None:
    """Started all, then finished all, as on a GPU."""
    images, labels = torch.rand(8, 3, 16, 16), torch.arange(8) % 3
    together = [toy_net(seed, phi=toy_phi()) for seed in range(3)]
    alone = [toy_net(seed, phi=toy_phi()) for seed in range(3)]
    steps = [Step(_body(net)) for net in together]
    for round_ in range(2):
        for number, step in enumerate(steps):
            step.start(10 * round_ + number, images, labels)
    losses = [step.finish()[0] for step in steps]
    for number, net in enumerate(alone):
        step = Step(_body(net))
        for round_ in range(2):
            step.start(10 * round_ + number, images, labels)
        assert torch.equal(step.finish()[0], losses[number])
        assert torch.equal(flat(net), flat(together[number]))


def test_what_is_replayed_reads_the_batch_and_the_seed_of_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bookkeeping around a graph, with a graph of paper: its replay runs the step where it was captured."""

    def body(images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        return (images + torch.randn_like(images),)

    class Paper:
        def replay(self) -> None:
            torch.manual_seed(step._draws.initial_seed())
            step._outputs[0].copy_(step._body(*step._inputs)[0])  # in place, as a graph does

    class Lane:
        device, stream, pool = torch.device("cpu"), None, None
        entered, join = nullcontext, staticmethod(lambda: None)

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Paper)
    monkeypatch.setattr(torch.cuda, "graph", lambda *_, **__: nullcontext())
    monkeypatch.setattr(capture, "_drawing_from", lambda generator: nullcontext())
    monkeypatch.setattr(torch, "get_rng_state", lambda: torch.zeros(1))  # on a GPU the CPU's generator rests
    step, plain = Step(body, Lane()), Step(body)
    for seed in range(8):
        batch = torch.full((3, 2), float(seed)), torch.arange(3)
        step.start(seed, *batch)
        plain.start(seed, *batch)
        assert torch.equal(step.finish()[0], plain.finish()[0])
    assert step._graph is not None
    replayed = Step(body, Lane())
    for seed in range(2):
        replayed.start(seed, torch.zeros(2), torch.zeros(2))
    assert replayed._graph is None  # warming up


def _body(net: nn.Module) -> Callable[[Tensor, Tensor], tuple[Tensor, ...]]:
    optimiser = adam(own_parameters(net), 1e-3, 5e-4)
    return lambda images, labels: training_step(net, optimiser, images, labels)


TARGET = {"steps": 12, "batch_size": 16, "device": "cuda"}
SOURCE = {"net": ["conv4", "resnet20", "conv4"], "width": 4, "steps": 12, "batch_size": 16, "device": "cuda"}


@pytest.mark.gpu
def test_captured_training_is_training() -> None:
    nets = [toy_net(phi=toy_phi()) for _ in range(2)]
    rows = [train(net, toy_data(), capture=way, **TARGET).rows for net, way in zip(nets, (False, True), strict=True)]
    torch.testing.assert_close(flat(nets[0]), flat(nets[1]), rtol=1e-3, atol=1e-4)
    assert [row["loss"] for row in rows[1]] == pytest.approx([row["loss"] for row in rows[0]], rel=1e-3)


@pytest.mark.gpu
def test_captured_steps_draw_the_noise_of_their_seeds() -> None:
    """A step that only draws: replayed, it gives what torch gives with the same seed, whatever runs beside it."""
    place = torch.device("cuda")
    steps = [Step(lambda images, labels: (torch.randn_like(images),), lane) for lane in lanes(place, 2 * LANES)]
    images, labels = torch.zeros(64, 32, device=place), torch.zeros(64, device=place)
    for round_ in range(8):
        for number, step in enumerate(steps):
            step.start(100 * round_ + number, images, labels)
        drawn = [step.finish()[0].clone() for step in steps]
        for number, values in enumerate(drawn):
            torch.manual_seed(100 * round_ + number)
            assert torch.equal(values, torch.randn_like(images))


@pytest.mark.gpu
def test_a_step_that_draws_on_the_cpu_is_not_frozen_into_a_graph() -> None:
    place = torch.device("cuda")
    step = Step(lambda images, labels: (images * torch.rand(()).item(),), lanes(place, 1)[0])
    seen = set()
    for seed in range(8):
        step.start(seed, torch.ones((), device=place), torch.ones((), device=place))
        seen.add(step.finish()[0].item())
    assert len(seen) == 8


@pytest.mark.gpu
def test_warming_up_and_capturing_leave_nothing_behind() -> None:
    """The warm-up steps are steps of the run: Adam has counted as many steps as were taken, batch norms too."""
    net = toy_net(phi=toy_phi())
    place = torch.device("cuda")
    net.to(place)
    optimiser = adam(own_parameters(net), 1e-3, 5e-4)
    step = Step(lambda images, labels: training_step(net, optimiser, images, labels), lanes(place, 1)[0])
    for seed in range(7):
        step.start(seed, torch.rand(8, 3, 16, 16, device=place), torch.arange(8, device=place) % 3)
        step.finish()
    torch.cuda.synchronize()
    assert {int(moments["step"]) for moments in optimiser.state.values()} == {7}
    assert {int(module.num_batches_tracked) for module in net.modules() if isinstance(module, nn.BatchNorm2d)} == {7}


@pytest.mark.gpu
def test_trained_together_on_a_gpu_each_is_as_if_alone() -> None:
    together = [toy_net(seed, phi=toy_phi()) for seed in range(10)]
    train_together(together, toy_data(), seeds=range(10), **TARGET)
    for seed, net in enumerate(together):
        alone = toy_net(seed, phi=toy_phi())
        train(alone, toy_data(), seed=seed, **TARGET)
        torch.testing.assert_close(flat(net), flat(alone), rtol=1e-3, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_captured_meta_training_is_meta_training(precision: str) -> None:
    tasks = [toy_task(0), toy_task(1, classes=2), toy_task(2)]
    runs = [meta_train(tasks, capture=way, precision=precision, **SOURCE) for way in (False, True)]
    within = 1e-4 if precision == "float32" else 2e-3
    torch.testing.assert_close(flat(runs[0].phi), flat(runs[1].phi), rtol=0, atol=within)


@pytest.mark.gpu
def test_resumed_on_a_gpu(tmp_path: Path) -> None:
    tasks = [toy_task(0), toy_task(1, classes=2), toy_task(2)]
    whole = meta_train(tasks, **SOURCE)

    class Stop(Exception):
        pass

    calls = []

    def stop(*_: object, **__: object) -> None:
        calls.append(1)
        if len(calls) == 7:
            raise Stop

    options = {**SOURCE, "checkpoint": tmp_path / "c.pt", "checkpoint_every": 2}
    with pytest.MonkeyPatch.context() as patch:
        close = Log.close
        patch.setattr(Log, "close", lambda self, *a, **k: (stop(), close(self, *a, **k))[1])
        with pytest.raises(Stop):
            meta_train(tasks, **options)
    again = meta_train(tasks, **options, resume=True)
    torch.testing.assert_close(flat(again.phi), flat(whole.phi), rtol=0, atol=1e-4)
