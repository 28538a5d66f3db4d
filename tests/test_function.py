"""The compiled function against the plain one in double precision: values, statistics, gradients; what goes where."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mplib import MetaPerturb, fused

pytestmark = pytest.mark.skipif(not fused.available(), reason="numba is not installed")

SHAPES = [
    (2, 1, 1, 1),
    (3, 2, 1, 5),
    (3, 2, 5, 1),
    (2, 5, 2, 2),
    (5, 7, 3, 9),
    (4, 3, 21, 21),
    (2, 40, 8, 8),
    (2, 3, 33, 30),
    (8, 16, 4, 4),
    (3, 2, 64, 70),
]


def frozen_phi(seed: int = 0, spread: float = 0.3) -> MetaPerturb:
    generator = torch.Generator().manual_seed(seed)
    phi = MetaPerturb(generator).requires_grad_(False)
    for parameter in phi.parameters():
        parameter.copy_(spread * torch.randn(parameter.shape, generator=generator))
    return phi


def draw(shape: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x, eps, cotangent = (torch.randn(shape, generator=generator) for _ in range(3))
    return x, eps, cotangent


def results(
    dtype: torch.dtype, shape: tuple[int, ...], given: bool, strength: float, clip: float | None, learns: bool
) -> list[Tensor]:
    phi, (x, eps, cotangent) = frozen_phi().to(dtype).requires_grad_(learns), draw(shape)
    generator = torch.Generator().manual_seed(9)
    mean, var = torch.rand(shape[1], 4, generator=generator), torch.rand(shape[1], 4, generator=generator)
    stats = (mean.to(dtype), var.to(dtype)) if given else None
    x = x.to(dtype).requires_grad_()
    with fused.first_order():
        assert fused.supports(x, phi.weights) == (dtype == torch.float32)
        y, (mean, var) = phi.visit(x, 0.5, 0.7, stats, strength, clip, eps.to(dtype))
    y.backward(cotangent.to(dtype))
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in phi.parameters() if learns]
    return [y.detach(), mean.detach(), var.detach(), x.grad, *gradients]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    ("given", "strength", "clip"), [(False, 1.0, None), (True, 0.6, 0.4), (False, 0.3, 0.5), (True, 0.0, None)]
)
@pytest.mark.parametrize("learns", [False, True], ids=["frozen", "learns"])
def test_equals_the_plain_function(
    shape: tuple[int, ...], given: bool, strength: float, clip: float | None, learns: bool
) -> None:
    expected = results(torch.float64, shape, given, strength, clip, learns)
    for ours, theirs in zip(results(torch.float32, shape, given, strength, clip, learns), expected, strict=True):
        assert (ours.double() - theirs).norm() <= 1e-5 * theirs.norm().clamp(min=1e-12)
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-5)


def test_whole_networks_train_alike() -> None:
    """Where the noise plays no part, a run with the fused function is the run with the plain one."""
    from mplib import train
    from tests.toys import flat, toy_data, toy_net

    def quiet_net() -> torch.nn.Module:
        phi = frozen_phi(spread=0.1)
        phi.own_2.zero_()
        phi.pooled_2.zero_()
        phi.head.fill_(-30.0)  # a scale of 0: the site is x (1 - c), whatever the noise
        return toy_net(phi=phi)

    nets = [quiet_net(), quiet_net()]
    options = {"steps": 4, "batch_size": 16, "device": "cpu", "warmup": 1.0}
    train(nets[0], toy_data(), **options)
    with fused.plain_only():
        train(nets[1], toy_data(), **options)
    torch.testing.assert_close(flat(nets[0]), flat(nets[1]), rtol=1e-4, atol=1e-5)


def test_the_gradient_is_the_slope_along_random_directions() -> None:
    phi, (x, eps, cotangent) = frozen_phi(), draw((4, 3, 6, 5))
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(phi(x, 0.5, 0.7, eps=eps), x, cotangent)
    for seed in range(5):
        direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
        ends = [phi(x.detach() + h * direction, 0.5, 0.7, eps=eps).double() for h in (1e-3, -1e-3)]
        slope = ((ends[0] - ends[1]) * cotangent).sum() / 2e-3
        assert slope.item() == pytest.approx((gradient * direction).sum().item(), rel=0.02, abs=0.02)


def test_extreme_noise_stays_exact() -> None:
    x, eps = torch.ones(2, 1, 8, 8), torch.linspace(-80, 80, 128).view(2, 1, 8, 8)
    phi = frozen_phi(spread=0.0)
    out = phi(x, 1.0, 1.0, (torch.zeros(1, 4), torch.ones(1, 4)), eps=eps)
    expected = 0.5 * torch.nn.functional.softplus(eps.double(), threshold=200)
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-30)


def test_a_nan_that_comes_in_goes_out() -> None:
    x, _, _ = draw((4, 3, 8, 8))
    x[1, 2, 3, 4] = math.nan
    assert frozen_phi()(x, 0.5, 0.7)[1, 2, 3, 4].isnan()


def test_backward_uses_the_noise_of_the_forward_pass() -> None:
    """With zero weights y = x softplus(eps) / 2 is linear in x, so the gradient tells the noise."""
    phi, (x, _, cotangent) = frozen_phi(spread=0.0), draw((4, 3, 8, 8))
    x.requires_grad_()
    y = phi(x, 0.5, 0.7, (torch.zeros(3, 4), torch.ones(3, 4)))
    (gradient,) = torch.autograd.grad(y, x, cotangent)
    torch.testing.assert_close(gradient, cotangent * (y / x).detach())


def test_only_the_input_is_kept_for_backward() -> None:
    x = draw((2, 3, 8, 8))[0].requires_grad_()
    kept = [tensor for tensor in frozen_phi()(x, 0.5, 0.7).grad_fn.saved_tensors if tensor is not None]
    assert [tensor.data_ptr() for tensor in kept] == [x.data_ptr()]


def test_what_it_does_not_support_takes_the_plain_way() -> None:
    phi, x = frozen_phi(), torch.randn(2, 3, 4, 5)
    assert fused.supports(x, phi.weights)
    others = [x.double(), x.to(memory_format=torch.channels_last), x.transpose(2, 3)]
    assert not any(fused.supports(other, phi.weights) for other in others)
    learning = MetaPerturb()
    assert not fused.supports(x, learning.weights)
    with fused.first_order():
        assert fused.supports(x, learning.weights)
    with torch.no_grad():
        assert fused.supports(x, learning.weights)
    with fused.plain_only():
        assert not fused.supports(x, phi.weights)
    seen = []
    torch.func.vmap(lambda part: (seen.append(fused.supports(part, phi.weights)), part)[1])(x[None])
    assert seen == [False]


def test_a_second_gradient_of_phi_is_there_unless_it_was_given_up() -> None:
    phi, (x, eps, _) = frozen_phi().requires_grad_(), draw((4, 3, 6, 5))

    def second() -> Tensor:
        loss = phi(x, 0.5, 0.7, eps=eps).square().sum()
        (first,) = torch.autograd.grad(loss, phi.head, create_graph=True)
        return torch.autograd.grad(first.square().sum(), phi.head)[0]

    assert second().norm() > 0
    with fused.first_order(), pytest.raises(RuntimeError, match="once_differentiable|not have been used"):
        second()


def test_meta_training_takes_the_compiled_version(monkeypatch: pytest.MonkeyPatch) -> None:
    from mplib import meta_train
    from tests.toys import toy_task

    seen, original = [], fused.perturb

    def spied(x: Tensor, weights: MetaPerturb, *rest: object) -> object:
        seen.append(any(part.requires_grad for part in weights))
        return original(x, weights, *rest)

    monkeypatch.setattr(fused, "perturb", spied)
    meta_train([toy_task()], net="conv4", width=4, steps=1, batch_size=8, device="cpu")
    assert set(seen) == {False, True}  # the steps of the network, and of phi


def test_statistics_that_carry_a_gradient_keep_it() -> None:
    phi, (x, eps, cotangent) = frozen_phi(), draw((4, 3, 6, 5))
    gradients = []
    for stats in (None, "of the batch"):
        z = x.clone().requires_grad_()
        y = phi(z, 0.5, 0.7, stats=stats and phi.statistics(z), eps=eps)
        gradients.append(torch.autograd.grad(y, z, cotangent)[0])
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_a_strength_or_noise_that_carries_a_gradient_keeps_it() -> None:
    phi, (x, eps, _) = frozen_phi(), draw((4, 3, 6, 5))
    strength = torch.tensor(0.5, requires_grad=True)
    phi(x, 0.5, 0.7, strength=strength, eps=eps.requires_grad_()).sum().backward()
    assert strength.grad.abs() > 0 and eps.grad.abs().max() > 0
