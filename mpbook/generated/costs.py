"""What the chapters took, read from the rows of the very runs that the pages were made from; nothing is estimated."""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

from mpbook import execution, notebooks, tracing
from mpbook.generated.markup import chapters, code, heading, link, run
from mpbook.layout import PRESETS, Book
from mpbook.page import table
from mplib.files import read_json

KINDS = {"meta": "(meta-trainings)"}
"""Experiments whose rows are counted by themselves, since a row of theirs is another thing than a run on a target."""


def text(book: Book) -> str:
    """A section for each preset that chapters were run with, with seconds, peak memory and run of each chapter."""
    sections = {preset: _preset(book, preset) for preset in PRESETS if rows(book, preset)}
    missing = " and ".join(preset for preset in PRESETS if preset not in sections)
    note = [f"No chapter was run with {missing} for this copy of the book."] if missing else []
    return "\n\n".join([*sections.values(), *note])


def seconds(book: Book, preset: str) -> dict[str, float]:
    """What the run of each chapter took, of those that :func:`rows` has."""
    return {name: float(read_json(path)["seconds"]) for name, path in rows(book, preset).items()}


def rows(book: Book, preset: str) -> dict[str, Path]:
    """The row of the run of each chapter that has been executed with a preset and has not changed since."""
    found = {}
    for name in book.chapters:
        if execution.up_to_date(book, preset, name):
            key = notebooks.read(book.executed(preset, name))["metadata"]["mpbook"]["run"]
            found[name] = execution.runs(book, preset) / f"{key}.json"
    return {name: path for name, path in found.items() if path.is_file()}


def publish(book: Book, folder: Path) -> None:
    """Put the rows that the table names into a folder beside the pages."""
    folder.mkdir(parents=True, exist_ok=True)
    for preset in PRESETS:
        for path in rows(book, preset).values():
            shutil.copy2(path, folder / path.name)


def records(book: Book) -> str:
    """What the recorded rows of each store took when they were made, and the pages that show them."""
    took: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for path in sorted((book.root / "book" / "results").glob("*/*.json")):
        row = read_json(path)
        took[path.parent.name, KINDS.get(row["config"]["experiment"], ""), row["environment"]["device"]].append(
            row["seconds"]
        )
    if not took:
        return "No rows are recorded."
    shown = _shown(book)
    lines = [
        {
            "store": code(store),
            "rows": f"{len(all_)} {kind}".strip(),
            "shown in": chapters(book, shown[store]),
            "device": device,
            "median seconds a row": sorted(all_)[len(all_) // 2] if any(all_) else None,
            "hours in all": sum(all_) / 3600 if any(all_) else None,
        }
        for (store, kind, device), all_ in took.items()
    ]
    count, untimed = sum(map(len, took.values())), sum(not second for all_ in took.values() for second in all_)
    hours = sum(map(sum, took.values())) / 3600
    note = f" The time of {untimed} of them was not recorded (–)." if untimed else ""
    made = _device_once(lines)
    caption = f"Wall time of the recorded rows in book/results{made}."
    return f"{table(lines, caption, digits=1).page}\n\nTogether {count} rows and {hours:.1f} hours.{note}"


def _shown(book: Book) -> dict[str, list[str]]:
    """The chapters that name rows of each store, as far as chapters were run here."""
    store = {path.stem: path.parent.name for path in (book.root / "book" / "results").glob("*/*.json")}
    found: dict[str, list[str]] = defaultdict(list)
    for name in book.chapters:
        made = [path for preset in PRESETS if (path := book.executed(preset, name)).is_file()]
        cells = [cell for path in made for cell in notebooks.code_cells(notebooks.read(path))]
        named = {key for cell in cells for key in tracing.named(cell)}
        for each in sorted({store[key] for key in named if key in store}):
            found[each].append(name)
    return found


def _device_once(lines: list[dict[str, Any]]) -> str:
    """The device leaves the table for the caption, which also names the lines of another one."""
    devices = [re.sub(r"\b1 threads", "1 thread", line.pop("device")) for line in lines]
    usual = max(devices, key=devices.count)
    others = [f"; {next(iter(line.values())).plain} on {device}" for line, device in zip(lines, devices, strict=True)
              if device != usual]  # fmt: skip
    return f", on {usual}{''.join(others)}"


def _preset(book: Book, preset: str) -> str:
    found = rows(book, preset)
    lines = []
    for name, path in found.items():
        row = read_json(path)
        lines.append(
            {
                "chapter": link(f"{name}.html", heading(book, name)),
                "seconds": float(row["seconds"]),
                "peak memory, MiB": row["result"]["peak_mib"],
                "device": f"{row['environment']['device']}, {row['result']['cpus']} CPUs",
                "run": run(path),
            }
        )
    total = sum(line["seconds"] for line in lines) / 60
    most = max(line["peak memory, MiB"] for line in lines)
    made = _device_once(lines)
    caption = f"Wall time and largest resident memory of each chapter, {preset} preset{made}."
    missing = [name for name in book.chapters if name not in found]
    not_run = f" Not run here: {', '.join(missing)}." if missing else ""
    return (
        f"(costs-{preset})=\n## The {preset} preset\n\n{table(lines, caption, digits=1).page}\n\n"
        f"Together {total:.1f} minutes, one chapter after another; at most {most} MiB at a time.{not_run}"
    )
