"""``mplib bench``: what the perturbation costs on this machine."""

from __future__ import annotations

import argparse
from typing import Any

from mplib.commands.shared import (
    add_command,
    device_option,
    image_size_option,
    numbers,
    output_folder,
    resume_option,
    width_option,
    words,
)

COLUMNS = {
    "steps": ["variant", "milliseconds", "ms_low", "ms_high", "ratio", "ratio_low", "ratio_high", "kept_mb", "peak_mb"],
    "parts": ["part", "piece", "milliseconds", "share"],
    "roofline": ["channels", "height", "sites", "milliseconds", "ratio", "ns", "roof_ns", "bound", "fraction"],
    "growth": ["grows", "value", "variant", "way", "milliseconds", "ratio", "ms_per_step", "measured_steps"],
    "bars": ["bar", "measured", "limit", "aim", "verdict", "how"],
}
COLUMNS["ideas"] = COLUMNS["steps"]
COLUMNS["predictions"] = ["variant", "draws", *COLUMNS["steps"][1:7]]
EXAMPLES = """\
mplib bench --net conv4 --turns 5            training steps of one network
mplib bench --suite bars --out bars          what it costs on this machine, beside the limits"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    from mplib.benchmark.suites import SUITES

    text = "time training steps with and without the perturbation, as ratios of one run"
    cost = add_command(commands, "bench", bench, text, EXAMPLES)
    cost.epilog = f"{cost.epilog}\n\nsuites:\n" + "\n".join(f"  {name:10} {what}" for name, what in SUITES.items())
    text = "one of the suites below, or all (default: steps)"
    cost.add_argument("--suite", metavar="NAME", default="steps", help=text)
    text = "networks; every suite but steps and predictions takes the first two (default: resnet20,conv4)"
    cost.add_argument("--net", type=words, metavar="NAMES", default=["resnet20", "conv4"], help=text)
    text = "images a step; every suite but steps takes the first (default: 128)"
    cost.add_argument("--batch-sizes", type=numbers, metavar="SIZES", default=[128], help=text)
    image_size_option(cost)
    width_option(cost)
    cost.add_argument("--turns", type=int, metavar="N", default=15, help="counted rounds (default: 15)")
    text = "time for the suite bars, a quarter of it for each comparison (default: 7)"
    cost.add_argument("--budget", type=float, metavar="MINUTES", default=7.0, help=text)
    text = "checkout of the authors' repository, timed in the same turns"
    cost.add_argument("--against", metavar="FOLDER", help=text)
    device_option(cost)
    text = "folder for the rows, one file for each measurement (default: print only)"
    cost.add_argument("--out", metavar="FOLDER", help=text)
    resume_option(cost)


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
