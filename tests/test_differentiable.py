"""The function on a GPU against the plain one in double precision: values, statistics, gradients, noise, memory."""

from __future__ import annotations

import json
import math
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor

from mplib import MetaPerturb, fused
from tests.kernels_on import DEVICE, REASON
from tests.test_function import draw, frozen_phi
from tests.test_perturb import AUTHORS_NAMES, GOLDEN

pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON)
ON_GPU = DEVICE == "cuda"

# Each at its edge: one pixel and one channel; rows, several channels a tile; two blocks of positions; two groups.
SHAPES = [(2, 1, 1, 1), (2, 5, 1, 4), (2, 2, 3, 2), (2, 1, 12, 13), (2, 66, 1, 2)]
if ON_GPU:
    SHAPES += [(128, 16, 32, 32), (64, 512, 4, 4), (2, 2048, 7, 7), (3, 3, 224, 223), (70000, 4, 1, 2)]
CASES = [
    # given statistics, strength, clip, type, channels last
    (False, 1.0, None, torch.float32, False),
    (True, 0.6, 0.4, torch.float32, True),
    (False, 0.7, 0.5, torch.bfloat16, True),
    (False, 0.0, None, torch.float16, False),
]
PAIRS = [(shape, case) for shape in SHAPES for case in CASES]
if not ON_GPU:  # the interpreter is slow
    PAIRS = list(zip([*SHAPES, SHAPES[1]], [CASES[i] for i in (0, 1, 2, 0, 1, 3)], strict=True))
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 1.5e-3}


def perturb_fused(phi: MetaPerturb, x: Tensor, *args: Any, **more: Any) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    from mplib.fused.cuda.differentiable import perturb_frozen

    return perturb_frozen(x, phi.to(x.device).weights, *args, **more)


def close(ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    difference = ours.double().cpu() - theirs.double().cpu()
    assert difference.norm() <= tolerance * theirs.double().norm().clamp(min=1e-12)
    assert difference.abs().max() <= 20 * tolerance * theirs.abs().max().clamp(min=1e-6)


@pytest.mark.parametrize(("shape", "case"), PAIRS, ids=str)
def test_equals_the_plain_function(shape: tuple[int, ...], case: tuple[Any, ...]) -> None:
    given, strength, clip, dtype, last = case
    memory_format = torch.channels_last if last else torch.contiguous_format
    generator = torch.Generator().manual_seed(9)
    stats = tuple(torch.rand(shape[1], 4, generator=generator) for _ in range(2)) if given else None
    x, eps, cotangent = (part.to(DEVICE, dtype) for part in draw(shape))

    ours = x.contiguous(memory_format=memory_format).clone().requires_grad_()
    y, found = perturb_fused(
        frozen_phi(), ours, 0.5, 0.7, stats and tuple(part.to(DEVICE) for part in stats),
        torch.tensor(strength, device=DEVICE), clip, eps,
    )  # fmt: skip
    y.backward(cotangent)
    assert y.dtype == dtype and y.stride() == ours.stride()

    theirs = x.double().cpu().requires_grad_()
    known = stats and tuple(part.double() for part in stats)
    expected, expected_stats = frozen_phi().double().visit(
        theirs, 0.5, 0.7, known, strength, clip, eps.double().cpu()
    )  # fmt: skip
    expected.backward(cotangent.double().cpu())
    close(y.detach(), expected.detach(), TOLERANCE[dtype])
    close(ours.grad, theirs.grad, 2 * TOLERANCE[dtype])
    for part, other in zip(found, expected_stats, strict=True):
        assert part.dtype == torch.float32
        close(part, other.detach(), 1e-5)


@pytest.mark.parametrize("number", range(3 if ON_GPU else 1))
def test_outputs_and_gradients_are_the_authors(number: int) -> None:
    arrays = np.load(GOLDEN)
    meta = json.loads(str(arrays["meta"]))[number]

    def array(name: str) -> Tensor:
        whole = torch.tensor(arrays[f"case{number}/{name}"])
        return whole.to(DEVICE)

    phi = MetaPerturb().requires_grad_(False)
    for theirs, ours in AUTHORS_NAMES.items():
        parameter = getattr(phi, ours)
        parameter.copy_(array(f"weight/{theirs}").reshape(parameter.shape))
    x = array("x").requires_grad_()
    stats = None if meta["mode"] == "train" else (array("running_mean_before"), array("running_var_before"))
    ratios = meta["C"] / meta["channel_norm_factor"], meta["H"] / meta["spatial_norm_factor"]
    y, _ = perturb_fused(phi, x, *ratios, stats, meta["noise_coeff"], meta["clipval"], array("eps"))
    y.backward(array("cotangent"))
    close(y.detach(), array("out"), 1e-5)
    close(x.grad, array("grad_x"), 1e-5)


def plain_phi() -> tuple[MetaPerturb, tuple[Tensor, Tensor]]:
    """With zero weights and these statistics y = x softplus(eps) / 2."""
    return frozen_phi(spread=0.0), (torch.zeros(3, 4, device=DEVICE), torch.ones(3, 4, device=DEVICE))


def test_extreme_noise_stays_exact_and_a_nan_goes_out() -> None:
    phi, stats = plain_phi()
    x, eps = torch.ones(2, 3, 2, 4, device=DEVICE), torch.linspace(-80, 80, 48, device=DEVICE).view(2, 3, 2, 4)
    y, _ = perturb_fused(phi, x, 1.0, 1.0, stats, eps=eps)
    expected = 0.5 * torch.nn.functional.softplus(eps.double(), threshold=200)
    torch.testing.assert_close(y.double(), expected, rtol=2e-5, atol=1e-30)
    x[1, 2, 0, 1] = math.nan
    assert perturb_fused(frozen_phi(), x, 0.5, 0.7, clip=1.0)[0][1, 2, 0, 1].isnan()


def test_backward_uses_the_noise_of_the_forward_pass_and_the_seed_repeats_it() -> None:
    (phi, stats), (x, _, cotangent) = plain_phi(), (part.to(DEVICE) for part in draw((2, 3, 2, 3)))
    x.requires_grad_()
    torch.manual_seed(4)
    y, _ = perturb_fused(phi, x, 0.5, 0.7, stats)
    (gradient,) = torch.autograd.grad(y, x, cotangent)
    torch.testing.assert_close(gradient, cotangent * (y / x).detach())
    torch.manual_seed(4)
    again, later = (perturb_fused(phi, x, 0.5, 0.7, stats)[0] for _ in range(2))
    assert torch.equal(again, y) and not torch.equal(later, y)
    state = torch.get_rng_state()
    twice = [
        perturb_fused(phi, x, 0.5, 0.7, stats, generator=torch.Generator(DEVICE).manual_seed(1))[0] for _ in range(2)
    ]
    assert torch.equal(*twice) and torch.equal(torch.get_rng_state(), state)


def test_little_is_kept_for_backward_and_nothing_without_gradients() -> None:
    x = draw((2, 16, 2, 2))[0].to(DEVICE).requires_grad_()
    y, _ = perturb_fused(frozen_phi(), x, 0.5, 0.7)
    kept = [part for part in y.grad_fn.saved_tensors if part is not None]
    assert sum(part.data_ptr() == x.data_ptr() for part in kept) == 1
    # the mean of the channels, four features and a scale; the weights; the statistics
    features = 4 * 2 * 16
    assert sum(part.numel() for part in kept) <= x.numel() + 2 * 2 * 2 + features + 83 + 5 * 16 + 1
    with torch.no_grad():
        assert perturb_fused(frozen_phi(), x, 0.5, 0.7)[0].grad_fn is None


def test_tiles_cover_every_channel_and_position() -> None:
    from mplib.fused.cuda.differentiable import tiles_of

    for C in (1, 3, 4, 16, 65, 512):
        for side in (1, 2, 7, 32, 84):
            for memory_format in (torch.contiguous_format, torch.channels_last):
                x = torch.empty(3, C, side, side, device="meta").to(memory_format=memory_format)
                tiles = tiles_of(x)
                blocks = tiles.grid[0] // 3
                assert (blocks - 1) * tiles.positions < side * side <= blocks * tiles.positions
                assert (tiles.grid[1] - 1) * tiles.group < C <= tiles.grid[1] * tiles.group
                assert tiles.group % tiles.channels == 0 and tiles.channels % 4 == 0
                assert tiles.channels * tiles.positions <= 512


def test_what_it_supports() -> None:
    weights = [torch.empty(3, device="meta")]

    def supported(x: Tensor) -> bool:
        with mock.patch.object(Tensor, "is_cuda", True), mock.patch.object(fused, "available", lambda device: True):
            return fused.supports(x, weights)

    x = torch.empty(2, 3, 4, 4, device="meta")
    assert all(supported(other) for other in (x, x.bfloat16(), x.half(), x.to(memory_format=torch.channels_last)))
    assert not any(supported(other) for other in (x.double(), x[0], torch.empty(2, 3, 4, 4)))
    with fused.plain_only():
        assert not supported(x)


def test_without_triton_there_is_the_plain_version(monkeypatch: pytest.MonkeyPatch) -> None:
    find = fused.importlib.util.find_spec
    monkeypatch.setattr(fused.importlib.util, "find_spec", lambda name: None if name == "triton" else find(name))
    assert not fused.available.__wrapped__("cuda") and not fused.available.__wrapped__("mps")


@pytest.mark.gpu
def test_a_gpu_takes_it_without_being_asked_and_nothing_waits() -> None:
    phi = frozen_phi().cuda()
    x = torch.randn(8, 16, 9, 9, device="cuda", requires_grad=True)
    strength = torch.ones((), device="cuda")
    y = phi(x, 0.5, 0.7, strength=strength)
    y.sum().backward()  # compiles
    assert "PerturbFrozen" in type(y.grad_fn).__name__
    torch.cuda.synchronize()
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        phi(x, 0.5, 0.7, strength=strength, clip=1.0).sum().backward()
        with torch.no_grad():
            phi(x, 0.5, 0.7, phi.statistics(x), strength=strength)
    finally:
        torch.cuda.set_sync_debug_mode(before)
    with fused.plain_only():
        assert "PerturbFrozen" not in type(phi(x, 0.5, 0.7).grad_fn).__name__


@pytest.mark.gpu
def test_autocast_on_a_gpu() -> None:
    phi, x = frozen_phi().cuda(), torch.randn(8, 16, 9, 9, device="cuda", requires_grad=True)
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cuda", dtype=dtype):
            y = phi(x.to(dtype), 0.5, 0.7)
        y.float().square().mean().backward()
        assert y.dtype == dtype and y.isfinite().all() and x.grad.isfinite().all()


@pytest.mark.gpu
@pytest.mark.parametrize("own", [False, True], ids=["default generator", "own generator"])
def test_a_cuda_graph_draws_afresh_in_each_replay(own: bool) -> None:
    phi, stats = plain_phi()
    phi.cuda()
    x = torch.ones(4, 3, 5, 5, device="cuda", requires_grad=True)
    strength = torch.ones((), device="cuda")
    generator = torch.Generator("cuda").manual_seed(3) if own else None

    def step() -> tuple[Tensor, Tensor]:
        y = phi(x, 0.5, 0.7, stats, strength, generator=generator)
        return y, torch.autograd.grad(y.sum(), x)[0]

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    if generator is not None:
        graph.register_generator_state(generator)
    with torch.cuda.graph(graph):
        y, gradient = step()
    seen = []
    for _ in range(3):
        graph.replay()
        seen.append(y.detach().clone())
        torch.testing.assert_close(gradient, y.detach())  # x is 1: backward drew the same noise again
    assert not torch.equal(seen[0], seen[1]) and not torch.equal(seen[1], seen[2])
    strength.zero_()
    graph.replay()
    assert torch.equal(y, x)


@pytest.mark.gpu
def test_the_memory_that_a_visit_takes() -> None:
    phi, x = frozen_phi().cuda(), torch.randn(64, 64, 32, 32, device="cuda", requires_grad=True)
    phi(x, 0.5, 0.7).sum().backward()
    x.grad = None
    size = x.numel() * x.element_size()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    y = phi(x, 0.5, 0.7)
    assert torch.cuda.memory_allocated() - before < 1.2 * size  # y, and little more
    assert torch.cuda.max_memory_allocated() - before < 2.3 * size  # y and h
    y.sum().backward()
    assert torch.cuda.max_memory_allocated() - before < 5.5 * size  # y, g, dx, and two and a quarter
