"""The four commands that fill half an hour of a GPU, and what has to be carried to it for each of them.

Each ends in under ten minutes, all in under thirty, and needs inputs of at most 64 MiB, so that they can be given to
a machine that is only reached by commands of that size. Data sets are cut into pieces for it; those that were carried
for an earlier command have to be still there, where a later one names them.
"""

from __future__ import annotations

import os
from typing import NamedTuple

PIECES = "build/pieces"
ROWS = "build/rows"

ON = "s-cifar100,stanford_cars"
METHODS = "none,phi,untrained,noise,manifold_mixup"


class Command(NamedTuple):
    """One of the commands.

    Attributes:
        what: what it is for.
        pack: how its inputs are made ready, on the machine that has the data sets.
        carry: the folders that it needs and that no earlier one needed, with their MiB.
        minutes: the most that it takes.
        line: the command.
    """

    what: str
    pack: tuple[str, ...]
    carry: dict[str, int]
    minutes: float
    line: str


def commands(pieces: str = PIECES, rows: str = ROWS, more: str = "") -> list[Command]:
    """The commands, in their order.

    Args:
        pieces: folder of the packed data sets.
        rows: folder of the suites (``--out``).
        more: further options of each ``mplib reproduce``, for a rehearsal: ``--scale toy``, ``--steps 2``.

    Example:
        >>> [command.minutes for command in commands()]
        [5.0, 8.0, 8.0, 8.0]
    """
    tiny = [f"{pieces}/tiny_imagenet-{k}of2" for k in (1, 2)]
    cifar, cars = f"{pieces}/cifar100-1of1", f"{pieces}/stanford_cars-1of1"

    def reproduce(suites: str, roots: list[str], budget: float, options: str = "") -> str:
        extra = f" {more}" if more else ""
        return (
            f"MPLIB_DATA={os.pathsep.join(roots)} python -m mplib reproduce {suites} --budget {budget:g} --out {rows}"
            f"{options}{extra}"
        )

    return [
        Command(
            "the tests that need a GPU, and the bars of the benchmark; the first half of Tiny ImageNet gets there",
            (f"mplib data pack tiny_imagenet --out {pieces}",),
            {tiny[0]: 40},
            5.0,
            "python -m pytest -q -m gpu; python -m mplib bench --suite bars --budget 2.5 --out build/bench --resume",
        ),
        Command(
            "five phis, and the network that fine-tuning starts from",
            (),
            {tiny[1]: 48},
            8.0,
            reproduce("meta,source", tiny, 8),
        ),
        Command(
            "what is left of it, the choice, and one column of data sets",
            (f"mplib data pack cifar100 --out {pieces}",),
            {cifar: 29},
            8.0,
            reproduce("meta,source,datasets", [*tiny, cifar], 8, f" --data s-cifar100 --methods {METHODS}"),
        ),
        Command(
            "the other column, fine-tuning, architectures, and what else there is time for",
            (f"mplib data pack stanford_cars --out {pieces}",),
            {cars: 34},
            8.0,
            reproduce(
                "meta,datasets,finetune,architectures,ablation,calibration,robustness,tasks",
                [*tiny, cifar, cars],
                8,
                f" --data {ON} --methods {METHODS}",
            ),
        ),
    ]


def plan_text(pieces: str = PIECES, rows: str = ROWS) -> str:
    """The commands as they are typed, with what each needs."""
    lines = [
        "Half an hour of one GPU, in four commands. Each ends inside its budget with everything saved; any of them may",
        "be given again, and goes on. What is carried for one has to be still there for the next.",
        "",
    ]
    for number, command in enumerate(commands(pieces, rows), start=1):
        carried = ", ".join(f"{folder} ({size} MiB)" for folder, size in command.carry.items())
        lines.append(f"{number}. {command.what}")
        lines += [f"   pack here   {line}" for line in command.pack]
        lines += [f"   carry       {carried}", f"   run there   {command.line}"]
        lines += [f"   takes       at most {command.minutes:g} minutes", ""]
    lines += [
        "Bring back     " + f"tar -czf rows.tgz {rows}/runs {rows}/meta {rows}/results.csv",
        "Merge here     mplib runs merge FOLDER/runs ANOTHER/runs, then the same suites again with --out FOLDER",
        "Rehearse       the same lines with --scale toy, or with --steps 2 --samples 1 --test-images 40 on real data",
    ]
    return "\n".join(lines)
