"""From a folder of suites to files that can be shipped: the phis, and for each the numbers of its model card."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from mplib.errors import MplibError
from mplib.experiments import fingerprint
from mplib.files import atomic_path, read_json, write_json
from mplib.perturb import MetaPerturb
from mplib.reproduction.workshop import Workshop
from mplib.runs import Row
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
        found = effects(shop.store.rows(), fingerprint(MetaPerturb.load(made)), theirs)
        selection = {
            "images": f"{shop.scale.source}[selection]",
            "chosen": seed == choice["seed"],
            **{part: choice[part] for part in ("mean_accuracy", "mean_nll", "rows")},
        }
        card = {
            "selection": selection,
            **found,
        }
        with atomic_path(folder / f"{name}.safetensors") as temporary:
            shutil.copyfile(made, temporary)
        write_json(folder / f"{name}.json", card)
        files += [folder / f"{name}.safetensors", folder / f"{name}.json"]
    return files


def effects(rows: Iterable[Row], phi: str, authors: str | None = None) -> dict[str, Any]:
    """Paired differences of a phi to nothing, to the controls, and to the authors' phi, wherever both were run.

    Of runs that differ in nothing but the number of steps, those with the most are taken.

    Args:
        rows: of transfers; others are left out.
        phi: fingerprint of the phi.
        authors: that of the authors'; None to leave them out.

    Returns:
        ``effects``, what the card says for each setting and rival, and ``rows``, the keys of the rows behind it.
    """
    known = [row for row in rows if row["config"]["experiment"] == "transfer" and not row["config"].get("tuning")]
    rivals: dict[str, tuple[str, str | None]] = {name: (name, None) for name in ("none", "untrained")}
    rivals |= {name: (name, phi) for name in ("noise", "softplus_noise")}
    if authors is not None and authors != phi:
        rivals["the authors' phi"] = ("phi", authors)
    theirs = {against: _by_setting(known, *rival) for against, rival in rivals.items()}
    found: list[dict[str, Any]] = []
    keys: set[str] = set()
    for setting, own in _longest(_by_setting(known, "phi", phi)).items():
        for against, settings in theirs.items():
            other = settings.get(setting, {})
            seeds = sorted(set(own) & set(other))
            if len(seeds) < 2:
                continue
            found.append({**_about(own, seeds), "against": against, **_differences(own, other, seeds)})
            keys |= {each[seed]["key"] for each in (own, other) for seed in seeds}
    found.sort(key=lambda effect: (effect["data"], effect["net"], effect["image_size"], effect["finetuned"]))
    return {"effects": found, "rows": sorted(keys)}


def _about(own: dict[int, Row], seeds: Sequence[int]) -> dict[str, Any]:
    config = own[seeds[0]]["config"]
    learned = [own[seed]["result"].get("fitted_accuracy") for seed in seeds]
    return {
        **{name: config[name] for name in ("data", "image_size", "net", "steps")},
        "finetuned": "source_network" in config,
        "n": len(seeds),
        "learned": None if None in learned else fmean(learned),
    }


def _differences(own: dict[int, Row], other: dict[int, Row], seeds: Sequence[int]) -> dict[str, dict[str, float]]:
    found = {}
    for score in ("accuracy", "nll"):
        first, second = ([each[seed]["result"][score] for seed in seeds] for each in (own, other))
        interval = paired_interval(first, second)
        found[score] = {"mean": interval.mean, "low": interval.low, "high": interval.high}
    return found


def _by_setting(rows: Sequence[Row], method: str, phi: str | None) -> dict[str, dict[int, Row]]:
    found: dict[str, dict[int, Row]] = {}
    for row in rows:
        config = row["config"]
        if config["method"] == method and config.get("phi") == phi:
            setting = repr(sorted((name, value) for name, value in config.items() if name not in _APART))
            found.setdefault(setting, {})[config["seed"]] = row
    return found


def _longest(settings: dict[str, dict[int, Row]]) -> dict[str, dict[int, Row]]:
    best: dict[str, tuple[int, str]] = {}
    for setting, rows in settings.items():
        config = next(iter(rows.values()))["config"]
        but_steps = repr(sorted((name, value) for name, value in config.items() if name not in (*_APART, "steps")))
        best[but_steps] = max(best.get(but_steps, (0, "")), (config["steps"], setting))
    return {setting: settings[setting] for _, setting in best.values()}
