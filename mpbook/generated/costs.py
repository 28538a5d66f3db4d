"""What the chapters took, read from the rows of the very runs that the pages were made from; nothing is estimated."""

from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path

from mpbook import execution, notebooks
from mpbook.generated.markup import code, link, run
from mpbook.layout import PRESETS, Book
from mpbook.page import table
from mplib.files import read_json


def text(book: Book) -> str:
    """A section for each preset, with seconds, peak memory, device and run of each chapter."""
    return "\n\n".join(_preset(book, preset) for preset in PRESETS)


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
    """What the recorded rows of each experiment took when they were made, by device."""
    took: dict[tuple[str, str], list[float]] = defaultdict(list)
    for path in sorted((book.root / "book" / "results").glob("*/*.json")):
        row = read_json(path)
        took[path.parent.name, row["environment"]["device"]].append(row["seconds"])
    if not took:
        return "No rows are recorded."
    lines = [
        {
            "experiment": code(f"book/results/{store}"),
            "device": device,
            "rows": len(seconds),
            "median seconds a row": sorted(seconds)[len(seconds) // 2],
            "hours in all": sum(seconds) / 3600,
        }
        for (store, device), seconds in took.items()
    ]
    return table(lines, "Wall time of the recorded rows, read from the rows themselves", digits=1).page


def _preset(book: Book, preset: str) -> str:
    heading = f"(costs-{preset})=\n## The {preset} preset"
    found = rows(book, preset)
    if not found:
        return f"{heading}\n\nThe chapters were not run with this preset where this copy of the book was made."
    lines = []
    for name, path in found.items():
        row = read_json(path)
        lines.append(
            {
                "chapter": link(f"{name}.html", notebooks.title(notebooks.read(book.source(name)))),
                "seconds": float(row["seconds"]),
                "peak memory, MiB": row["result"]["peak_mib"],
                "device": f"{row['environment']['device']}, {row['result']['cpus']} CPUs",
                "run": run(path),
            }
        )
    total = sum(line["seconds"] for line in lines) / 60
    shown = table(lines, f"Wall time and largest resident memory of each chapter, {preset} preset", digits=1).page
    missing = [name for name in book.chapters if name not in found]
    not_run = f" Not run here: {', '.join(missing)}." if missing else ""
    return f"{heading}\n\n{shown}\n\nTogether {total:.1f} minutes, one chapter after another.{not_run}"
