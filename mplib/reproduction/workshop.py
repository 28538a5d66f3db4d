"""Where the units of a suite become rows: data sets, phis and networks are at hand here, each loaded once."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mplib import data as datasets
from mplib import devices, regularizers
from mplib.attacks import attack
from mplib.calibration import calibration_floor, reliability
from mplib.data import Dataset
from mplib.data.dataset import interleave
from mplib.evaluation import draws, evaluate, is_noisy, score
from mplib.experiments import Transfer, compare, transfer_config
from mplib.montecarlo import sample_counts
from mplib.perturb import MetaPerturb
from mplib.reproduction.declarations import Unit
from mplib.reproduction.phis import Phis, Unfinished, phi_of
from mplib.reproduction.scales import Scale
from mplib.reproduction.selection import SEEDS, selection_images
from mplib.runs import Row, RunStore, run_key
from mplib.saving import load_network

Config = dict[str, Any]


class Workshop:
    """Makes units, and knows which are made.

    Args:
        folder: rows are in ``runs/`` in it, phis in ``meta/``, networks that are needed again in ``networks/``.
        scale: how large everything is.
        device: where to run.
        phi: the phi to use; the one that the suite ``meta`` chose in this folder, else the pretrained one, if None.
        together: train the seeds of a method side by side; on a GPU if None.
        progress: show progress bars.
    """

    def __init__(
        self,
        folder: Path,
        scale: Scale,
        device: str | torch.device = "auto",
        phi: MetaPerturb | None = None,
        together: bool | None = None,
        progress: bool = False,
    ) -> None:
        self.folder, self.scale = folder, scale
        self.device = devices.resolve(device)
        self.together = self.device.type == "cuda" if together is None else together
        self.store = RunStore(folder / "runs")
        self.phis = Phis(folder, self.store, scale)
        self._given, self._progress, self._looked = phi, progress, -1
        self.data = cache(self._load)

    def _load(self, name: str) -> Dataset:
        scale = self.scale
        loaded = datasets.load(name, image_size=scale.targets.get(name, 32))
        if scale.test_images is not None and loaded.test.n > scale.test_images:
            rows = interleave(loaded.test.labels, loaded.num_classes)[: scale.test_images]
            test = loaded.test.take(rows)
            loaded = replace(loaded, name=f"{name}[test={scale.test_images}]", test=test)
        return loaded

    @cached_property
    def source(self) -> Dataset:
        """What phis are meta-trained from."""
        whole = datasets.load(self.scale.source, image_size=self.scale.source_size)
        if self.scale.source_per_class is None:
            return whole
        return whole.subset(per_class=self.scale.source_per_class, seed=0)

    @cached_property
    def selection(self) -> Dataset:
        """What one of them is chosen on."""
        return selection_images(datasets.load(self.scale.source, image_size=self.scale.source_size))

    def missing(self, unit: Unit) -> str | None:
        """How to have the data set of a unit that is not at hand; None if it is."""
        about = datasets.describe(unit.data)
        return None if about.present else about.whereabouts

    def phi(self, unit: Unit) -> MetaPerturb | None:
        """The phi that a unit uses; None if its method uses none."""
        if regularizers.find(unit.method).uses is None:
            return None
        if unit.phi_seed is not None:
            row = self.phis.find(self.phis.config(self.source, unit.phi_seed, unit.tasks))
            if row is None:
                raise Unfinished(f"the phi of {unit} is not there, expected it to be meta-trained before")
            return phi_of(row)
        return self.chosen[0]

    @property
    def chosen(self) -> tuple[MetaPerturb, str]:
        """The phi of all units that do not name one, and which it is."""
        if self._given is not None:
            return self._given, "the phi that was given"
        if not self.phis.settled and self.phis.begun and self._looked != (rows := len(self.store.keys())):
            self._looked = rows  # it is asked for each unit, and only another row can change the answer
            self.settle()
        ours = self.phis.chosen()
        if ours is not None:
            return ours[0], f"the phi of seed {ours[1]}, chosen in {self.folder}"
        return MetaPerturb.from_pretrained(), "the pretrained phi"

    def transfers(self, unit: Unit) -> list[Transfer]:
        """The runs of networks that a unit is, or that it needs."""
        scale = self.scale
        common = Transfer(
            unit.method,
            unit.net,
            scale.width if unit.net in ("conv4", "conv6") else None,
            steps=scale.steps,
            batch_size=scale.batch_size,
            samples=scale.samples,
        )
        if unit.kind == "selection":
            few = scale.selection_per_class
            common = replace(common, per_class=few, steps=scale.selection_steps, tuning=True)
        return [replace(common, seed=seed) for seed in unit.seeds]

    def images(self, unit: Unit) -> Dataset:
        """The data set that the networks of a unit are trained on."""
        if unit.kind == "selection":
            return self.selection
        return self.source if unit.kind in ("source", "meta") else self.data(unit.data)

    def configs(self, unit: Unit) -> list[Config]:
        """What the rows of a unit are keyed by."""
        if unit.kind == "meta":
            return [self.phis.config(self.source, unit.seeds[0], unit.tasks)]
        trained = [
            transfer_config(transfer, self.images(unit), self.phi(unit), self._start(unit))
            for transfer in self.transfers(unit)
        ]
        if unit.kind == "calibration":
            return [self._calibrated(config) for config in trained]
        if unit.kind == "attack":
            return [self._attacked(config, plan) for config in trained for plan in self._plans]
        return trained

    def rows(self, unit: Unit) -> list[Row] | None:
        """The rows of a unit; None if it is not made, or not all of it."""
        try:
            configs = self.configs(unit)
        except Unfinished:
            return None
        if unit.kind == "meta":
            found = [self.phis.find(config) for config in configs]
            return None if None in found else [row for row in found if row is not None]
        keys = [run_key(config) for config in configs]
        if not all(key in self.store for key in keys):
            return None
        if unit.kind == "source" and not self._network(keys[0]).exists():
            return None
        return [self.store.read(key) for key in keys]

    def make(self, unit: Unit) -> list[Row]:
        """Make the rows of a unit that are not there; an interrupted unit goes on from its checkpoint."""
        if unit.kind == "meta":
            row, _ = self.phis.make(self.source, unit.seeds[0], unit.tasks, self.device, self._progress)
            return [row]
        trained = self._train(unit, self.store, keep=unit.kind in ("source", "calibration", "attack"))
        if unit.kind == "calibration":
            return [self._measure(row, unit) for row in trained]
        if unit.kind == "attack":
            return [self._attack(row, plan, unit) for row in trained for plan in self._plans]
        return trained

    def settle(self) -> int | None:
        """Choose a phi if all runs that the rule asks for are there; gives its seed."""
        seeds = self.scale.meta_seeds
        made = {
            seed: self.rows(Unit("meta", "selection", self.scale.source, self.scale.meta_net, "phi", SEEDS, seed))
            for seed in seeds
        }
        if any(rows is None for rows in made.values()):
            return None
        for seed in seeds:
            self.phis.make(self.source, seed, None, self.device)  # the file, where only the row is there
        return self.phis.choose({seed: rows for seed, rows in made.items() if rows is not None})

    def _train(self, unit: Unit, store: RunStore, keep: bool) -> list[Row]:
        return compare(
            self.transfers(unit),
            self.images(unit),
            self.phi(unit) or MetaPerturb(),
            store,
            device=self.device,
            source=self._start(unit),
            networks=self.folder / "networks" if keep else None,
            checkpoints=self.folder / "checkpoints",
            together=self.together,
            progress=self._progress,
        )

    def _start(self, unit: Unit) -> nn.Module | None:
        """The network that fine-tuning starts from."""
        if unit.suite != "finetune":
            return None
        first = Unit("source", "source", self.scale.source, unit.net, "none")
        row = self.rows(first)
        if row is None:
            raise Unfinished(f"the source network of {unit} is not there, expected it to be trained before")
        return load_network(self._network(row[0]["key"]))[0]

    def _network(self, key: str) -> Path:
        return self.folder / "networks" / f"{key}.safetensors"

    def _trained(self, row: Row, unit: Unit) -> nn.Module:
        """The network behind a row; trained once more where only the row is here."""
        if not self._network(row["key"]).exists():
            alone = replace(unit, seeds=(row["config"]["seed"],))
            self._train(alone, RunStore(self.folder / "again"), keep=True)
        return load_network(self._network(row["key"]))[0].to(self.device)

    def _calibrated(self, config: Config) -> Config:
        return {**config, "experiment": "calibration", "draws": self.scale.draws, "counts": list(self.scale.counts)}

    def _measure(self, row: Row, unit: Unit) -> Row:
        test, scale = self.images(unit).test, self.scale

        def measure() -> dict[str, Any]:
            net = self._trained(row, unit)
            labels = test.labels.to(self.device)
            pool = draws(net, test.images, samples=scale.draws, seed=row["config"]["seed"])
            answers = pool.logsumexp(dim=0) - math.log(len(pool))
            confidence, answer = answers.exp().max(dim=1)
            counts = [count for count in scale.counts if count <= len(pool)]
            return {
                **score(answers, labels, len(pool) if is_noisy(net) else 1).row(),
                "floor": list(calibration_floor(confidence.cpu())),
                "bins": [list(row) for row in reliability(confidence, answer == labels)],
                "counts": sample_counts(pool, labels, counts) if is_noisy(net) else [],
                "one_pass": evaluate(net, test, samples=0).row(),
            }

        return self.store.load_or_run(self._calibrated(row["config"]), measure, self.device)

    @property
    def _plans(self) -> list[dict[str, Any]]:
        options = {name: value for name, value in self.scale.attack.items() if name != "radii"}
        radii = self.scale.attack["radii"]
        return [{**options, "norm": norm, "eps": eps} for norm, several in radii.items() for eps in several]

    def _attacked(self, config: Config, plan: dict[str, Any]) -> Config:
        return {**{f"net_{name}": value for name, value in config.items()}, "experiment": "attack", **plan}

    def _attack(self, row: Row, plan: dict[str, Any], unit: Unit) -> Row:
        test, seed = self.images(unit).test, row["config"]["seed"]
        return self.store.load_or_run(
            self._attacked(row["config"], plan),
            lambda: attack(self._trained(row, unit), test, seed=seed, **plan).row(),
            self.device,
        )
