"""Calibration: is a network right as often as it says it is?

The answers are sorted into bins by their confidence, and in each bin the confidence is compared with the accuracy. A
reliability diagram shows the bins; the expected calibration error is one number for all of them. That number cannot be
zero on few images, so :func:`calibration_floor` says how large it would be if the network were perfectly calibrated.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from mplib.errors import MplibError
from mplib.seeding import stream
from mplib.stats import wilson

CALIBRATION_BINS = 15


class Bin(NamedTuple):
    """The answers of one bin of confidence.

    Attributes:
        low: its lower edge; a confidence of exactly ``low`` belongs to the bin below.
        high: its upper edge, which belongs to it.
        n: answers in it.
        confidence: their mean confidence.
        accuracy: the fraction that is right.
        accuracy_low: lower end of the 95 % Wilson interval of ``accuracy``.
        accuracy_high: upper end of that interval.
    """

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float


def calibration_error(confidence: Tensor, right: Tensor, bins: int = CALIBRATION_BINS) -> float:
    r"""Expected calibration error: how far confidence is from accuracy, bin by bin.

    .. math:: \mathrm{ECE} = \textstyle\sum_b \tfrac{n_b}{n}\, |\mathrm{acc}_b - \mathrm{conf}_b|

    Args:
        confidence: probability of the predicted class, (N,), in [0, 1].
        right: whether the prediction is right, (N,).
        bins: number of bins of equal width.

    Returns:
        A number in [0, 1].

    Example:
        >>> round(calibration_error(torch.tensor([0.9, 0.9, 0.9, 0.9]), torch.tensor([True, True, True, False])), 6)
        0.15
    """
    gap = torch.zeros(bins, dtype=torch.float64, device=confidence.device)
    gap.index_add_(0, _bin_of(confidence, bins), confidence.double() - right.double())
    return gap.abs().sum().item() / len(confidence)


def reliability(confidence: Tensor, right: Tensor, bins: int = CALIBRATION_BINS) -> list[Bin]:
    """The rows of a reliability diagram: each bin that has answers in it, from low confidence to high.

    Args:
        confidence: probability of the predicted class, (N,), in [0, 1].
        right: whether the prediction is right, (N,).
        bins: number of bins of equal width, at least 1.

    Returns:
        The bins. Their ``|accuracy - confidence|``, weighted by ``n``, is :func:`calibration_error`.

    Raises:
        MplibError: no answers, or fewer than one bin.

    Example:
        >>> rows = reliability(torch.tensor([0.95, 0.85, 0.55]), torch.tensor([True, False, True]), bins=5)
        >>> [(row.n, round(row.confidence, 2), row.accuracy) for row in rows]
        [(1, 0.55, 1.0), (2, 0.9, 0.5)]
    """
    if len(confidence) == 0 or bins < 1:
        raise MplibError(f"there are {len(confidence)} answers and {bins} bins, expected at least one of each")
    place = _bin_of(confidence, bins)
    rows = []
    for b in place.unique().tolist():
        inside = place == b
        n, hits = int(inside.sum()), int(right[inside].sum())
        rows.append(
            Bin(b / bins, (b + 1) / bins, n, confidence[inside].double().mean().item(), hits / n, *wilson(hits, n))
        )
    return rows


def brier(log_probabilities: Tensor, labels: Tensor) -> float:
    r"""Brier's score, which a network can only make small by being both right and as sure as it should be.

    .. math:: \tfrac1N \textstyle\sum_i \sum_y (p_{iy} - [y = y_i])^2

    Args:
        log_probabilities: logarithms of the predicted probabilities, (N, classes).
        labels: (N,).

    Returns:
        A number in [0, 2]; less is better.

    Example:
        >>> round(brier(torch.tensor([[0.5, 0.5], [0.9, 0.1]]).log(), torch.tensor([0, 0])), 2)
        0.26
    """
    probabilities = log_probabilities.double().exp()
    truth = torch.nn.functional.one_hot(labels.to(probabilities.device), probabilities.shape[1])
    return (probabilities - truth).square().sum(dim=1).mean().item()


def calibration_floor(
    confidence: Tensor, bins: int = CALIBRATION_BINS, repeats: int = 200, seed: int = 0
) -> tuple[float, float, float]:
    """The calibration error that a perfectly calibrated network would show, with these confidences.

    An answer of confidence p is right with probability p; which ones are right is drawn again and again. A measured
    error within the range is no evidence against calibration, and errors of test sets of different size differ by it.

    Args:
        confidence: probability of the predicted class, (N,), in [0, 1].
        bins: number of bins of equal width.
        repeats: draws, at least 1.
        seed: of the draws.

    Returns:
        Mean, 2.5 % and 97.5 % quantile of the error.

    Example:
        >>> few, many = (calibration_floor(torch.full((n,), 0.7))[0] for n in (20, 2000))
        >>> few > 5 * many > 0
        True
    """
    if len(confidence) == 0 or repeats < 1:
        raise MplibError(f"there are {len(confidence)} answers and {repeats} repeats, expected at least one of each")
    generator, p = stream(seed, "calibration floor"), confidence.detach().double().cpu()
    errors = [
        calibration_error(p, torch.rand(p.shape, generator=generator, dtype=p.dtype) < p, bins) for _ in range(repeats)
    ]
    found = torch.tensor(errors, dtype=torch.float64)
    low, high = found.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return found.mean().item(), low, high


def temperature(log_probabilities: Tensor, labels: Tensor) -> float:
    r"""The temperature at which predictions are likeliest: it mends a network that is too sure, or too modest.

    .. math:: T = \arg\min_T\ -\tfrac1N \textstyle\sum_i \log \mathrm{softmax}(\log p_i / T)_{y_i}

    Args:
        log_probabilities: logarithms of the predicted probabilities, (N, classes).
        labels: (N,).

    Returns:
        T in [1/20, 20], above 1 for predictions that are too sure, below 1 for those that are too modest.

    Example:
        >>> modest = torch.tensor([[0.6, 0.4], [0.4, 0.6], [0.6, 0.4], [0.6, 0.4]]).log()
        >>> temperature(modest, torch.tensor([0, 1, 0, 0])) < 0.1   # always right, never sure
        True

    Source: Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017.
    """
    from scipy.optimize import minimize_scalar

    answers, labels = log_probabilities.double(), labels.to(log_probabilities.device)

    def loss(log_t: float) -> float:
        return -tempered(answers, math.exp(log_t)).gather(1, labels[:, None]).mean().item()

    found = minimize_scalar(loss, bounds=(-math.log(20), math.log(20)), method="bounded", options={"xatol": 1e-4})
    return math.exp(found.x)


def tempered(log_probabilities: Tensor, temperature: float) -> Tensor:
    """Log-probabilities, (N, classes), at another temperature; the order of the classes stays."""
    return (log_probabilities / temperature).log_softmax(dim=1)


def _bin_of(confidence: Tensor, bins: int) -> Tensor:
    """The number of each answer's bin, from 0; the upper edge belongs to a bin, as in the literature."""
    return (confidence.double() * bins).ceil().clamp(1, bins).long() - 1
