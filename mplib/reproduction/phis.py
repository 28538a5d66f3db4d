"""Meta-trained phis of a suite: learned once, kept as a file and as a row, chosen by the rule, and published.

A row holds the 82 numbers, so a store that was merged from several machines has the phis of all of them. A phi is an
artefact: a finished file whose provenance shows exactly the declared settings is taken over, whoever made it and with
whatever version of the code (the row says which), and is not made again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mplib.data import Dataset, split_tasks
from mplib.errors import MplibError
from mplib.experiments import POINTS, fingerprint, thinned
from mplib.files import write_json, write_text
from mplib.meta import meta_train
from mplib.perturb import MetaPerturb
from mplib.reproduction.scales import Scale
from mplib.reproduction.selection import Score, choose
from mplib.runs import Row, RunStore


class Unfinished(MplibError):
    """Something that is needed here is not made yet."""


class Phis:
    """The phis of a folder.

    Args:
        folder: of the suites; phis are in ``meta/`` in it.
        store: where rows are kept.
        scale: how they are learned.
    """

    def __init__(self, folder: Path, store: RunStore, scale: Scale) -> None:
        self._folder, self._store, self._scale = folder / "meta", store, scale

    def place(self, seed: int, tasks: int | None = None) -> Path:
        """The folder of a phi: phi.safetensors, history.csv, and the checkpoint while it is being made."""
        few = "" if tasks in (None, self._scale.tasks) else f"tasks-{tasks}-"
        return self._folder / f"{few}seed-{seed}"

    def config(self, source: Dataset, seed: int, tasks: int | None = None) -> dict[str, Any]:
        """What the row of a phi is keyed by."""
        scale = self._scale
        return {
            "experiment": "meta",
            "data": source.name,
            "images": source.fingerprint[:16],
            "image_size": source.image_size,
            "net": scale.meta_net,
            "width": scale.width,
            "steps": scale.meta_steps,
            "batch_size": scale.batch_size,
            "tasks": scale.tasks if tasks is None else tasks,
            "classes_per_group": scale.classes_per_group,
            "seed": seed,
        }

    @property
    def begun(self) -> bool:
        """Whether one of the phis that the rule chooses from is there, or under way; or its row, from elsewhere."""
        if any(self._folder.glob("seed-*")):
            return True
        return bool(self._store.rows(experiment="meta", net=self._scale.meta_net, tasks=self._scale.tasks))

    @property
    def settled(self) -> bool:
        """Whether one of them is chosen."""
        return (self._folder / "chosen.safetensors").exists()

    def find(self, config: Mapping[str, Any]) -> Row | None:
        """The row of a phi, made with whatever version of the code."""
        return next(iter(self._store.rows(**config)), None)

    def make(
        self, source: Dataset, seed: int, tasks: int | None, device: torch.device, progress: bool = False
    ) -> tuple[Row, MetaPerturb]:
        """A phi with its row: found, taken over from a finished file, or learned.

        Raises:
            MplibError: the file that is there was learned with other settings.
        """
        config, place = self.config(source, seed, tasks), self.place(seed, tasks)
        row, file = self.find(config), place / "phi.safetensors"
        if row is not None:
            phi = phi_of(row)
            if not file.exists():  # the row came from another machine
                phi.save(file)
            return row, phi
        if not file.exists():
            self._learn(config, source, place, device, progress)
        phi = MetaPerturb.load(file)
        self._check(phi, config, source, file)
        return self._keep(config, phi, place), phi

    def chosen(self) -> tuple[MetaPerturb, int] | None:
        """The phi that the rule chose, and its seed; None where nothing was meta-trained.

        Raises:
            Unfinished: the suite ``meta`` was begun and is not finished.
        """
        if self.settled:
            phi = MetaPerturb.load(self._folder / "chosen.safetensors")
            return phi, int(phi.provenance["seed"])
        if self.begun:
            raise Unfinished(
                f"the suite meta in {self._folder.parent} is not finished, so that no phi is chosen yet; expected you "
                "to finish it (mplib reproduce meta), or --phi"
            )
        return None

    def choose(self, rows: Mapping[int, list[Row]]) -> int:
        """Apply the rule to the scores of each phi, and keep what came out.

        Args:
            rows: for each seed of meta-training the rows of the runs that its phi was scored by.
        """
        scores = {
            seed: [Score(row["result"]["accuracy"], row["result"]["nll"]) for row in own] for seed, own in rows.items()
        }
        winner = choose(scores)
        phi = MetaPerturb.load(self.place(winner) / "phi.safetensors")
        record = {
            "seed": winner,
            "phi": fingerprint(phi),
            "rows": {str(seed): [row["key"] for row in own] for seed, own in rows.items()},
            "mean_accuracy": {str(seed): sum(s.accuracy for s in own) / len(own) for seed, own in scores.items()},
            "mean_nll": {str(seed): sum(s.nll for s in own) / len(own) for seed, own in scores.items()},
        }
        write_json(self._folder / "chosen.json", record)
        phi.save(self._folder / "chosen.safetensors")
        return winner

    def _learn(
        self, config: Mapping[str, Any], source: Dataset, place: Path, device: torch.device, progress: bool
    ) -> None:
        started = time.perf_counter()
        checkpoint = place / "checkpoint.pt"
        resumed = checkpoint.exists()
        run = meta_train(
            split_tasks(source, config["tasks"], classes_per_group=config["classes_per_group"]),
            config["net"],
            width=config["width"],
            steps=config["steps"],
            batch_size=config["batch_size"],
            seed=config["seed"],
            device=device,
            checkpoint=checkpoint,
            resume=True,
            progress=progress,
        )
        seconds = round(time.perf_counter() - started, 3)
        run.phi.provenance |= {"images": config["images"], "seconds": seconds, "resumed": resumed}
        write_text(place / "history.csv", run.history.frame().to_csv(index=False))
        run.phi.save(place / "phi.safetensors")
        checkpoint.unlink(missing_ok=True)

    def _check(self, phi: MetaPerturb, config: Mapping[str, Any], source: Dataset, file: Path) -> None:
        tasks = split_tasks(source, config["tasks"], classes_per_group=config["classes_per_group"])
        expected = {
            "steps": config["steps"],
            "batch_size": config["batch_size"],
            "nets": [config["net"]] * len(tasks),
            "width": config["width"],
            "seed": config["seed"],
            "tasks": len(tasks),
            "task_names": [task.name for task in tasks],
            "clip": 100.0,
            "precision": "float32",
            "started_from": {"source": "untrained"},
            "images_per_half": [task.train.n for task in tasks],
            # Files of `mplib meta-train` do not say which images they saw; the names of the tasks stand for them.
            "images": config["images"] if "images" in phi.provenance else None,
        }
        different = [
            f"{name} {phi.provenance.get(name)!r} instead of {value!r}"
            for name, value in expected.items()
            if phi.provenance.get(name) != value
        ]
        if different:
            raise MplibError(f"{file} was learned with other settings ({'; '.join(different)}), expected another --out")

    def _keep(self, config: Mapping[str, Any], phi: MetaPerturb, place: Path) -> Row:
        history: list[dict[str, float]] = []
        if (place / "history.csv").exists():
            import pandas as pd

            history = pd.read_csv(place / "history.csv").to_dict("records")
        last = history[-1] if history else {}
        made_with = dict(phi.provenance["environment"])
        if "seconds" not in phi.provenance:
            made_with["taken_over"] = True
        if phi.provenance.get("resumed"):
            made_with["resumed"] = True
        result = {
            **{name: last[name] for name in ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy") if last},
            "phi": fingerprint(phi),
            "numbers": {name: value.tolist() for name, value in phi.state_dict().items()},
            "provenance": phi.provenance,
            "history": thinned(history, POINTS) if history else [],
        }
        return self._store.keep(config, result, made_with, phi.provenance.get("seconds", 0.0))


def phi_of(row: Row) -> MetaPerturb:
    """The phi that a row of meta-training holds."""
    phi = MetaPerturb()
    phi.load_state_dict({name: torch.tensor(value) for name, value in row["result"]["numbers"].items()})
    phi.provenance = dict(row["result"]["provenance"])
    return phi
