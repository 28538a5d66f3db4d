"""The function against the authors' numbers, against plain loops, and its properties."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm
from torch import Tensor

from mplib import MetaPerturb, MplibError
from mplib.perturb import batch_statistics, channel_equivariant, expected_softplus, scale_features

GOLDEN = Path(__file__).parent / "golden" / "authors_perturb.npz"
AUTHORS_NAMES = {
    "phi_1.w_identity": "own_1",
    "phi_1.w_all": "pooled_1",
    "phi_2.w_identity": "own_2",
    "phi_2.w_all": "pooled_2",
    "kernel": "kernels",
    "fc.weight": "head",
}


def reference_folder() -> Path | None:
    folder = os.environ.get("MPLIB_REFERENCE")
    return Path(folder) if folder else None


def golden_cases() -> list[tuple[Path, int]]:
    cases = [(GOLDEN, i) for i in range(3)]
    folder = reference_folder()
    if folder is not None:
        cases += [(folder / "official_perturb_golden.npz", i) for i in range(5)]
    return cases


def some_phi(seed: int = 0, spread: float = 0.3) -> MetaPerturb:
    """A phi whose every part matters, unlike an untrained one."""
    phi = MetaPerturb()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in phi.parameters():
            parameter.copy_(spread * torch.randn(parameter.shape, generator=generator))
    return phi


def plain_loops(phi: MetaPerturb, x: Tensor, channel_ratio: float, spatial_ratio: float, eps: Tensor) -> np.ndarray:
    """The equations of the method, one number at a time, in double precision."""
    w = {name: value.detach().double().numpy() for name, value in phi.state_dict().items()}
    data = x.detach().double().numpy()
    batch, channels, height, width = data.shape

    def stencil(plane: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        out = np.zeros_like(plane)
        for r in range(height):
            for c in range(width):
                for dr in (-1, 0, 1):
                    for dc in (-1, 0, 1):
                        if 0 <= r + dr < height and 0 <= c + dc < width:
                            out[r, c] += kernel[dr + 1, dc + 1] * plane[r + dr, c + dc]
        return out

    def equivariant(planes: np.ndarray, own: np.ndarray, pooled: np.ndarray) -> np.ndarray:
        shared = stencil(sum(planes) / channels, pooled)
        return np.stack([stencil(plane, own) + shared for plane in planes])

    out = np.empty_like(data)
    features = np.array(
        [
            [[np.maximum(stencil(data[i, k], w["kernels"][j, 0]), 0).mean() for j in range(4)] for k in range(channels)]
            for i in range(batch)
        ]
    )
    for i in range(batch):
        hidden = np.maximum(equivariant(data[i], w["own_1"][0, 0], w["pooled_1"][0, 0]), 0)
        alpha = equivariant(hidden, w["own_2"][0, 0], w["pooled_2"][0, 0])
        z = np.log1p(np.exp(alpha + eps[i].double().numpy()))
        for k in range(channels):
            mean = features[:, k].sum(axis=0) / batch
            var = ((features[:, k] - mean) ** 2).sum(axis=0) / (batch - 1)
            s = 1 / (1 + np.exp(-w["head"] @ np.array([*mean, *var, channel_ratio, spatial_ratio])))
            out[i, k] = data[i, k] * s * z[k]
    return out


@pytest.mark.parametrize(("file", "number"), golden_cases(), ids=lambda value: getattr(value, "stem", value))
def test_outputs_statistics_and_gradients_are_the_authors(file: Path, number: int) -> None:
    arrays = np.load(file)
    meta = json.loads(str(arrays["meta"]))[number]

    def array(name: str) -> Tensor:
        return torch.tensor(arrays[f"case{number}/{name}"])

    phi = MetaPerturb()
    with torch.no_grad():
        for theirs, ours in AUTHORS_NAMES.items():
            parameter = getattr(phi, ours)
            parameter.copy_(array(f"weight/{theirs}").reshape(parameter.shape))
    x = array("x").requires_grad_()
    running = array("running_mean_before"), array("running_var_before")
    training = meta["mode"] == "train"
    stats = phi.statistics(x) if training else running
    out = phi(
        x,
        channel_ratio=meta["C"] / meta["channel_norm_factor"],
        spatial_ratio=meta["H"] / meta["spatial_norm_factor"],
        stats=stats,
        strength=meta["noise_coeff"],
        clip=meta["clipval"],
        eps=array("eps"),
    )
    out.backward(array("cotangent"))

    def close(ours: Tensor, theirs: Tensor) -> None:
        assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()

    close(out, array("out"))
    close(x.grad, array("grad_x"))
    for theirs, ours in AUTHORS_NAMES.items():
        gradient = getattr(phi, ours).grad
        expected = array("grad_" + theirs.replace(".", "__"))
        if gradient is None:  # the kernels play no part where running statistics are used
            assert not training and ours == "kernels" and expected.abs().max() == 0
        else:
            close(gradient.reshape(expected.shape), expected)
    if training:
        close(0.9 * running[0] + 0.1 * stats[0].detach(), array("running_mean_after"))
        twice = meta["B"] / (meta["B"] - 1)  # the authors correct an unbiased variance once more
        close(0.9 * running[1] + 0.1 * twice * stats[1].detach(), array("running_var_after_official"))


@pytest.mark.parametrize("shape", [(2, 1, 1, 1), (3, 2, 4, 5), (2, 5, 3, 1), (4, 3, 6, 6)])
def test_equals_plain_loops(shape: tuple[int, ...]) -> None:
    phi, generator = some_phi(), torch.Generator().manual_seed(1)
    x, eps = torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)
    out = phi(x, channel_ratio=0.25, spatial_ratio=0.5, eps=eps)
    np.testing.assert_allclose(out.detach().numpy(), plain_loops(phi, x, 0.25, 0.5, eps), rtol=1e-5, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(2, 5),
    channels=st.integers(1, 9),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_permuting_channels_permutes_the_output(batch: int, channels: int, height: int, width: int, seed: int) -> None:
    phi, generator = some_phi(seed), torch.Generator().manual_seed(seed)
    x = torch.randn(batch, channels, height, width, generator=generator)
    eps = torch.randn(x.shape, generator=generator)
    order = torch.randperm(channels, generator=generator)
    straight = phi(x, 0.5, 0.5, eps=eps)[:, order]
    permuted = phi(x[:, order], 0.5, 0.5, eps=eps[:, order])
    torch.testing.assert_close(permuted, straight, rtol=1e-6, atol=1e-6)


def test_gradients_in_double_precision() -> None:
    phi = some_phi().double()
    generator = torch.Generator().manual_seed(3)
    # Away from the corners of the ReLUs, where no derivative exists.
    x = torch.randn(3, 2, 3, 4, generator=generator, dtype=torch.float64).requires_grad_()
    eps = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    names = list(phi.state_dict())

    def function(x: Tensor, *weights: Tensor) -> Tensor:
        call = dict(channel_ratio=0.5, spatial_ratio=0.25, eps=eps, strength=0.7)
        return torch.func.functional_call(phi, dict(zip(names, weights, strict=True)), (x,), call)

    assert torch.autograd.gradcheck(function, (x, *phi.parameters()), eps=1e-7, atol=1e-5)


def test_has_82_parameters_drawn_small() -> None:
    phi = MetaPerturb(generator=torch.Generator().manual_seed(0))
    flat = torch.cat([parameter.flatten() for parameter in phi.parameters()])
    assert flat.numel() == 82
    assert 0.007 < flat.std() < 0.013
    again = MetaPerturb(generator=torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(phi.parameters(), again.parameters(), strict=True))


def test_strength_zero_is_the_identity_and_clip_bounds_from_above_only() -> None:
    phi, x = some_phi(), torch.randn(4, 3, 5, 5)
    assert torch.equal(phi(x, 1.0, 1.0, strength=0.0), x)
    out = phi(100 * x, 1.0, 1.0, clip=2.0)
    assert out.max() == 2.0
    assert out.min() < -2.0


def test_one_image_needs_statistics() -> None:
    phi, x = some_phi(), torch.randn(1, 3, 4, 4)
    with pytest.raises(MplibError, match="1 image, expected at least 2"):
        phi(x, 1.0, 1.0)
    stats = torch.zeros(3, 4), torch.ones(3, 4)
    assert phi(x, 1.0, 1.0, stats=stats).shape == x.shape


def test_noise_repeats_with_the_seed_and_with_the_generator() -> None:
    phi, x = some_phi(), torch.randn(4, 3, 5, 5)
    torch.manual_seed(5)
    first = phi(x, 1.0, 1.0)
    torch.manual_seed(5)
    assert torch.equal(phi(x, 1.0, 1.0), first)
    assert not torch.equal(phi(x, 1.0, 1.0), first)
    draws = [phi(x, 1.0, 1.0, generator=torch.Generator().manual_seed(6)) for _ in range(2)]
    assert torch.equal(*draws)


def test_an_untrained_phi_multiplies_by_about_two_fifths() -> None:
    """softplus of a standard normal has mean 0.806 and standard deviation 0.521, and half of that is left."""
    phi = MetaPerturb(generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    factor = phi.factor(torch.randn(64, 16, 16, 16), 0.25, 1.0)
    assert abs(factor.mean().item() - 0.403) < 0.01
    assert abs((factor.std() / factor.mean()).item() - 0.647) < 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_keeps_shape_and_type(dtype: torch.dtype) -> None:
    x = torch.randn(2, 3, 4, 5).to(dtype)
    assert some_phi().to(dtype)(x, 1.0, 1.0).dtype == dtype


def test_runs_under_autocast() -> None:
    x = torch.randn(4, 3, 8, 8, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = some_phi()(x, 1.0, 1.0)
    out.float().square().mean().backward()
    assert out.isfinite().all() and x.grad.isfinite().all()


@pytest.mark.parametrize("frozen", [True, False])
def test_half_precision_maps_under_autocast_stay_close_to_single_precision(frozen: bool) -> None:
    """As a convolution hands them to a site; phi and its strength are in single precision."""
    phi = some_phi().requires_grad_(not frozen)
    x, eps = torch.randn(4, 3, 8, 8).bfloat16(), torch.randn(4, 3, 8, 8)
    found = []
    for dtype in (torch.bfloat16, torch.float32):
        z = x.detach().to(dtype).clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            out = phi(z, 1.0, 1.0, strength=torch.ones(()), clip=100.0, eps=eps.to(dtype))
        out.float().square().mean().backward()
        assert out.dtype == dtype and z.grad.dtype == dtype
        found.append((out.float(), z.grad.float()))
    for half, single in zip(*found, strict=True):
        assert (half - single).norm() < 0.02 * single.norm()


@pytest.mark.gpu
def test_cpu_and_gpu_agree() -> None:
    phi, x, eps = some_phi(), torch.randn(4, 6, 9, 7), torch.randn(4, 6, 9, 7)
    there = phi.cuda()(x.cuda(), 0.5, 0.5, eps=eps.cuda()).cpu()
    torch.testing.assert_close(there, phi.cpu()(x, 0.5, 0.5, eps=eps), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("x", "more", "message"),
    [
        (torch.randn(3, 4, 4), {}, r"shape \(3, 4, 4\).*expected \(B, C, H, W\)"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.int64), {}, "torch.int64"),
        (torch.randn(2, 0, 4, 4), {}, "none of them 0"),
        (torch.randn(2, 3, 4, 4), {"stats": (torch.zeros(2, 4), torch.ones(2, 4))}, r"expected a mean.*\(3, 4\)"),
        (torch.randn(2, 3, 4, 4), {"eps": torch.zeros(2, 3, 4, 5)}, "eps has the shape"),
    ],
)
def test_refuses_what_does_not_fit(x: Tensor, more: dict, message: str) -> None:
    with pytest.raises(MplibError, match=message):
        MetaPerturb()(x, 1.0, 1.0, **more)


def test_the_parts_are_what_their_names_say() -> None:
    x = torch.arange(12.0).reshape(1, 3, 2, 2)
    centre = torch.zeros(1, 1, 3, 3)
    centre[..., 1, 1] = 1.0
    assert torch.equal(channel_equivariant(x, centre, torch.zeros(1, 1, 3, 3)), x)
    pooled = channel_equivariant(x, torch.zeros(1, 1, 3, 3), centre)
    assert torch.equal(pooled, x.mean(dim=1, keepdim=True).expand_as(x))
    features = scale_features(torch.cat([x, -x, x + 1]), centre.expand(4, 1, 3, 3))
    assert features.shape == (3, 3, 4)
    assert torch.equal(features[0, :, 0], x.mean(dim=(2, 3))[0]) and (features[1] == 0).all()
    mean, var = batch_statistics(features)
    torch.testing.assert_close(mean, features.mean(dim=0))
    torch.testing.assert_close(var, features.var(dim=0, correction=1))


def test_saved_and_loaded_is_the_same_with_its_provenance(tmp_path: Path) -> None:
    phi = some_phi()
    phi.provenance = {"source": "a test", "seeds": [1, 2]}
    phi.save(tmp_path / "phi.safetensors")
    again = MetaPerturb.load(tmp_path / "phi.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(phi.parameters(), again.parameters(), strict=True))
    assert again.provenance == phi.provenance


def authors_state(phi: MetaPerturb) -> dict[str, Tensor]:
    state = {theirs: getattr(phi, ours).detach().clone() for theirs, ours in AUTHORS_NAMES.items()}
    return {**state, "fc.weight": state["fc.weight"].reshape(1, 10)}


@pytest.mark.parametrize("zip_format", [True, False])
def test_reads_the_authors_layout_in_both_formats(tmp_path: Path, zip_format: bool) -> None:
    phi = some_phi()
    torch.save(authors_state(phi), tmp_path / "a.pth", _use_new_zipfile_serialization=zip_format)
    again = MetaPerturb.from_official(tmp_path / "a.pth")
    assert all(torch.equal(a, b) for a, b in zip(phi.parameters(), again.parameters(), strict=True))


@pytest.mark.skipif(reference_folder() is None, reason="MPLIB_REFERENCE does not name a folder with the authors' files")
def test_reads_the_authors_checkpoint() -> None:
    phi = MetaPerturb.from_official(reference_folder() / "perturb_750.pth")
    boxes = phi.kernels.detach().flatten(1)
    assert (boxes.std(dim=1) < 0.005).all(), "the released kernels are near-constant boxes"


class Payload:
    """What a malicious checkpoint would hold: unpickling it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_a_malicious_checkpoint_does_not_run(tmp_path: Path, how: str) -> None:
    file, mark = tmp_path / "evil.pth", tmp_path / "was_run"
    state = {**authors_state(some_phi()), "kernel": Payload(mark)}
    if how == "pickle":
        file.write_bytes(pickle.dumps(state))
    else:
        torch.save(state, file)
    with pytest.raises(MplibError, match=r"evil\.pth"):
        MetaPerturb.from_official(file)
    assert not mark.exists()


def test_refuses_other_files(tmp_path: Path) -> None:
    with pytest.raises(MplibError, match="there is no file"):
        MetaPerturb.load(tmp_path / "absent.safetensors")
    (tmp_path / "text.safetensors").write_text("not tensors")
    with pytest.raises(MplibError, match="not a whole safetensors file"):
        MetaPerturb.load(tmp_path / "text.safetensors")
    some_phi().save(tmp_path / "whole.safetensors")
    whole = (tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MplibError, match="not a whole safetensors file"):
        MetaPerturb.load(tmp_path / "half.safetensors")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(MplibError, match="expected the authors' layout"):
        MetaPerturb.from_official(tmp_path / "other.pth")
    (tmp_path / "empty.pth").touch()
    with pytest.raises(MplibError, match=r"empty\.pth"):
        MetaPerturb.from_official(tmp_path / "empty.pth")
    state = authors_state(some_phi())
    torch.save({**state, "fc.weight": torch.zeros(1, 11)}, tmp_path / "shape.pth")
    with pytest.raises(MplibError, match="expected those of a phi"):
        MetaPerturb.from_official(tmp_path / "shape.pth")
    torch.save({**state, "fc.weight": torch.full((1, 10), float("nan"))}, tmp_path / "nan.pth")
    with pytest.raises(MplibError, match="not finite"):
        MetaPerturb.from_official(tmp_path / "nan.pth")
    with pytest.raises(MplibError, match="unknown pretrained phi 'none'"):
        MetaPerturb.from_pretrained("none")


def test_the_pretrained_phi_says_where_it_comes_from() -> None:
    phi = MetaPerturb.from_pretrained()
    assert {"source", "steps", "nets", "tasks", "seed", "environment"} <= phi.provenance.keys()


def test_the_expected_softplus_is_the_integral() -> None:
    alpha = np.linspace(-12, 12, 49)

    def integral(a: float) -> float:
        return float(quad(lambda e: np.logaddexp(0, a + e) * norm.pdf(e), -12, 12, epsabs=1e-12, limit=200)[0])

    exact = np.array([integral(a) for a in alpha])
    ours = expected_softplus(torch.tensor(alpha)).numpy()
    assert np.abs(ours - exact).max() < 5e-5 and np.abs(ours / exact - 1).max() < 1e-4
    assert (np.diff(ours) > 0).all() and (ours > np.logaddexp(0, alpha)).all()  # rising, and above: softplus is convex
    single = expected_softplus(torch.tensor(alpha, dtype=torch.float32))
    assert single.dtype == torch.float32 and np.abs(single.numpy() - ours).max() < 3e-6


def test_the_mean_factor_is_the_mean_of_the_factors() -> None:
    phi, x = MetaPerturb(generator=torch.Generator().manual_seed(0)), torch.randn(4, 3, 5, 5)
    with torch.no_grad():
        for parameter in phi.parameters():
            parameter.mul_(30)
        draws = torch.stack([phi.factor(x, 0.5, 0.5) for _ in range(1000)])
        mean = phi.mean_factor(x, 0.5, 0.5)
    assert ((draws.mean(dim=0) - mean).abs() < 6 * draws.std(dim=0) / 1000**0.5).all()
    with pytest.raises(MplibError, match="stats have the shapes"):
        phi.mean_factor(x, 0.5, 0.5, stats=(torch.zeros(2, 4), torch.zeros(2, 4)))
