"""``mplib transfer``: train on a target with several methods and seeds, and compare them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mplib.commands.shared import (
    add_command,
    data_options,
    load_phi,
    numbers,
    output_folder,
    record_command,
    show_progress,
    training_options,
    words,
    write_table,
)
from mplib.errors import unknown


def add(commands: Any) -> None:
    """Add the command to the parser."""
    move = add_command(
        commands, "transfer", transfer, "train on a target data set with several methods and seeds, and compare them"
    )
    data_options(move, default="mnist5k")
    move.add_argument("--methods", type=words, default=["none", "untrained", "noise", "phi"],
                      help="none, untrained, noise, phi (default: all four)")  # fmt: skip
    move.add_argument("--phi", default="pretrained", help="pretrained, official:FILE, or a file of meta-train")
    move.add_argument("--net", default="conv4", help="network (default: conv4)")
    move.add_argument("--per-class", type=int, help="training images of each class (default: all)")
    move.add_argument("--seeds", type=numbers, default=[0, 1, 2], help="seeds, paired over methods (default: 0,1,2)")
    move.add_argument("--jobs", type=int, default=1, help="processes side by side on a CPU (default: 1)")
    move.add_argument("--samples", type=int, default=100, help="Monte-Carlo samples of the test (default: 100)")
    move.add_argument(
        "--from", dest="start", metavar="NETWORK", help="fine-tune: start from this network's convolutions"
    )
    training_options(move, steps=10_000)


def transfer(given: argparse.Namespace) -> None:
    """``mplib transfer``: train on a target with each method and seed, and compare."""
    import mplib
    from mplib.experiments import METHODS, Transfer, compare
    from mplib.runs import RunStore

    for method in given.methods:
        if method not in METHODS:
            raise unknown("method", method, METHODS)
    folder = output_folder(given)
    data = mplib.data.load(given.data, image_size=given.image_size)
    phi = load_phi(given.phi)
    source = mplib.load_network(given.start)[0] if given.start else None
    # Seeds first, so that what a stopped command leaves behind is a balanced comparison.
    transfers = [
        Transfer(
            method,
            net=given.net,
            width=given.width,
            per_class=given.per_class,
            steps=given.steps,
            batch_size=given.batch_size,
            clip=given.clip,
            samples=given.samples,
            seed=seed,
        )
        for seed in given.seeds
        for method in given.methods
    ]
    rows = compare(
        transfers,
        data,
        phi,
        RunStore(folder / "runs"),
        device=given.device,
        source=source,
        networks=folder / "networks",
        jobs=given.jobs,
        progress=show_progress(given),
    )
    _report(rows, given.methods, folder)
    record_command(given, folder)


def _report(rows: list[dict[str, Any]], methods: list[str], folder: Path) -> None:
    from mplib.runs import table
    from mplib.stats import mean_interval

    write_table(table(rows).drop(columns=["history", "site_moments"], errors="ignore"), folder / "results.csv")
    for method in methods:
        results = [row["result"] for row in rows if row["config"]["method"] == method]
        parts = []
        for score in ("accuracy", "nll", "ece"):
            interval = mean_interval([result[score] for result in results])
            spread = f" [{interval.low:.4f}, {interval.high:.4f}]" if interval.n > 1 else ""
            parts.append(f"{score} {interval.mean:.4f}{spread}")
        print(f"{method:10} {'  '.join(parts)}  (n={len(results)} seeds)")
    print(f"rows, networks and results.csv are in {folder}")
