"""Methods compared on the same footing: runs paired by seed, each made once and kept as a row.

On a CPU all methods of a seed come before the next seed; on a GPU the seeds of a method are trained side by side, and
the methods come one after another. What a stopped comparison leaves behind is balanced in either case.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mplib import devices, regularizers
from mplib.checkpoints import PathLike
from mplib.data import Dataset
from mplib.errors import MplibError
from mplib.footprint import at_once
from mplib.perturb import MetaPerturb
from mplib.provenance import environment
from mplib.regularizers import Moments
from mplib.runs import Row, RunStore, run_key
from mplib.saving import save_network
from mplib.training import train_together
from mplib.transfers import Transfer as Transfer
from mplib.transfers import judge, prepare
from mplib.transfers import run_transfer as run_transfer

METHODS = {name: regularizers.find(name).text for name in ("none", "untrained", "noise", "softplus_noise", "phi")}
"""The question in five words: nothing, three controls, and phi. :func:`mplib.regularizers.names` has all methods."""

POINTS = 20
"""Points of the history that a row keeps."""

# A row says these only where they are used, so that rows from before there was such a thing keep their meaning.
_UNSAID = ("options", "label_noise", "tuning")


def compare(
    transfers: Sequence[Transfer],
    data: Dataset,
    phi: MetaPerturb,
    store: RunStore,
    *,
    device: str | torch.device = "auto",
    source: nn.Module | None = None,
    networks: PathLike | None = None,
    checkpoints: PathLike | None = None,
    jobs: int = 1,
    together: bool | None = None,
    progress: bool = False,
) -> list[Row]:
    """Make, or find in the store, one run for each of several transfers.

    The noise controls are matched to phi in the run of the same settings and seed; that run is made first.

    Args:
        transfers: the runs, usually the product of methods and seeds.
        data: the data set of all of them.
        phi: the meta-trained perturbation.
        store: where rows are looked up and kept; the history of each run is in its row.
        device: where to run.
        source: a trained network to fine-tune from; a fresh start if None.
        networks: folder for the trained networks; they are not kept if None.
        checkpoints: folder for checkpoints, from which an interrupted run goes on; that of the networks if None.
        jobs: processes on a CPU, each with its share of the threads and whole seeds at a time; at least 1. On a GPU
            there is one.
        together: train the seeds of a method side by side (:func:`mplib.train_together`), as many as the memory holds;
            the rows are the same, and say in their environment how many were trained together. None: on a GPU.
        progress: show a progress bar for each run.

    Returns:
        The rows, in the order of ``transfers``.
    """
    if jobs < 1:
        raise MplibError(f"jobs is {jobs}, expected at least 1")
    place = devices.resolve(device)
    kept, unfinished = (None if folder is None else Path(folder) for folder in (networks, checkpoints or networks))
    bench = _Bench(data, phi, store, place, source, kept, unfinished, progress)
    if place.type == "cuda" if together is None else together:
        for group in _groups(transfers, lambda transfer: replace(transfer, seed=0)):
            bench.side_by_side(group)
        return bench.rows(transfers)
    groups = _groups(transfers, lambda transfer: transfer.seed)
    workers = min(jobs, len(groups)) if place.type == "cpu" else 1
    if workers > 1:
        threads = max(1, torch.get_num_threads() // workers)
        with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (threads,)) as pool:
            waiting = [pool.submit(bench.rows, group) for group in groups]
            for done in as_completed(waiting):
                done.result()  # the first failure is raised here; what is under way ends, the rest is not begun
    made = {id(transfer): bench.row(transfer) for group in groups for transfer in group}
    return [made[id(transfer)] for transfer in transfers]


def transfer_config(
    transfer: Transfer, data: Dataset, phi: MetaPerturb | None = None, source: nn.Module | None = None
) -> dict[str, Any]:
    """What a row of :func:`compare` is keyed by: the transfer, and the fingerprints of images, phi and source.

    Example:
        >>> import mplib
        >>> config = transfer_config(Transfer("none"), mplib.data.load("digits"))
        >>> config["data"], config["steps"], "phi" in config
        ('digits', 10000, False)
    """
    method = regularizers.find(transfer.method)
    said = {**asdict(transfer), "options": method.resolve(transfer.options)}
    config: dict[str, Any] = {
        "experiment": "transfer",
        **{name: value for name, value in said.items() if value or name not in _UNSAID},
        "data": data.name,
        "image_size": data.image_size,
        "images": data.fingerprint[:16],
    }
    if method.uses is not None:
        if phi is None:
            raise MplibError(f"method is {transfer.method!r} and no phi was given, expected a MetaPerturb")
        config["phi"] = fingerprint(phi)
    if source is not None:
        config["source_network"] = fingerprint(source)
    return config


@dataclass(frozen=True)
class _Bench:
    """What the runs of one comparison share."""

    data: Dataset
    phi: MetaPerturb
    store: RunStore
    device: torch.device
    source: nn.Module | None
    networks: Path | None
    checkpoints: Path | None
    progress: bool

    def rows(self, transfers: Sequence[Transfer]) -> list[Row]:
        return [self.row(transfer) for transfer in transfers]

    def row(self, transfer: Transfer) -> Row:
        moments = self._moments(transfer)
        config = self._config(transfer)
        key = run_key(config)
        options = self._checkpoint(key)

        def make() -> Mapping[str, Any]:
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
            self._keep(transfer, net, key)
            return {**result, "history": thinned(history.rows, POINTS)}

        row = self.store.load_or_run(config, make, self.device, **_resumed(options))
        _remove(options)
        return row

    def side_by_side(self, transfers: Sequence[Transfer]) -> None:
        """Make the rows of several transfers that differ in their seed alone."""
        if regularizers.find(transfers[0].method).uses == "moments":
            self.side_by_side([replace(transfer, method="phi", options={}) for transfer in transfers])
        first, count = transfers[0], len(transfers)
        if self.device.type == "cuda":
            noisy = regularizers.find(first.method).perturbs
            count = at_once(first.net, first.width, self.data, first.batch_size, noisy, self.device, count)
        for start in range(0, len(transfers), count):
            self._fitted(transfers[start : start + count])

    def _fitted(self, transfers: Sequence[Transfer]) -> None:
        """Train them together, or, where the estimate was wrong and the memory does not hold them, in two halves."""
        try:
            self._chunk(transfers)
            return
        except torch.OutOfMemoryError as error:
            if len(transfers) == 1:
                raise MplibError(
                    f"the memory of {self.device} does not hold a run of {transfers[0].net} with batches of "
                    f"{transfers[0].batch_size}, expected a smaller network, or smaller batches"
                ) from error
        torch.cuda.empty_cache()
        middle = len(transfers) // 2
        self._fitted(transfers[:middle])
        self._fitted(transfers[middle:])

    def _chunk(self, transfers: Sequence[Transfer]) -> None:
        keys = {run_key(self._config(transfer)): transfer for transfer in transfers}
        missing = {key: transfer for key, transfer in keys.items() if key not in self.store}
        if not missing:
            return
        # All of them, where they were trained already and only the rows of some were written.
        options = self._checkpoint(hashlib.sha256("".join(keys).encode()).hexdigest()[:16])
        group = list(keys.values()) if _resumed(options) else list(missing.values())
        made_with = {**environment(self.device), "threads": torch.get_num_threads(), **_resumed(options)}
        started = time.perf_counter()
        ready = [prepare(own, self.data, self.phi, self._moments(own), self.source) for own in group]
        histories = train_together(
            [each.net for each in ready],
            [each.data for each in ready],
            [own.seed for own in group],
            **ready[0].recipe,
            objective=ready[0].objective,
            device=self.device,
            progress=self.progress,
            **options,
        )
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        share = (time.perf_counter() - started) / len(group)
        for own, each, history in zip(group, ready, histories, strict=True):
            judging = time.perf_counter()
            result = {**judge(own, each, history), "history": thinned(history.rows, POINTS)}
            config = self._config(own)
            self._keep(own, each.net, run_key(config))
            seconds = share + time.perf_counter() - judging
            self.store.keep(config, result, {**made_with, "together": len(group)}, seconds)
        _remove(options)

    def _moments(self, transfer: Transfer) -> Moments | None:
        if regularizers.find(transfer.method).uses != "moments":
            return None
        measured = self.row(replace(transfer, method="phi", options={}))["result"]["site_moments"]
        return [(mean, deviation) for mean, deviation in measured]

    def _config(self, transfer: Transfer) -> dict[str, Any]:
        return transfer_config(transfer, self.data, self.phi, self.source)

    def _checkpoint(self, name: str) -> dict[str, Any]:
        if self.checkpoints is None:
            return {}
        return {"checkpoint": self.checkpoints / f"{name}.checkpoint", "resume": True}

    def _keep(self, transfer: Transfer, net: nn.Module, key: str) -> None:
        if self.networks is not None:
            provenance = {"data": self.data.name, **asdict(transfer)}
            save_network(net, self.networks / f"{key}.safetensors", provenance, transfer.method, transfer.options)


def _groups(transfers: Sequence[Transfer], kind: Callable[[Transfer], Any]) -> list[list[Transfer]]:
    """Transfers of one kind together, in the order in which the kinds come."""
    kinds: list[Any] = []
    groups: list[list[Transfer]] = []
    for transfer in transfers:
        if kind(transfer) not in kinds:
            kinds.append(kind(transfer))
            groups.append([])
        groups[kinds.index(kind(transfer))].append(transfer)
    return groups


def _resumed(options: Mapping[str, Any]) -> dict[str, bool]:
    """What a row says if its seconds are only those since the run was interrupted."""
    return {"resumed": True} if options and options["checkpoint"].exists() else {}


def _remove(options: Mapping[str, Any]) -> None:
    if options:
        options["checkpoint"].unlink(missing_ok=True)


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
