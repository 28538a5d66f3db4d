"""What a network has learned: its predictions, and accuracy, likelihood and calibration on a test set.

The perturbation is random at test time too, so a prediction is an average over Monte-Carlo samples of the noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from mplib.attachment import perturbation_of
from mplib.data import Split, normalise
from mplib.errors import MplibError
from mplib.seeding import derive, private_randomness
from mplib.stats import wilson

CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Metrics:
    """Scores on a test set.

    Attributes:
        accuracy: fraction of the images that are right, in [0, 1].
        accuracy_low, accuracy_high: 95 % Wilson interval of ``accuracy`` for the choice of the test images.
        nll: mean negative log-likelihood of the right class, in nats.
        ece: expected calibration error over 15 bins of confidence, in [0, 1].
        n: number of test images.
        samples: Monte-Carlo samples behind each prediction; 1 where the network has no noise.
    """

    accuracy: float
    accuracy_low: float
    accuracy_high: float
    nll: float
    ece: float
    n: int
    samples: int

    def row(self) -> dict[str, float]:
        """The scores as a dictionary."""
        return asdict(self)


def predict(
    net: nn.Module, images: Tensor, *, samples: int = 20, batch_size: int = 500, seed: int | None = None
) -> Tensor:
    r"""Class probabilities: the softmax, averaged over draws of the noise.

    .. math:: p(y \mid x) = \tfrac1S \textstyle\sum_{s=1}^S \mathrm{softmax}(f(x; \varepsilon_s))_y

    The network predicts in eval mode, with the noise on, and is left in the mode it was in.

    Args:
        net: a network; one without a perturbation is asked once.
        images: (N, 3, H, W), uint8, or floats that are already normalised to [-1, 1].
        samples: S, at least 1.
        batch_size: images at a time, at least 1.
        seed: seed of the noise; torch's default generator goes on if None.

    Returns:
        Probabilities, (N, classes), on the network's device.

    Raises:
        MplibError: no images, or a number below 1.

    Example:
        >>> import mplib
        >>> net = mplib.nets.build("conv4", num_classes=3, image_size=16, width=4)
        >>> net = mplib.attach(net, mplib.MetaPerturb(), image_size=16)
        >>> p = predict(net, torch.zeros(2, 3, 16, 16), samples=5, seed=0)
        >>> p.shape, bool(torch.allclose(p.sum(dim=1), torch.ones(2)))
        (torch.Size([2, 3]), True)
    """
    return _log_probabilities(net, images, samples, batch_size, seed).exp()


def evaluate(net: nn.Module, split: Split, *, samples: int = 100, batch_size: int = 500, seed: int = 0) -> Metrics:
    """Score a network on labelled images; nothing is left out of the test set.

    Args:
        net: a network.
        split: test images and labels.
        samples: Monte-Carlo samples, at least 1; the paper's final figures have 100.
        batch_size: images at a time.
        seed: seed of the noise.

    Returns:
        The :class:`Metrics`.

    Raises:
        MplibError: an empty split, labels that the network has no output for, answers that are not numbers, or a
            number below 1.

    Example:
        >>> import mplib
        >>> net = mplib.nets.build("conv4", num_classes=2, image_size=16, width=4)
        >>> split = mplib.data.Split(torch.zeros(4, 3, 16, 16, dtype=torch.uint8), torch.tensor([0, 0, 1, 1]))
        >>> evaluate(net, split).accuracy
        0.5
    """
    log_probabilities = _log_probabilities(net, split.images, samples, batch_size, seed)
    labels = split.labels.to(log_probabilities.device)
    if int(labels.max()) >= log_probabilities.shape[1] or int(labels.min()) < 0:
        raise MplibError(
            f"labels reach from {int(labels.min())} to {int(labels.max())}, expected them within the network's "
            f"{log_probabilities.shape[1]} outputs"
        )
    wrong = int(log_probabilities.isnan().any(dim=1).sum())
    if wrong:
        raise MplibError(
            f"the network's answer to {wrong} of {len(labels)} images is not a number, expected finite logits"
        )
    confidence, answer = log_probabilities.exp().max(dim=1)
    right = answer == labels
    low, high = wilson(int(right.sum()), len(labels))
    return Metrics(
        accuracy=right.double().mean().item(),
        accuracy_low=low,
        accuracy_high=high,
        nll=-log_probabilities.gather(1, labels[:, None]).double().mean().item(),
        ece=calibration_error(confidence, right),
        n=len(labels),
        samples=samples if is_noisy(net) else 1,
    )


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
    place = (confidence.double() * bins).ceil().clamp(1, bins).long() - 1
    gap = torch.zeros(bins, dtype=torch.float64, device=confidence.device)
    gap.index_add_(0, place, confidence.double() - right.double())
    return gap.abs().sum().item() / len(confidence)


def is_noisy(net: nn.Module) -> bool:
    """Whether asking the network twice can give two answers, because what is attached to it is random at test time."""
    perturbation = perturbation_of(net)
    return perturbation is not None and perturbation.random_at_test


@contextmanager
def eval_mode(net: nn.Module) -> Iterator[None]:
    """Put every part of a network into eval mode inside; afterwards each is in the mode that it was in."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@torch.no_grad()
def _log_probabilities(net: nn.Module, images: Tensor, samples: int, batch_size: int, seed: int | None) -> Tensor:
    if len(images) == 0:
        raise MplibError("there are no images, expected at least one")
    if samples < 1 or batch_size < 1:
        raise MplibError(f"samples is {samples} and batch_size {batch_size}, expected both to be at least 1")
    place = next(net.parameters()).device
    draws = samples if is_noisy(net) else 1
    parts = []
    with _seeded(seed, place), eval_mode(net):
        for chunk in images.split(batch_size):
            inputs = normalise(chunk.to(place)) if chunk.dtype == torch.uint8 else chunk.to(place)
            total = torch.stack([net(inputs).log_softmax(dim=1) for _ in range(draws)])
            parts.append(total.logsumexp(dim=0) - math.log(draws))
    return torch.cat(parts)


@contextmanager
def _seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    if seed is None:
        yield
        return
    with private_randomness(device):
        torch.manual_seed(derive(seed, "prediction"))
        yield
