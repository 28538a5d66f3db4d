"""Two simple repairs to a trained network, before a difference between methods is put down to the methods.

*Batch norms.* A method that perturbs maps in training and is off at test leaves batch norms behind it with running
statistics of maps that they will never see again (Li, Chen, Hu and Yang, "Understanding the disharmony between dropout
and batch normalization by variance shift", CVPR 2019). :func:`renormed` takes them afresh.

*One temperature.* A network that is too modest, or too sure, by the same degree everywhere is mended by a single number
(:func:`mplib.calibration.temperature`), fitted on images that were neither trained on nor tested on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mplib.calibration import temperature, tempered
from mplib.data import Split, normalise
from mplib.errors import MplibError
from mplib.evaluation import eval_mode, log_probabilities, score
from mplib.seeding import derive, private_randomness, stream

LOOKED_AT = 1_000
"""Images, at most, that statistics are taken of."""


def renorm(net: nn.Module, images: Tensor, seed: int = 0, batch_size: int = 500) -> nn.Module:
    """Give the batch norms of a network the statistics of these images, with everything else as at test.

    Only batch norms look: Dropout and its kin stay off, and a perturbation keeps its running statistics. Several chunks
    are drawn at random, since images may be sorted by class and the variance between classes is no variance within a
    chunk; a last chunk of a single image, which has no variance, is left out. Momenta stay as they were.

    Args:
        net: a network; one without batch norms is left as it is.
        images: (N, 3, H, W), uint8, or floats that are already normalised; training images, at least two.
        seed: of the order, and of the noise of a perturbation that is on at test.
        batch_size: images at a time, at least two.

    Returns:
        The network itself, in the mode in which it came.

    Raises:
        MplibError: fewer than two images, or chunks of fewer than two.

    Example:
        >>> import mplib
        >>> net = mplib.nets.build("conv4", num_classes=3, image_size=16, width=4)
        >>> images = torch.randn(64, 3, 16, 16)
        >>> before = net(images)[0]   # in training mode: statistics of the batch
        >>> with torch.no_grad():
        ...     torch.allclose(renorm(net, images).eval()(images)[0], before, atol=0.02)   # but for n / (n - 1)
        True
    """
    if min(len(images), batch_size) < 2:
        raise MplibError(
            f"there are {len(images)} images to take statistics of, {batch_size} at a time, expected at least 2"
        )
    norms = _norms(net)
    momenta = [norm.momentum for norm in norms]
    place = next(net.parameters()).device
    if len(images) > batch_size:  # a single chunk has no order that matters
        images = images[torch.randperm(len(images), generator=stream(seed, "order of statistics"))]
    try:
        with eval_mode(net), private_randomness(place), torch.no_grad():
            torch.manual_seed(derive(seed, "statistics"))
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # a plain mean over the chunks
                norm.train()
            for chunk in images[:LOOKED_AT].split(batch_size):
                if len(chunk) > 1:
                    net(normalise(chunk.to(place)) if chunk.dtype == torch.uint8 else chunk.to(place))
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    return net


@contextmanager
def renormed(net: nn.Module, images: Tensor, seed: int = 0, batch_size: int = 500) -> Iterator[None]:
    """Inside this context batch norms have the statistics of these images; afterwards they have their own again.

    Args:
        net, images, seed, batch_size: those of :func:`renorm`.

    Raises:
        MplibError: what :func:`renorm` raises.
    """
    norms = _norms(net)
    before = [{name: value.clone() for name, value in norm.named_buffers()} for norm in norms]
    try:
        renorm(net, images, seed, batch_size)
        yield
    finally:
        for norm, buffers in zip(norms, before, strict=True):
            for name, value in norm.named_buffers():
                value.copy_(buffers[name])


def second_looks(
    net: nn.Module,
    train: Split,
    held: Split | None,
    test: Split,
    answers: Tensor,
    samples: int = 100,
    seed: int = 0,
) -> dict[str, float]:
    """Score a network again after each repair.

    Args:
        net: a trained network.
        train: the images that it was trained on.
        held: images of the same kind that are neither in ``train`` nor in ``test``; None where there are none.
        test: the images that it is scored on.
        answers: its log-probabilities of these, as it is (:func:`mplib.evaluation.log_probabilities`).
        samples: Monte-Carlo samples of a prediction.
        seed: seed of the noise.

    Returns:
        ``renormed_accuracy``, ``renormed_nll`` and ``renormed_ece``; with ``held`` also ``temperature``,
        ``tempered_nll`` and ``tempered_ece`` (the accuracy stays), in the units of :class:`mplib.evaluation.Metrics`.

    Raises:
        MplibError: fewer than two training images, or what :func:`mplib.evaluate` raises.
    """
    with renormed(net, train.images, seed):
        again = score(log_probabilities(net, test.images, samples, seed=seed), test.labels, samples)
    found = {"renormed_accuracy": again.accuracy, "renormed_nll": again.nll, "renormed_ece": again.ece}
    if held is not None:
        degree = temperature(log_probabilities(net, held.images, samples, seed=seed), held.labels)
        mended = score(tempered(answers, degree), test.labels, samples)
        found |= {"temperature": degree, "tempered_nll": mended.nll, "tempered_ece": mended.ece}
    return found


def _norms(net: nn.Module) -> list[_BatchNorm]:
    return [module for module in net.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
