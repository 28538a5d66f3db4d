"""What a network has learned: its predictions, and accuracy, likelihood and calibration on a test set.

The perturbation is random at test time too, so a prediction is an average over Monte-Carlo samples of the noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import cast

import torch
from torch import Tensor, nn

from mplib.attachment import perturbation_of
from mplib.calibration import calibration_error
from mplib.data import Split, normalise
from mplib.errors import MplibError
from mplib.perturb import Statistics, perturb
from mplib.seeding import derive, private_randomness
from mplib.stats import wilson


@dataclass(frozen=True)
class Metrics:
    """Scores on a test set: accuracy with its interval, nll and ECE.

    Attributes:
        accuracy: fraction of the images that are right, in [0, 1].
        accuracy_low, accuracy_high: 95 % Wilson interval of ``accuracy`` for the choice of the test images.
        nll: mean negative log-likelihood of the right class, in nats.
        ece: expected calibration error over 15 bins of confidence, in [0, 1].
        n: number of test images.
        samples: Monte-Carlo samples behind each prediction; 1 where the network has no noise, 0 where the noise was
            replaced by its mean.
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
        samples: S, at least 1, enough for an answer by default (:func:`evaluate` takes more, since scores are to be
            quoted); or 0 for one pass with the mean of the noise, see :func:`mean_noise`.
        batch_size: images at a time, at least 1.
        seed: seed of the noise; torch's default generator goes on if None.

    Returns:
        Probabilities, (N, classes), on the network's device.

    Raises:
        MplibError: no images, a batch size below 1, or a negative number of samples.

    Example:
        >>> import mplib
        >>> net = mplib.nets.build("conv4", num_classes=3, image_size=16, width=4)
        >>> net = mplib.attach(net, mplib.MetaPerturb(), image_size=16)
        >>> p = predict(net, torch.zeros(2, 3, 16, 16), samples=5, seed=0)
        >>> p.shape, bool(torch.allclose(p.sum(dim=1), torch.ones(2)))
        (torch.Size([2, 3]), True)
    """
    return log_probabilities(net, images, samples, batch_size, seed).exp()


def evaluate(net: nn.Module, split: Split, *, samples: int = 100, batch_size: int = 500, seed: int = 0) -> Metrics:
    """Score a network on labelled images; nothing is left out of the test set.

    Args:
        net: a network.
        split: test images and labels.
        samples: Monte-Carlo samples, at least 1 (the paper's final figures have 100); or 0, see :func:`mean_noise`.
        batch_size: images at a time.
        seed: seed of the noise.

    Returns:
        The :class:`Metrics`.

    Raises:
        MplibError: an empty split, labels that the network has no output for, answers that are not numbers, a batch
            size below 1, or a negative number of samples.

    Example:
        >>> import mplib
        >>> net = mplib.nets.build("conv4", num_classes=2, image_size=16, width=4)
        >>> split = mplib.data.Split(torch.zeros(4, 3, 16, 16, dtype=torch.uint8), torch.tensor([0, 0, 1, 1]))
        >>> evaluate(net, split).accuracy
        0.5
    """
    answers = log_probabilities(net, split.images, samples, batch_size, seed)
    return score(answers, split.labels, samples if is_noisy(net) else 1)


def score(log_probabilities: Tensor, labels: Tensor, samples: int) -> Metrics:
    """Score predictions that are already there.

    Args:
        log_probabilities: logarithms of the predicted probabilities, (N, classes).
        labels: (N,).
        samples: how many Monte-Carlo samples are behind each prediction, for the record.

    Raises:
        MplibError: labels without a column, or predictions that are not numbers.

    Example:
        >>> score(torch.tensor([[0.9, 0.1], [0.8, 0.2]]).log(), torch.tensor([0, 1]), samples=1).accuracy
        0.5
    """
    labels = labels.to(log_probabilities.device)
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
        samples=samples,
    )


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


@contextmanager
def mean_noise(net: nn.Module) -> Iterator[None]:
    r"""Inside this context every site multiplies by the mean of its noise, and one pass is the whole prediction.

    .. math:: \mathrm{out} = \min\big(x\,(1 + c\,(\mathbb E\,m - 1)),\ \mathrm{clip}\big)

    An approximation: the mean of the network's answers is not its answer to the mean. A network without noise is left
    as it is.

    Args:
        net: a network.

    Raises:
        MplibError: the mean of what is attached is not known.

    Example:
        >>> import mplib
        >>> net = mplib.attach(mplib.nets.build("conv4", 3, 16, width=4), mplib.MetaPerturb(), image_size=16).eval()
        >>> with mean_noise(net), torch.no_grad():
        ...     bool((net(torch.zeros(1, 3, 16, 16)) == net(torch.zeros(1, 3, 16, 16))).all())
        True
    """
    perturbation = perturbation_of(net) if is_noisy(net) else None
    if perturbation is None:
        yield
        return
    functions = perturbation.phi
    each = list(functions) if isinstance(functions, nn.ModuleList) else [functions]
    for function in each:
        if not hasattr(function, "mean_factor"):
            raise MplibError(f"the mean noise of {type(function).__name__} is not known, expected a mean_factor method")
    means = [_MeanNoise(function) for function in each]
    perturbation.phi = nn.ModuleList(means) if isinstance(functions, nn.ModuleList) else means[0]
    try:
        yield
    finally:
        perturbation.phi = functions


class _MeanNoise(nn.Module):
    """A site function without randomness: another one's factor, replaced by its mean."""

    def __init__(self, function: nn.Module) -> None:
        super().__init__()
        self.function = function

    def visit(
        self,
        x: Tensor,
        channel_ratio: float,
        spatial_ratio: float,
        stats: Statistics | None = None,
        strength: float | Tensor = 1.0,
        clip: float | None = None,
        eps: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Statistics | None]:
        mean_factor = cast(Callable[..., Tensor], self.function.mean_factor)
        return perturb(x, mean_factor(x, channel_ratio, spatial_ratio, stats), strength, clip).to(x.dtype), stats


def log_probabilities(
    net: nn.Module, images: Tensor, samples: int = 20, batch_size: int = 500, seed: int | None = None
) -> Tensor:
    """The logarithm of what :func:`predict` gives, which is finite where a probability has become 0.

    The arguments, errors and shape are those of :func:`predict`.
    """
    return torch.cat(
        _pass(net, images, samples, batch_size, seed, lambda each: each.logsumexp(0) - math.log(len(each)))
    )


def draws(net: nn.Module, images: Tensor, samples: int = 20, batch_size: int = 500, seed: int | None = None) -> Tensor:
    """Every single draw behind :func:`predict`, for those who want to know what averaging does.

    The arguments and errors are those of :func:`predict`.

    Returns:
        Log-probabilities, (samples, N, classes); one draw where the network has no noise.

    Example:
        >>> import mplib
        >>> net = mplib.attach(mplib.nets.build("conv4", 3, 16, width=4), mplib.MetaPerturb(), image_size=16)
        >>> each, images = draws(net, torch.zeros(2, 3, 16, 16), samples=5, seed=0), torch.zeros(2, 3, 16, 16)
        >>> bool(torch.allclose(each.exp().mean(dim=0), mplib.predict(net, images, samples=5, seed=0)))
        True
    """
    return torch.cat(_pass(net, images, samples, batch_size, seed, lambda each: each), dim=1)


@torch.no_grad()
def _pass(
    net: nn.Module,
    images: Tensor,
    samples: int,
    batch_size: int,
    seed: int | None,
    keep: Callable[[Tensor], Tensor],
) -> list[Tensor]:
    """What to keep of each chunk's log-probabilities, (draws, n, classes)."""
    if len(images) == 0:
        raise MplibError("there are no images, expected at least one")
    if samples < 0 or batch_size < 1:
        raise MplibError(
            f"samples is {samples} and batch_size {batch_size}, expected a batch size of at least 1, and at least 1 "
            "sample, or 0 for the mean of the noise"
        )
    place = next(net.parameters()).device
    passes = max(1, samples) if is_noisy(net) else 1
    noise = mean_noise(net) if samples == 0 else nullcontext()
    kept = []
    with _seeded(seed, place), eval_mode(net), noise:
        for chunk in images.split(batch_size):
            inputs = normalise(chunk.to(place)) if chunk.dtype == torch.uint8 else chunk.to(place)
            kept.append(keep(torch.stack([net(inputs).log_softmax(dim=1) for _ in range(passes)])))
    return kept


@contextmanager
def _seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    if seed is None:
        yield
        return
    with private_randomness(device):
        torch.manual_seed(derive(seed, "prediction"))
        yield
