"""``mplib bench``: what the perturbation costs on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mplib.commands.shared import add_command, numbers, words, write_table


def add(commands: Any) -> None:
    """Add the command to the parser."""
    cost = add_command(
        commands, "bench", bench, "time a training step with and without the perturbation, as ratios of one run"
    )
    cost.add_argument("--net", type=words, default=["resnet20", "conv4"], help="networks (default: resnet20,conv4)")
    cost.add_argument("--batch-sizes", type=numbers, default=[128], help="images a step (default: 128)")
    cost.add_argument("--image-size", type=int, default=32, help="pixels (default: 32)")
    cost.add_argument("--width", type=int, help="channels of conv4 and conv6 (default: theirs)")
    cost.add_argument("--turns", type=int, default=15, help="counted rounds (default: 15)")
    cost.add_argument("--device", default="auto", help="auto, cpu, cuda (default: auto)")
    cost.add_argument("--out", help="write the rows to this file as CSV")


def bench(given: argparse.Namespace) -> None:
    """``mplib bench``: what the perturbation costs on this machine."""
    import pandas as pd

    from mplib.benchmark import time_steps

    rows = []
    for net in given.net:
        for batch_size in given.batch_sizes:
            rows += time_steps(
                net,
                batch_size=batch_size,
                image_size=given.image_size,
                width=given.width,
                turns=given.turns,
                device=given.device,
            )
    print(f"{rows[0]['device']}, torch {rows[0]['torch']}, {given.turns} turns; ratio: median [quartiles]")
    for row in rows:
        memory = f"  {row['megabytes']:.0f} MB" if row["megabytes"] else ""
        print(
            f"{row['net']:10} batch {row['batch_size']:4}  {row['variant']:20} {row['milliseconds']:8.1f} ms  "
            f"{row['ratio']:.2f} [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]{memory}"
        )
    if given.out:
        write_table(pd.DataFrame(rows), Path(given.out))
