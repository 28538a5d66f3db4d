from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.classification import MulticlassCalibrationError

from mplib.calibration import brier, calibration_error, calibration_floor, reliability, temperature, tempered
from mplib.errors import MplibError
from mplib.stats import wilson


def answers(seed: int, n: int, classes: int, sharpness: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    p = (sharpness * torch.randn(n, classes, generator=generator)).softmax(dim=1)
    return p, torch.randint(0, classes, (n,), generator=generator)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 200), st.integers(2, 8), st.floats(0.1, 8.0), st.integers(1, 30))
def test_ece_is_that_of_another_library_and_of_a_plain_loop(
    seed: int, n: int, classes: int, sharpness: float, bins: int
) -> None:
    p, labels = answers(seed, n, classes, sharpness)
    confidence, answer = p.max(dim=1)
    right = answer == labels
    ours = calibration_error(confidence, right, bins)
    if not (confidence.double() * bins).frac().lt(1e-5).any():  # theirs decides single-precision ties otherwise
        theirs = MulticlassCalibrationError(num_classes=classes, n_bins=bins, norm="l1")(p, labels)
        assert ours == pytest.approx(theirs.item(), abs=2e-6)
    loop = 0.0
    for b in range(bins):
        inside = [
            (float(c), bool(r)) for c, r in zip(confidence.double(), right, strict=True) if b < float(c) * bins <= b + 1
        ]
        if inside:
            gap = sum(r for _, r in inside) / len(inside) - sum(c for c, _ in inside) / len(inside)
            loop += len(inside) / n * abs(gap)
    assert ours == pytest.approx(loop, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 200), st.integers(1, 20))
def test_the_rows_of_the_diagram_hold_every_answer_and_make_up_the_error(seed: int, n: int, bins: int) -> None:
    p, labels = answers(seed, n, 4, 2.0)
    confidence, answer = p.max(dim=1)
    right = answer == labels
    rows = reliability(confidence, right, bins)
    assert sum(row.n for row in rows) == n and all(row.n for row in rows)
    assert all(row.low < row.confidence <= row.high + 1e-12 for row in rows)
    assert [row.low for row in rows] == sorted({row.low for row in rows})
    error = sum(row.n / n * abs(row.accuracy - row.confidence) for row in rows)
    assert error == pytest.approx(calibration_error(confidence, right, bins), abs=1e-9)
    assert sum(row.n * row.accuracy for row in rows) == pytest.approx(int(right.sum()))
    assert all((row.accuracy_low, row.accuracy_high) == wilson(round(row.n * row.accuracy), row.n) for row in rows)


def test_confidence_of_exactly_one_and_zero_has_a_bin() -> None:
    rows = reliability(torch.tensor([0.0, 1.0]), torch.tensor([False, True]), bins=15)
    assert [(row.n, row.accuracy) for row in rows] == [(1, 0.0), (1, 1.0)]


def test_the_floor_is_what_a_calibrated_network_shows() -> None:
    confidence = torch.linspace(0.3, 1.0, 400, dtype=torch.float64)
    mean, low, high = calibration_floor(confidence, repeats=400)
    assert 0 < low < mean < high
    inside = 0
    for seed in range(100):  # networks that are calibrated by construction, drawn here in another way
        generator = torch.Generator().manual_seed(seed)
        right = torch.bernoulli(confidence, generator=generator).bool()
        inside += low <= calibration_error(confidence, right) <= high
    assert inside >= 88
    assert calibration_error(confidence, torch.zeros(400, dtype=torch.bool)) > high
    assert calibration_floor(confidence, repeats=20, seed=1) == calibration_floor(confidence, repeats=20, seed=1)


def test_the_floor_falls_as_one_over_the_root_of_n() -> None:
    few, many = (calibration_floor(torch.full((n,), 0.7), repeats=400)[0] for n in (50, 800))
    # One bin: the mean of |accuracy - p| is sqrt(2 p (1 - p) / (pi n)).
    assert few == pytest.approx((2 * 0.7 * 0.3 / torch.pi / 50) ** 0.5, rel=0.12)
    assert few / many == pytest.approx(4, rel=0.15)


def test_refuses_nothing() -> None:
    none = torch.zeros(0)
    with pytest.raises(MplibError, match="0 answers and 15 bins"):
        reliability(none, none.bool())
    with pytest.raises(MplibError, match="1 answers and 0 bins"):
        reliability(torch.ones(1), torch.ones(1).bool(), bins=0)
    with pytest.raises(MplibError, match="0 repeats"):
        calibration_floor(torch.ones(1), repeats=0)


def test_brier_is_the_distance_to_the_truth_and_the_right_probabilities_are_the_best() -> None:
    assert brier(torch.tensor([[1.0, 0.0, 0.0]]).log(), torch.tensor([0])) == 0
    assert brier(torch.tensor([[1.0, 0.0, 0.0]]).log(), torch.tensor([2])) == 2
    labels = torch.tensor([0] * 7 + [1] * 3)
    scores = {p: brier(torch.tensor([[p, 1 - p]]).log().expand(10, 2), labels) for p in (0.5, 0.7, 0.9)}
    assert min(scores, key=lambda p: scores[p]) == 0.7
    assert scores[0.7] == pytest.approx(2 * 0.7 * 0.3)


def test_the_temperature_is_the_one_that_was_hidden() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(20_000, 4, generator=generator)
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]
    for hidden in (0.5, 1.0, 3.0):
        assert temperature((hidden * logits).log_softmax(dim=1), labels) == pytest.approx(hidden, rel=0.04)
    changed = tempered(logits.log_softmax(dim=1), 3.0)
    assert torch.equal(changed.argmax(dim=1), logits.argmax(dim=1))
    torch.testing.assert_close(changed.exp().sum(dim=1), torch.ones(20_000))
