"""One run of the question that the book asks: does a regulariser help this network on this data set?

A :class:`Transfer` says everything about a run, so two methods are compared on the same footing by changing one word
of it: the same images, the same initial network, the same batches, the same budget, paired by seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mplib import devices, nets, regularizers
from mplib.attachment import attach
from mplib.checkpoints import PathLike
from mplib.data import Dataset, Split, normalise
from mplib.errors import MplibError
from mplib.evaluation import evaluate
from mplib.finetuning import transfer_convolutions
from mplib.history import History
from mplib.mislabelling import mislabel
from mplib.perturb import MetaPerturb
from mplib.regularizers import Moments, Start, dropped_fractions, site_moments
from mplib.runs import Row, RunStore, run_key
from mplib.saving import save_network
from mplib.second_looks import second_looks
from mplib.seeding import derive, private_randomness
from mplib.training import train

METHODS = {name: regularizers.find(name).text for name in ("none", "untrained", "noise", "phi")}
"""The question in four words: nothing, the two controls, and phi. :func:`mplib.regularizers.names` has all methods."""

FITTED = 256
"""Training images, at most, that are answered again at the end, and that moments are measured on."""

POINTS = 20
"""Points of the history that a row keeps."""

HELD = 500
"""Training images, at most, of those that ``per_class`` left out, on which a temperature is fitted."""

# A row says these only where they are used, so that rows from before there was such a thing keep their meaning.
_UNSAID = ("options", "label_noise", "tuning")


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
    method = regularizers.find(transfer.method)
    settings = method.resolve(transfer.options)
    place = devices.resolve(device)
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
    history = train(
        net,
        data,
        **{"steps": transfer.steps, "batch_size": transfer.batch_size, **method.overrides(settings)},
        objective=method.objective(settings),
        seed=transfer.seed,
        device=place,
        progress=progress,
        **options,
    )
    metrics = evaluate(net, judged, samples=transfer.samples, seed=transfer.seed)
    seen = evaluate(net, data.train.take(torch.arange(min(FITTED, data.train.n))), samples=transfer.samples)
    result: dict[str, Any] = {
        **metrics.row(),
        "train_loss": history.rows[-1]["loss"],
        "train_accuracy": history.rows[-1]["accuracy"],
        "fitted_accuracy": seen.accuracy,
        "fitted_nll": seen.nll,
        **second_looks(net, data.train, held, judged, transfer.samples, transfer.seed),
    }
    images = normalise(data.train.images[:FITTED]).to(place)
    if isinstance(perturbation, MetaPerturb):
        result["site_moments"] = site_moments(net, images)
    dropped = dropped_fractions(net, images)
    if dropped is not None:
        result["dropped"] = dropped
    return result, net, history


def compare(
    transfers: Sequence[Transfer],
    data: Dataset,
    phi: MetaPerturb,
    store: RunStore,
    *,
    device: str | torch.device = "auto",
    source: nn.Module | None = None,
    networks: PathLike | None = None,
    jobs: int = 1,
    progress: bool = False,
) -> list[Row]:
    """Make, or find in the store, one run for each of several transfers.

    All methods of a seed come before the next seed, so what a stopped comparison leaves behind is balanced. The noise
    controls are matched to phi in the run of the same settings and seed; that run is made first.

    Args:
        transfers: the runs, usually the product of methods and seeds.
        data: the data set of all of them.
        phi: the meta-trained perturbation.
        store: where rows are looked up and kept; the history of each run is in its row.
        device: where to run.
        source: a trained network to fine-tune from; a fresh start if None.
        networks: folder for the trained networks and for checkpoints, from which an interrupted run goes on; neither
            is written if None.
        jobs: processes on a CPU, each with its share of the threads and whole seeds at a time; at least 1. On a GPU
            there is one.
        progress: show a progress bar for each run.

    Returns:
        The rows, in the order of ``transfers``.
    """
    if jobs < 1:
        raise MplibError(f"jobs is {jobs}, expected at least 1")
    folder = None if networks is None else Path(networks)
    bench = _Bench(data, phi, store, devices.resolve(device), source, folder, progress)
    by_seed: dict[int, list[Transfer]] = {}
    for transfer in transfers:
        by_seed.setdefault(transfer.seed, []).append(transfer)
    groups = list(by_seed.values())
    workers = min(jobs, len(by_seed)) if bench.device.type == "cpu" else 1
    if workers > 1:
        threads = max(1, torch.get_num_threads() // workers)
        with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (threads,)) as pool:
            waiting = [pool.submit(bench.rows, group) for group in groups]
            for done in as_completed(waiting):
                done.result()  # the first failure is raised here; what is under way ends, the rest is not begun
    made = {id(transfer): bench.row(transfer) for group in groups for transfer in group}
    return [made[id(transfer)] for transfer in transfers]


@dataclass(frozen=True)
class _Bench:
    """What the runs of one comparison share."""

    data: Dataset
    phi: MetaPerturb
    store: RunStore
    device: torch.device
    source: nn.Module | None
    networks: Path | None
    progress: bool

    def rows(self, transfers: Sequence[Transfer]) -> list[Row]:
        return [self.row(transfer) for transfer in transfers]

    def row(self, transfer: Transfer) -> Row:
        moments = None
        if regularizers.find(transfer.method).uses == "moments":
            measured = self.row(replace(transfer, method="phi", options={}))["result"]["site_moments"]
            moments = [(mean, deviation) for mean, deviation in measured]
        config = self._config(transfer)
        return self.store.load_or_run(config, lambda: self._make(transfer, moments, run_key(config)), self.device)

    def _config(self, transfer: Transfer) -> dict[str, Any]:
        method = regularizers.find(transfer.method)
        said = {**asdict(transfer), "options": method.resolve(transfer.options)}
        config: dict[str, Any] = {
            "experiment": "transfer",
            **{name: value for name, value in said.items() if value or name not in _UNSAID},
            "data": self.data.name,
            "image_size": self.data.image_size,
            "images": self.data.fingerprint[:16],
        }
        if method.uses is not None:
            config["phi"] = fingerprint(self.phi)
        if self.source is not None:
            config["source_network"] = fingerprint(self.source)
        return config

    def _make(self, transfer: Transfer, moments: Moments | None, key: str) -> Mapping[str, Any]:
        options: dict[str, Any] = {}
        if self.networks is not None:
            options = {"checkpoint": self.networks / f"{key}.checkpoint", "resume": True}
        result, net, history = run_transfer(
            transfer,
            self.data,
            self.phi,
            moments,
            device=self.device,
            source=self.source,
            progress=self.progress,
            **options,
        )
        if self.networks is not None:
            provenance = {"data": self.data.name, **asdict(transfer)}
            save_network(net, self.networks / f"{key}.safetensors", provenance, transfer.method, transfer.options)
            options["checkpoint"].unlink()
        return {**result, "history": thinned(history.rows, POINTS)}


def paired_scores(rows: Sequence[Row], first: str, second: str, score: str) -> tuple[list[float], list[float]]:
    """One score of two methods, matched by seed, whatever order the rows are in.

    Args:
        rows: rows of :func:`compare` that differ in method and seed alone.
        first, second: two methods that occur in them.
        score: a key of the result.

    Returns:
        The scores of the first and of the second method, seed by seed.

    Raises:
        MplibError: a method was not run, was run twice with a seed, or the two were run with different seeds.
    """
    by_seed: dict[str, dict[int, float]] = {first: {}, second: {}}
    for row in rows:
        method, seed = row["config"]["method"], row["config"]["seed"]
        if method in by_seed:
            if seed in by_seed[method]:
                raise MplibError(f"there are two rows of {method!r} with seed {seed}, expected one of each")
            by_seed[method][seed] = row["result"][score]
    seeds = [sorted(found) for found in by_seed.values()]
    if not seeds[0] or any(other != seeds[0] for other in seeds):
        raise MplibError(f"{first!r} and {second!r} were run with the seeds {seeds}, expected the same ones")
    return tuple([found[seed] for seed in sorted(found)] for found in by_seed.values())  # type: ignore[return-value]


def fingerprint(module: nn.Module) -> str:
    """16 hexadecimal digits that stand for the numbers of a phi, or of a network."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def thinned(rows: Sequence[Mapping[str, float]], points: int) -> list[dict[str, float]]:
    """A history with fewer rows: loss and accuracy are means over those that were joined, the rest is the last of them.

    Example:
        >>> thinned([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 4.0}, {"step": 3, "loss": 1.0}], points=2)
        [{'step': 2, 'loss': 3.0}, {'step': 3, 'loss': 1.0}]
    """
    length = -(-len(rows) // points)
    joined = []
    for first in range(0, len(rows), length):
        group = rows[first : first + length]
        averaged = [name for name in ("loss", "accuracy") if name in group[0]]
        means = {name: round(sum(row[name] for row in group) / len(group), 5) for name in averaged}
        joined.append({**group[-1], **means})
    return joined


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
