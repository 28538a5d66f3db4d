"""From a folder of suites to files that can be shipped: the phis, and for each the numbers of its model card."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mplib.errors import MplibError
from mplib.experiments import fingerprint
from mplib.files import atomic_path, read_json, write_json
from mplib.perturb import MetaPerturb
from mplib.reproduction.workshop import Workshop
from mplib.runs import Row, RunStore
from mplib.stats import paired_interval

_APART = ("method", "phi", "seed")


def publish(shop: Workshop, folder: Path, authors: MetaPerturb | None = None) -> list[Path]:
    """Copy all phis that the rule chose from, each with what its card says (see :mod:`mplib.cards`).

    Args:
        shop: of the folder with the finished suite ``meta``; rows of other suites there give the measured effects.
        folder: where to; files are called ``SOURCE-SEED.safetensors`` and ``SOURCE-SEED.json``.
        authors: the authors' phi, to be compared with on the rows of the same settings that there are.

    Returns:
        The files.

    Raises:
        MplibError: the suite is not finished.
    """
    if not shop.phis.settled and shop.settle() is None:
        raise MplibError(f"the suite meta in {shop.folder} is not finished, expected all of its phis and their scores")
    theirs = None if authors is None else fingerprint(authors)
    choice = read_json(shop.folder / "meta" / "chosen.json")
    files = []
    for seed in shop.scale.meta_seeds:
        name = f"{shop.scale.source}-{seed}"
        made = shop.phis.place(seed) / "phi.safetensors"
        found = effects(shop.store, fingerprint(MetaPerturb.load(made)), theirs)
        selection = {
            "images": f"{shop.scale.source}[selection]",
            "chosen": seed == choice["seed"],
            **{part: choice[part] for part in ("mean_accuracy", "mean_nll", "rows")},
        }
        card = {
            "selection": selection,
            "effects": [effect for effect, _ in found],
            "rows": sorted({key for _, keys in found for key in keys}),
        }
        with atomic_path(folder / f"{name}.safetensors") as temporary:
            shutil.copyfile(made, temporary)
        write_json(folder / f"{name}.json", card)
        files += [folder / f"{name}.safetensors", folder / f"{name}.json"]
    return files


def effects(store: RunStore, phi: str, authors: str | None = None) -> list[tuple[dict[str, Any], list[str]]]:
    """Paired differences of a phi to nothing, to the controls, and to the authors' phi, wherever both were run.

    Args:
        store: rows of transfers.
        phi: fingerprint of the phi.
        authors: that of the authors'; None to leave them out.

    Returns:
        For each setting and rival what the card says, and the keys of the rows behind it.
    """
    rows = [row for row in store.rows(experiment="transfer") if not row["config"].get("tuning")]
    rivals: dict[str, tuple[str, str | None]] = {name: (name, None) for name in ("none", "untrained")}
    rivals |= {name: (name, phi) for name in ("noise", "softplus_noise")}
    if authors is not None:
        rivals["the authors' phi"] = ("phi", authors)
    ours = _by_setting(rows, "phi", phi)
    found = []
    for against, (method, whose) in rivals.items():
        theirs = _by_setting(rows, method, whose)
        for setting, own in ours.items():
            other = theirs.get(setting, {})
            seeds = sorted(set(own) & set(other))
            if len(seeds) < 2:
                continue
            config = own[seeds[0]]["config"]
            effect: dict[str, Any] = {name: config[name] for name in ("data", "net", "steps")}
            effect |= {"against": against, "n": len(seeds), "finetuned": "source_network" in config}
            for score in ("accuracy", "nll"):
                first, second = ([each[seed]["result"][score] for seed in seeds] for each in (own, other))
                interval = paired_interval(first, second)
                effect[score] = {"mean": interval.mean, "low": interval.low, "high": interval.high}
            found.append((effect, [each[seed]["key"] for each in (own, other) for seed in seeds]))
    return sorted(found, key=lambda pair: (pair[0]["data"], pair[0]["net"], pair[0]["finetuned"]))


def _by_setting(rows: Sequence[Row], method: str, phi: str | None) -> dict[str, dict[int, Row]]:
    found: dict[str, dict[int, Row]] = {}
    for row in rows:
        config = row["config"]
        if config["method"] == method and config.get("phi") == phi:
            setting = repr(sorted((name, value) for name, value in config.items() if name not in _APART))
            found.setdefault(setting, {})[config["seed"]] = row
    return found
