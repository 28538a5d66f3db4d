from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mplib import MetaPerturb, MplibError
from mplib.attachment import SiteCall
from mplib.compression import EVIDENCE, Few, box_shares, boxes, factor_error, few, refitted
from tests.toys import toy_phi

NOISE = ("own_1", "pooled_1", "own_2", "pooled_2")


def strong_phi(seed: int = 0) -> MetaPerturb:
    """A phi whose every part matters: kernels of both signs, numbers near 1."""
    phi = toy_phi(seed)
    with torch.no_grad():
        for parameter in phi.parameters():
            parameter.mul_(30)
    return phi


def maps(seed: int = 0, sites: int = 2) -> list[SiteCall]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(6, 5, 7, 6), (6, 3, 4, 4)][:sites]
    ratios = [(1.0, 0.9), (0.6, 0.4)]
    drawn = [torch.randn(shape, generator=generator) + 0.3 for shape in shapes]
    return [SiteCall(None, x, *ratio, None) for x, ratio in zip(drawn, ratios, strict=False)]  # type: ignore[arg-type]


def factors(phi: MetaPerturb, call: SiteCall) -> Tensor:
    eps = torch.randn(call.x.shape, generator=torch.Generator().manual_seed(9))
    return phi.factor(call.x, call.channel_ratio, call.spatial_ratio, eps=eps).detach()


@pytest.mark.parametrize("seed", range(4))
def test_ten_numbers_are_the_boxes_exactly(seed: int) -> None:
    phi = strong_phi(seed)
    for call in maps(seed):
        torch.testing.assert_close(factors(few(phi).phi(), call), factors(boxes(phi), call), rtol=1e-4, atol=1e-5)


def test_ten_numbers_describe_the_phi_that_was_made_of_them() -> None:
    numbers = few(strong_phi())
    assert few(numbers.phi()) == pytest.approx(numbers, rel=1e-5)
    assert numbers.free == 9 and max(abs(numbers.own_1), abs(numbers.pooled_1)) == 1


def test_ten_numbers_do_not_change_under_the_symmetries_that_leave_the_function_alone() -> None:
    phi, other = strong_phi(), MetaPerturb()
    order, sizes = torch.tensor([2, 0, 3, 1]), torch.tensor([0.5, 2.0, 3.0, 0.2])
    with torch.no_grad():
        other.own_1.copy_(phi.own_1 * 4)
        other.pooled_1.copy_(phi.pooled_1 * 4)
        other.own_2.copy_(phi.own_2 / 4)
        other.pooled_2.copy_(phi.pooled_2 / 4)
        other.kernels.copy_(phi.kernels[order] * sizes[:, None, None, None])
        other.head[:4] = phi.head[:4][order] / sizes
        other.head[4:8] = phi.head[4:8][order] / sizes**2
        other.head[8:] = phi.head[8:]
    for call in maps():
        torch.testing.assert_close(factors(other, call), factors(phi, call), rtol=1e-4, atol=1e-5)
    assert few(other) == pytest.approx(few(phi), rel=1e-4)


def test_a_phi_without_a_generator_has_nothing_to_scale() -> None:
    phi = strong_phi()
    with torch.no_grad():
        phi.own_1.zero_()
        phi.pooled_1.zero_()
    assert few(phi)[:2] == (0, 0) and few(phi).free == 8


def test_box_shares_are_those_of_a_regression_on_the_mean() -> None:
    phi = strong_phi(1)
    shares = box_shares(phi)
    kernel = phi.kernels[1].detach()
    explained = 1 - ((kernel - kernel.mean()) ** 2).sum() / (kernel**2).sum()
    assert shares["kernels 2"] == pytest.approx(explained.item(), rel=1e-4)
    assert list(shares) == [*NOISE, *(f"kernels {n}" for n in range(1, 5))]
    assert all(share == pytest.approx(1) for share in box_shares(boxes(phi)).values())
    with torch.no_grad():
        phi.own_2.copy_(phi.own_2 - phi.own_2.mean())
    assert box_shares(phi)["own_2"] == pytest.approx(0, abs=1e-6)


def test_a_fit_finds_the_numbers_that_made_the_factor() -> None:
    truth = Few(0.5, 1.0, 0.3, -0.2, 0.4, -0.3, 0.0, 0.0, 0.2, 0.7)
    found = refitted(truth.phi(), maps(), ["mean_above", "mean_below", "channels", "height"])
    assert found == pytest.approx(truth, abs=1e-3)
    dose = Few(0, 0, 0, 0, 0, 0, 0, 0, 0.4, 0.0)
    assert refitted(dose.phi(), maps(), ["channels"], noise=False) == pytest.approx(dose, abs=1e-4)


def test_a_fit_keeps_the_dose_when_the_generator_goes() -> None:
    phi, calls = strong_phi(2), maps(sites=1)
    flat = refitted(phi, calls, ["height"], noise=False).phi()
    call = calls[0]
    with torch.no_grad():
        ours, theirs = (p.mean_factor(call.x, call.channel_ratio, call.spatial_ratio).mean() for p in (phi, flat))
    assert theirs == pytest.approx(ours.item(), rel=0.1)


def test_the_error_is_zero_for_equal_functions_and_relative_otherwise() -> None:
    phi, calls = strong_phi(), maps()
    assert factor_error(boxes(phi), few(phi).phi(), calls) < 1e-5
    nothing = Few(0, 0, 0, 0, 0, 0, 0, 0, -1e4, 0).phi()  # a factor of 0: everything is missing
    assert factor_error(phi, nothing, calls) == pytest.approx(1)
    assert factor_error(phi, toy_phi(), calls, seed=1) != factor_error(phi, toy_phi(), calls, seed=2)


def test_refuses_no_maps_and_unknown_evidence() -> None:
    phi = strong_phi()
    with pytest.raises(MplibError, match="0 maps and 1 kinds of evidence"):
        refitted(phi, [], ["height"])
    with pytest.raises(MplibError, match="unknown evidence 'colour'"):
        refitted(phi, maps(), ["colour"])
    with pytest.raises(MplibError, match="no maps"):
        factor_error(phi, phi, [])


@pytest.mark.parametrize("size", [9, 5, 1])
def test_the_phis_of_few_numbers_that_are_shipped(size: int) -> None:
    phi, shipped = MetaPerturb.from_pretrained(), MetaPerturb.from_pretrained(f"photos-{size}")
    numbers = few(shipped)
    assert numbers.free == size
    assert numbers.own_1 == pytest.approx(few(phi).own_1 if size > 1 else 0, abs=1e-3)
    if size == 9:
        assert numbers == pytest.approx(few(phi), abs=1e-3)


def test_provenance_says_what_was_done() -> None:
    assert refitted(strong_phi(), maps(), list(EVIDENCE)).phi().provenance["source"] == "9 numbers"
    assert boxes(strong_phi()).provenance["of"] == {"source": "untrained, Normal(0, 0.01)"}
