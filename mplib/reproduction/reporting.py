"""What a folder of suites says so far: one table of all rows, and for each suite means and paired differences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mplib import runs
from mplib.errors import MplibError
from mplib.files import write_text
from mplib.reproduction.declarations import Unit
from mplib.reproduction.workshop import Workshop
from mplib.runs import Row
from mplib.stats import interval_text, mean_interval, paired_interval

SCORES = {"accuracy": ("accuracy, %", 100.0, 1), "nll": ("nll, nats", 1.0, 3), "ece": ("ECE, %", 100.0, 1)}
"""The scores of a row, how they are called, what they are multiplied by, and their decimals."""

AGAINST = ("none", "untrained", "noise", "softplus_noise")
"""What phi is compared with, nothing and the controls. Every other method is compared with the first."""

_LONG = ("history", "site_moments", "dropped", "bins", "counts", "floor", "task_names", "classes", "images_per_half")


def write_results(shop: Workshop) -> Path:
    """Write all rows of the folder as ``results.csv``, without what does not fit into a cell."""
    frame = runs.table(shop.store.rows())
    inner = [name for name in frame if name.startswith(("numbers.", "provenance.")) or name.split(".")[-1] in _LONG]
    file = shop.folder / "results.csv"
    write_text(file, frame.drop(columns=inner).to_csv(index=False))
    return file


def report(units: Sequence[Unit], shop: Workshop) -> Iterator[str]:
    """Lines of text: for each suite, data set and network a table of the methods, and their differences.

    Args:
        units: all of the suites, made or not.
        shop: where their rows are.
    """
    sections: dict[str, dict[str, dict[int, Row]]] = {}
    for unit in units:
        for name, label, seed, row in _cells(unit, shop):
            sections.setdefault(name, {}).setdefault(label, {})[seed] = row
    for name, methods in sections.items():
        yield ""
        yield name
        width = max(map(len, methods))
        for label, rows in methods.items():
            yield f"  {label:{width}}  {_means(rows.values())}"
        for label, rows in methods.items():
            for other in AGAINST if label.startswith("phi") else AGAINST[:1]:
                line = _difference(rows, methods[other]) if other in methods and label != other else None
                if line:
                    yield f"  {label} - {other}: {line}"


def _cells(unit: Unit, shop: Workshop) -> Iterator[tuple[str, str, int, Row]]:
    """The section, the label and the seed of each row of a unit that is made."""
    try:
        rows = shop.rows(unit)
    except MplibError:  # a data set that is not at hand
        return
    for row in rows or ():
        config = row["config"]
        if unit.kind == "meta":
            label = "phi" if unit.tasks is None else f"phi, {unit.tasks} tasks"
            yield f"{unit.suite}: meta-training, {config['data']}, {unit.net}", label, config["seed"], row
        elif unit.kind == "attack":
            section = f"{unit.suite}: {config['net_data']}, {unit.net}, {config['norm']}, eps {config['eps']:.4g}"
            yield section, unit.method, config["net_seed"], row
        else:
            label = unit.method
            if unit.kind == "selection":
                label = f"phi of seed {unit.phi_seed}"
            elif unit.tasks is not None:
                label = f"phi, {unit.tasks} tasks"
            yield f"{unit.suite}: {config['data']}, {unit.net}", label, config["seed"], row


def _means(rows: Iterable[Row]) -> str:
    rows = list(rows)
    parts = []
    for score, (title, factor, decimals) in SCORES.items():
        values = [factor * row["result"][score] for row in rows if score in row["result"]]
        if values:
            parts.append(f"{title} {interval_text(mean_interval(values), decimals)}")
    if "valid_loss" in rows[0]["result"]:
        losses = [row["result"]["valid_loss"] for row in rows]
        parts.append(f"validation loss {interval_text(mean_interval(losses), 3)}")
    seconds = sum(row["seconds"] for row in rows) / len(rows)
    return "  ".join([*parts, f"{seconds:.0f} s", f"n={len(rows)}"])


def _difference(ours: dict[int, Row], theirs: dict[int, Row]) -> str | None:
    seeds = sorted(set(ours) & set(theirs))
    if not seeds:
        return None
    parts = []
    for score, (title, factor, decimals) in SCORES.items():
        if all(score in row["result"] for rows in (ours, theirs) for row in rows.values()):
            first, second = ([factor * rows[seed]["result"][score] for seed in seeds] for rows in (ours, theirs))
            parts.append(f"{title} {interval_text(paired_interval(first, second), decimals, sign='+')}")
    return f"{'  '.join(parts)}  n={len(seeds)}" if parts else None
