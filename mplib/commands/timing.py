"""``mplib bench``: what the perturbation costs on this machine."""

from __future__ import annotations

import argparse
from typing import Any

from mplib.commands.shared import add_command, numbers, output_folder, words

COLUMNS = {
    "steps": ["variant", "milliseconds", "ms_low", "ms_high", "ratio", "ratio_low", "ratio_high", "kept_mb", "peak_mb"],
    "parts": ["part", "piece", "milliseconds", "share"],
    "roofline": ["channels", "height", "sites", "milliseconds", "ratio", "ns", "roof_ns", "bound", "fraction"],
    "growth": ["grows", "value", "variant", "way", "milliseconds", "ratio", "ms_per_step", "measured_steps"],
    "bars": ["bar", "measured", "limit", "aim", "verdict", "how"],
}
COLUMNS["ideas"] = COLUMNS["steps"]
COLUMNS["predictions"] = ["variant", "draws", *COLUMNS["steps"][1:7]]


def add(commands: Any) -> None:
    """Add the command to the parser."""
    cost = add_command(
        commands, "bench", bench, "time training steps with and without the perturbation, as ratios of one run"
    )
    cost.add_argument(
        "--suite",
        default="steps",
        help="steps, predictions, ideas, parts, roofline, growth, bars, or all (default: steps)",
    )
    cost.add_argument(
        "--net",
        type=words,
        default=["resnet20", "conv4"],
        help="networks; all but steps and predictions take the first two (default: resnet20,conv4)",
    )
    cost.add_argument("--batch-sizes", type=numbers, default=[128], help="images a step (default: 128)")
    cost.add_argument("--image-size", type=int, default=32, help="pixels (default: 32)")
    cost.add_argument("--width", type=int, help="channels of conv4 and conv6 (default: theirs)")
    cost.add_argument("--turns", type=int, default=15, help="counted rounds (default: 15)")
    cost.add_argument(
        "--budget",
        type=float,
        default=7.0,
        help="minutes for the bars, a quarter of it for each comparison (default: 7)",
    )
    cost.add_argument("--against", metavar="PATH", help="checkout of the authors' repository, timed in the same turns")
    cost.add_argument("--device", default="auto", help="auto, cpu, cuda (default: auto)")
    cost.add_argument("--out", help="folder for the rows, one file for each measurement")
    cost.add_argument("--resume", action="store_true", help="go on with what is in --out")


def bench(given: argparse.Namespace) -> None:
    """``mplib bench``: what the perturbation costs on this machine."""
    import pandas as pd

    from mplib import devices
    from mplib.benchmark.suites import Scope, units
    from mplib.provenance import environment
    from mplib.runs import RunStore

    scope = Scope(
        tuple(given.net), tuple(given.batch_sizes), given.image_size, given.width, given.turns, given.device,
        given.against, given.budget,
    )  # fmt: skip
    place = devices.resolve(given.device)
    todo = list(units(given.suite, scope))
    store = RunStore(output_folder(given)) if given.out else None
    made = environment(place)
    print(f"{made['device']}, torch {made['torch']}, commit {made['commit']}; low, high: quartiles of the turns")
    for unit in todo:
        result = (
            unit.result(given.device)
            if store is None
            else store.load_or_run(unit.config, lambda unit=unit: unit.result(given.device), place)["result"]  # type: ignore[misc]
        )
        suite, machine = unit.config["suite"], result["machine"]
        title = ", ".join(str(unit.config[key]) for key in ("suite", "net", "grows") if unit.config.get(key))
        print(f"\n{title}: {machine['dtype']}, TF32 {machine['tf32']}, load {machine['load']}")
        frame = pd.DataFrame(result["rows"])
        shown = frame[[column for column in COLUMNS[suite] if column in frame and frame[column].notna().any()]]
        print(shown.to_string(index=False, na_rep="-", float_format=lambda value: f"{value:.3g}"), flush=True)
