"""``mplib transfer``: train on a target with several methods and seeds, and compare them."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from mplib.commands.shared import (
    PHI,
    add_command,
    data_options,
    load_data,
    load_phi,
    numbers,
    output_folder,
    record_command,
    show_progress,
    training_options,
    words,
    write_table,
)
from mplib.errors import MplibError

EXAMPLES = """\
mplib transfer --image-size 16 --per-class 10 --width 16 --batch-size 16 --steps 400 --samples 4 --out first
mplib transfer --methods all --data mnist5k --per-class 10 --width 16 --out all"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    text = "train on a target data set with several methods and seeds, and compare them on its test images"
    move = add_command(commands, "transfer", transfer, text, EXAMPLES)
    data_options(move, default="mnist5k")
    default = ["none", "untrained", "noise", "softplus_noise", "phi"]
    text = f"methods to compare, or all (default: {','.join(default)})"
    move.add_argument("--methods", type=words, metavar="NAMES", default=default, help=text)
    move.add_argument("--list-methods", action=_ListMethods, nargs=0, help="print the methods with their settings")
    text = "settings of a method, as in dropout.rate=0.2,0.5; each value is run"
    move.add_argument("--set", type=setting, action="append", default=[], metavar="METHOD.NAME=VALUES", help=text)
    text = "settings tried for each method, judged on held-out training images (default: 0, the method's own settings)"
    move.add_argument("--tries", type=int, metavar="N", default=0, help=text)
    move.add_argument("--phi", metavar="PHI", default="pretrained", help=f"{PHI} (default: pretrained)")
    move.add_argument("--net", metavar="NAME", default="conv4", help="network (default: conv4)")
    text = "training images of each class (default: all)"
    move.add_argument("--per-class", type=int, metavar="N", help=text)
    text = "part of the training labels made wrong (default: 0)"
    move.add_argument("--label-noise", type=float, metavar="PART", default=0.0, help=text)
    text = "seeds, paired over methods (default: 0,1,2)"
    move.add_argument("--seeds", type=numbers, metavar="SEEDS", default=[0, 1, 2], help=text)
    text = "processes side by side on a CPU (default: 1)"
    move.add_argument("--jobs", type=int, metavar="N", default=1, help=text)
    text = "draws of the noise that a test prediction averages (default: 100)"
    move.add_argument("--samples", type=int, metavar="N", default=100, help=text)
    text = "fine-tune: start from the convolutions of this saved network"
    move.add_argument("--from", dest="start", metavar="NETWORK", help=text)
    training_options(move, steps=10_000)


def transfer(given: argparse.Namespace) -> None:
    """``mplib transfer``: train on a target with each method and seed, and compare."""
    import mplib
    from mplib.experiments import Transfer, compare
    from mplib.runs import RunStore
    from mplib.tuning import tune

    chosen = _chosen(given)
    folder = output_folder(given)
    data = load_data(given)
    common = Transfer(
        "none",
        net=given.net,
        width=given.width,
        per_class=given.per_class,
        steps=given.steps,
        batch_size=given.batch_size,
        clip=given.clip,
        samples=given.samples,
        label_noise=given.label_noise,
    )
    run = partial(
        compare,
        data=data,
        phi=load_phi(given.phi),
        store=RunStore(folder / "runs"),
        device=given.device,
        source=mplib.load_network(given.start)[0] if given.start else None,
        networks=folder / "networks",
        jobs=given.jobs,
        progress=show_progress(given),
    )
    if given.tries:
        tuned = [(name, *tune(name, common, run, given.tries)) for name, options in chosen if not options]
        best = {name: options for name, options, _ in tuned}
        write_table(_table(row for _, _, rows in tuned for row in rows), folder / "tuning.csv")
        chosen = [(name, options or best[name]) for name, options in chosen]
    transfers = [
        replace(common, method=name, options=options, seed=seed) for seed in given.seeds for name, options in chosen
    ]
    _report(run(transfers), folder)
    record_command(given, folder)


def setting(text: str) -> tuple[str, str, list[float]]:
    """Read ``METHOD.NAME=VALUE,VALUE``."""
    name, _, values = text.partition("=")
    method, _, key = name.partition(".")
    try:
        return method, key, [float(value) for value in words(values)]
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(f"{text!r} is no setting, expected for example dropout.rate=0.2,0.5") from None


def _chosen(given: argparse.Namespace) -> list[tuple[str, dict[str, float]]]:
    """Each method with the settings that were asked for: all combinations, where several values were."""
    from mplib import nets, regularizers
    from mplib.attachment import sites

    names = given.methods
    if names == ["all"]:
        net = nets.build(given.net, num_classes=2, image_size=given.image_size, width=given.width)
        sums = any(site.kind == "sum" for site in sites(net, given.image_size))
        names = [name for name in regularizers.names() if sums or name != "stochastic_depth"]
    asked: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    for method, key, values in given.set:
        if method not in asked:
            raise MplibError(f"--set names {method!r}, expected one of the methods that run: {', '.join(names)}")
        asked[method][key] = values
    chosen = []
    for name, grid in asked.items():
        for values in product(*grid.values()):
            options = dict(zip(grid, values, strict=True))
            regularizers.find(name).resolve(options)
            chosen.append((name, options))
    return chosen


def _table(rows: Iterable[dict[str, Any]]) -> Any:
    """Rows as a table without what does not fit into a cell."""
    from mplib import runs

    return runs.table(rows).drop(columns=["history", "site_moments", "dropped"], errors="ignore")


class _ListMethods(argparse.Action):
    """Prints the methods and ends the program, whatever else is on the command line."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from mplib import regularizers

        for name in regularizers.names():
            method = regularizers.find(name)
            settings = ", ".join(f"{key}={setting.default:g}" for key, setting in method.settings.items())
            print(f"{name:20} {method.text}" + (f" ({settings})" if settings else ""))
        parser.exit()


def _report(rows: list[dict[str, Any]], folder: Path) -> None:
    from mplib.stats import interval_text, mean_interval

    write_table(_table(rows), folder / "results.csv")
    by_method: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        options = ",".join(f"{key}={value:g}" for key, value in row["config"].get("options", {}).items())
        by_method.setdefault((row["config"]["method"], options), []).append(row)
    for (method, options), group in by_method.items():
        parts = [
            f"{score} {interval_text(mean_interval([row['result'][score] for row in group]), 4)}"
            for score in ("accuracy", "nll", "ece")
        ]
        seconds = sum(row["seconds"] for row in group) / len(group)
        print(f"{method:20} {options:12} {'  '.join(parts)}  {seconds:.0f} s  (n={len(group)} seeds)")
    print(f"rows, networks and results.csv are in {folder}")
