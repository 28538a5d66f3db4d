"""One run of the question that the book asks: does a regulariser help this network on this data set?

A :class:`Transfer` says everything about a run, so two methods are compared on the same footing by changing one word
of it: the same images, the same initial network, the same batches, the same budget, paired by seed. A run has three
parts, so that several networks can share the middle one: :func:`prepare`, training, :func:`judge`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import nn

from mplib import devices, nets, regularizers
from mplib.attachment import attach, perturbation_of
from mplib.data import Dataset, Split, normalise
from mplib.errors import MplibError
from mplib.evaluation import evaluate, is_noisy, log_probabilities, score
from mplib.finetuning import transfer_convolutions
from mplib.history import History
from mplib.mislabelling import mislabel
from mplib.perturb import MetaPerturb
from mplib.regularizers import Moments, Start, dropped_fractions, site_moments
from mplib.second_looks import second_looks
from mplib.seeding import derive, private_randomness
from mplib.steps import Objective
from mplib.training import train

HELD = 500
"""Training images, at most, of those that ``per_class`` left out, on which a temperature is fitted."""

FITTED = 256
"""Training images, at most, that are answered again at the end, and that moments are measured on."""


@dataclass(frozen=True)
class Transfer:
    """A network, a data set, a method, and a budget.

    Attributes:
        method: a name of :func:`mplib.regularizers.names`.
        net: a name of :func:`mplib.nets.names`.
        width: channels of conv4 and conv6; their default if None.
        per_class: training images of each class, drawn by the seed; all of them if None.
        steps, batch_size: the budget, see :class:`mplib.recipe.Recipe`.
        clip: upper bound of perturbed maps; none if None.
        samples: Monte-Carlo samples of the final test.
        seed: of the training images, the initial network, the batches and the noise.
        options: settings of the method that are not its defaults.
        label_noise: part of the training images whose label is wrong, drawn by the seed.
        tuning: score on the training images that ``per_class`` left out, not on test images: for choosing settings.
    """

    method: str
    net: str = "conv4"
    width: int | None = None
    per_class: int | None = None
    steps: int = 10_000
    batch_size: int = 128
    clip: float | None = 100.0
    samples: int = 100
    seed: int = 0
    options: dict[str, float] = field(default_factory=dict, hash=False)
    label_noise: float = 0.0
    tuning: bool = False


def run_transfer(
    transfer: Transfer,
    data: Dataset,
    phi: MetaPerturb | None = None,
    moments: Moments | None = None,
    *,
    device: str | torch.device = "auto",
    source: nn.Module | None = None,
    progress: bool = False,
    **options: Any,
) -> tuple[dict[str, Any], nn.Module, History]:
    """Train and test one network.

    Args:
        transfer: what to run.
        data: where to; its whole test split is scored.
        phi: the perturbation of method ``"phi"`` and its variants.
        moments: mean and spread at each site, for the methods ``"noise"`` and ``"softplus_noise"``.
        device: where to run.
        source: a trained network whose convolutions to start from (fine-tuning); a fresh start if None.
        progress: show a progress bar.
        **options: ``checkpoint``, ``checkpoint_every``, ``resume`` and ``probe`` of :func:`mplib.train`.

    Returns:
        The result (scores, and those of two :mod:`second looks <mplib.second_looks>`, training loss, how well the
        training images themselves are answered at the end, for phi its moments at each site, for the dropout family
        the part that it drops), the network, and the history.

    Raises:
        MplibError: an unknown method, a setting that it does not have, or one whose phi or moments are missing.

    Example:
        >>> import mplib
        >>> digits = mplib.data.load("digits", image_size=16)
        >>> transfer = Transfer("untrained", width=4, per_class=2, steps=2, samples=1)
        >>> result, net, history = run_transfer(transfer, digits, device="cpu")
        >>> 0 <= result["accuracy"] <= 1
        True
    """
    ready = prepare(transfer, data, phi, moments, source)
    history = train(
        ready.net,
        ready.data,
        **ready.recipe,
        objective=ready.objective,
        seed=transfer.seed,
        device=devices.resolve(device),
        progress=progress,
        **options,
    )
    return judge(transfer, ready, history), ready.net, history


class Prepared(NamedTuple):
    """A network that is ready to be trained.

    Attributes:
        net: the network, fresh, with what is attached to it.
        data: the images to train on.
        judged: the images that it will be judged on.
        held: some that are neither, on which a temperature is fitted, if there are any.
        recipe: arguments of :func:`mplib.train` that the method or the budget decides.
        objective: what a step minimises.
    """

    net: nn.Module
    data: Dataset
    judged: Split
    held: Split | None
    recipe: dict[str, Any]
    objective: Objective


def prepare(
    transfer: Transfer,
    data: Dataset,
    phi: MetaPerturb | None = None,
    moments: Moments | None = None,
    source: nn.Module | None = None,
) -> Prepared:
    """Everything before the first step; the arguments and errors are those of :func:`run_transfer`.

    Example:
        >>> import mplib
        >>> ready = prepare(Transfer("none", width=4), mplib.data.load("digits", image_size=16))
        >>> ready.recipe["steps"]
        10000
    """
    method = regularizers.find(transfer.method)
    settings = method.resolve(transfer.options)
    data, judged, held = _images(transfer, data)
    with private_randomness():
        torch.manual_seed(derive(transfer.seed, "network"))
        net = nets.build(transfer.net, data.num_classes, data.image_size, transfer.width)
    if source is not None:
        transfer_convolutions(source, net)
    with private_randomness():
        torch.manual_seed(derive(transfer.seed, "method"))
        perturbation = method.perturbation(Start(net, data.image_size, settings, phi, moments, transfer.seed))
    if perturbation is not None:
        places = method.places(net, data.image_size)
        attach(net, perturbation, image_size=data.image_size, clip=transfer.clip, sites=places)
    recipe = {"steps": transfer.steps, "batch_size": transfer.batch_size, **method.overrides(settings)}
    return Prepared(net, data, judged, held, recipe, method.objective(settings))


def judge(transfer: Transfer, ready: Prepared, history: History) -> dict[str, Any]:
    """The result of a run, once its network is trained."""
    net, data = ready.net, ready.data
    answers = log_probabilities(net, ready.judged.images, transfer.samples, seed=transfer.seed)
    metrics = score(answers, ready.judged.labels, transfer.samples if is_noisy(net) else 1)
    seen = evaluate(net, data.train.take(torch.arange(min(FITTED, data.train.n))), samples=transfer.samples)
    result: dict[str, Any] = {
        **metrics.row(),
        "train_loss": history.rows[-1]["loss"],
        "train_accuracy": history.rows[-1]["accuracy"],
        "fitted_accuracy": seen.accuracy,
        "fitted_nll": seen.nll,
        **second_looks(net, data.train, ready.held, ready.judged, answers, transfer.samples, transfer.seed),
    }
    images = normalise(data.train.images[:FITTED]).to(next(net.parameters()).device)
    attached = perturbation_of(net)
    if attached is not None and isinstance(attached.phi, MetaPerturb):
        result["site_moments"] = site_moments(net, images)
    dropped = dropped_fractions(net, images)
    if dropped is not None:
        result["dropped"] = dropped
    return result


def _images(transfer: Transfer, data: Dataset) -> tuple[Dataset, Split, Split | None]:
    """The images to train on, those to be judged on, and some that are neither, if there are any."""
    judged, held = data.test, None
    if transfer.per_class is not None:
        left_out = data.left_out(transfer.per_class, transfer.seed)
        held = left_out.take(torch.arange(min(HELD, left_out.n))) if left_out.n else None
        data = data.subset(per_class=transfer.per_class, seed=transfer.seed)
    if transfer.tuning:
        if held is None:
            raise MplibError(f"tuning on {data.name}, of which all images train, expected per_class to leave some out")
        judged, held = left_out, None
    if transfer.label_noise:
        data = mislabel(data, transfer.label_noise, transfer.seed)
    return data, judged, held
