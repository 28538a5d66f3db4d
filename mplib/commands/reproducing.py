"""``mplib reproduce``: whole suites of runs within a budget of minutes, dry, for real, and published."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mplib.commands.shared import PHI, add_command, device_option, load_phi, numbers, quiet_option, words
from mplib.errors import MplibError

if TYPE_CHECKING:
    from mplib.reproduction.declarations import Unit
    from mplib.reproduction.scales import Scale
    from mplib.reproduction.schedule import Outcome
    from mplib.reproduction.workshop import Workshop

EXAMPLES = """\
mplib reproduce datasets --dry-run --out rows                    what it is, minutes and memory, nothing is run
mplib reproduce meta --budget 30 --out rows                      five phis and the choice of one, or part of it
mplib reproduce meta,datasets --budget 60 --out rows             one suite after the other, in one budget
mplib reproduce datasets --data s-cifar100 --methods none,untrained,noise,phi --budget 30 --out rows
mplib reproduce datasets --scale toy --budget 1 --out toy        seconds, on images that come with the package
mplib reproduce --plan                                           four commands that fill half an hour of a GPU"""
EPILOGUE = """\
The same command again goes on where the last one stopped: rows are never made twice, and a long run goes on from its
checkpoint. Seeds come first, then methods (on a GPU the seeds of a method are trained side by side), so what a stopped
suite leaves behind can be compared. Status 0 also when the budget ended it, 1 when a run failed.

--scale paper is the paper's protocol: 10,000 steps of 128 images, 100 samples, 5 seeds; phis from all of Tiny ImageNet,
750 joint steps, resnet20. --scale small is for a CPU: a quarter of the source and of the batch, conv4, 1,000 steps, 20
samples, 3 seeds, 2,000 test images. --scale toy is for tests. All settings: mplib/reproduction/scales.py; the rule by
which one phi is chosen: mplib/reproduction/selection.py.

--out holds runs/ (a row for each run; two folders merge with `mplib runs merge`), meta/seed-S/ (phis; a finished one
whose provenance shows the declared settings is taken over), networks/ (those that are needed again), checkpoints/ and
results.csv.

suites, in the order in which minutes of a GPU are best spent:
"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    from mplib.reproduction.declarations import SUITES

    text = "make a suite of runs by the paper's protocol, as far as a budget of minutes reaches"
    parser = add_command(commands, "reproduce", reproduce, text, EXAMPLES)
    parser.epilog = f"{parser.epilog}\n\n{EPILOGUE}" + "\n".join(f"  {name:14} {what}" for name, what in SUITES.items())
    parser.add_argument(
        "suites", nargs="?", metavar="SUITE", help="a suite of those below, or several, such as meta,datasets"
    )
    parser.add_argument("--budget", type=float, metavar="MINUTES", help="stop inside this time, with everything saved")
    parser.add_argument("--out", metavar="FOLDER", help="folder of the rows; what is there already is not made again")
    parser.add_argument("--dry-run", action="store_true", help="print the runs with minutes and memory; run nothing")
    parser.add_argument("--plan", action="store_true", help="print the four commands that fill half an hour of a GPU")
    parser.add_argument(
        "--publish", metavar="FOLDER", help="copy the phis of --out there, with cards (--phi: also compare)"
    )
    text = "paper (its protocol), small (for a CPU) or toy (default: paper)"
    parser.add_argument("--scale", metavar="NAME", default="paper", help=text)
    text = "targets of datasets and finetune; the first is that of the other suites"
    parser.add_argument("--data", type=words, metavar="NAMES", help=text)
    parser.add_argument("--nets", type=words, metavar="NAMES", help="networks of the suite architectures")
    parser.add_argument("--methods", type=words, metavar="NAMES", help="methods of datasets and finetune")
    parser.add_argument("--seeds", type=numbers, metavar="SEEDS", help="seeds of the target runs")
    text = f"{PHI} (default: the one that meta chose in --out, else pretrained)"
    parser.add_argument("--phi", metavar="PHI", help=text)
    text = "steps of every run instead of the scale's, for a rehearsal"
    parser.add_argument("--steps", type=int, metavar="N", help=text)
    text = "draws of the noise that a test prediction averages, instead of the scale's"
    parser.add_argument("--samples", type=int, metavar="N", help=text)
    text = "test images at most, balanced over the classes"
    parser.add_argument("--test-images", type=int, metavar="N", help=text)
    parser.add_argument("--together", action="store_true", help="train the seeds of a method side by side on a CPU too")
    parser.add_argument("--known", action="append", default=[], metavar="ANOTHER",
                        help="another folder of rows whose seconds help to estimate (repeatable)")  # fmt: skip
    device_option(parser)
    quiet_option(parser)


def reproduce(given: argparse.Namespace) -> int:
    """``mplib reproduce``: make a suite, or say what it would be."""
    from mplib.reproduction import plan

    if given.plan:
        print(plan.plan_text())
        return 0
    for name in ("suites", "out"):
        if getattr(given, name) is None:
            raise MplibError(f"{'no suite' if name == 'suites' else 'no --out'} is given, expected for example: "
                             "mplib reproduce meta --budget 30 --out rows (or --plan)")  # fmt: skip
    scale = _scale(given)
    if given.publish:
        return _publish(given, scale)
    if given.dry_run:
        return _dry_run(given, scale)
    if given.budget is None or not given.budget > 0:
        raise MplibError(f"--budget is {given.budget}, expected minutes above 0")
    return _run(given, scale)


def _run(given: argparse.Namespace, scale: Scale) -> int:
    from mplib import devices
    from mplib.files import write_json
    from mplib.reproduction import reporting, schedule
    from mplib.reproduction.costs import Costs

    shop = _shop(given, scale)
    units = _units(given, scale, shop.together)
    here = [unit for unit in units if shop.missing(unit) is None]
    missing = _say_missing(units)
    if not here:
        raise MplibError(f"none of the data sets of {given.suites} is at hand ({'; '.join(missing)})")
    write_json(shop.folder / "command.json", {name: value for name, value in vars(given).items() if name != "command"})
    if any(unit.suite != "meta" and unit.phi_seed is None for unit in here) and "meta" not in given.suites:
        print(f"phi: {shop.chosen[1]}")
    rows = [*shop.store.rows(), *_known(given)]
    costs = Costs(scale, shop.device.type, devices.describe(shop.device), rows, shop.together)
    outcome = schedule.run(here, shop, costs, given.budget, lambda line: print(line, flush=True))
    if "meta" in given.suites.split(","):
        winner = shop.settle()
        if winner is not None:
            print(f"the rule chooses the phi of seed {winner} (meta/chosen.json)")
    for line in reporting.report(here, shop):
        print(line)
    if shop.store.keys():
        print(f"\nall rows: {reporting.write_results(shop)}")
    _say_outcome(given, outcome, costs)
    return int(bool(outcome.failed))


def _dry_run(given: argparse.Namespace, scale: Scale) -> int:
    from mplib import devices
    from mplib.reproduction.costs import Costs
    from mplib.reproduction.schedule import minutes_text
    from mplib.reproduction.workshop import Workshop
    from mplib.runs import RunStore

    kind = "cuda" if given.device.startswith("cuda") else devices.resolve(given.device).type
    try:
        place = devices.resolve(given.device)
        name = devices.describe(place)
    except MplibError:  # a GPU that is somewhere else
        name = kind
    together = given.together or kind == "cuda"
    units = _units(given, scale, together)
    folder = Path(given.out)
    store = RunStore(folder / "runs")
    rows = [*(store.rows() if store.folder.is_dir() else []), *_known(given)]
    costs = Costs(scale, kind, name, rows, together, timed=False)
    shop = Workshop(folder, scale, "cpu", load_phi(given.phi) if given.phi else None, together)
    total, made = 0.0, 0
    print(f"{'time':>9}  {'how':8}  {'memory':>10}  run   ({name}, scale {scale.name})")
    for unit in units:
        cost = costs.of(unit)
        state = ""
        if shop.missing(unit) is not None:
            state = "  data not at hand"
        elif _made(shop, unit):
            state, made = "  made", made + 1
        else:
            total += cost.seconds
        print(f"{minutes_text(cost.seconds):>9}  {cost.how:8}  {cost.bytes / 2**20:>6,.0f} MiB  {unit}{state}")
    _say_missing(units)
    print(f"{len(units)} units, {made} made, {minutes_text(total)} for what is left and at hand")
    return 0


def _publish(given: argparse.Namespace, scale: Scale) -> int:
    from mplib.reproduction.publishing import publish

    shop = _shop(given, scale)
    for file in publish(shop, Path(given.publish), load_phi(given.phi) if given.phi else None):
        print(file)
    return 0


def _shop(given: argparse.Namespace, scale: Scale) -> Workshop:
    from mplib.reproduction.workshop import Workshop

    folder = Path(given.out)
    if folder.is_file():
        raise MplibError(f"--out is {folder}, which is a file, expected a folder")
    phi = load_phi(given.phi) if given.phi else None
    progress = not given.quiet and sys.stderr.isatty()
    return Workshop(folder, scale, given.device, phi, given.together or None, progress)


def _scale(given: argparse.Namespace) -> Scale:
    from mplib.reproduction.scales import find_scale

    scale = find_scale(given.scale)
    for name in ("steps", "samples", "test_images"):
        value = getattr(given, name)
        if value is not None and value < 1:
            raise MplibError(f"--{name.replace('_', '-')} is {value}, expected at least 1")
    if given.steps is not None:
        scale = replace(scale, steps=given.steps, meta_steps=given.steps, selection_steps=given.steps)
    if given.samples is not None:
        attack = {**scale.attack, "samples": given.samples}
        scale = replace(scale, samples=given.samples, draws=given.samples, counts=(1,), attack=attack)
    if given.test_images is not None:
        attack = {**scale.attack, "images": min(given.test_images, scale.attack["images"])}
        scale = replace(scale, test_images=given.test_images, attack=attack)
    return scale


def _units(given: argparse.Namespace, scale: Scale, together: bool) -> list[Unit]:
    from mplib.reproduction.declarations import Wanted, units

    return units(words(given.suites), scale, Wanted(given.data, given.nets, given.methods, given.seeds), together)


def _known(given: argparse.Namespace) -> list[dict[str, Any]]:
    from mplib.runs import RunStore

    rows = []
    for folder in given.known:
        store = RunStore(folder)
        if not store.folder.is_dir():
            raise MplibError(f"--known is {folder}, where there is no folder, expected one with the rows of runs")
        rows += store.rows()
    return rows


def _made(shop: Workshop, unit: Unit) -> bool:
    try:
        return shop.rows(unit) is not None
    except MplibError:
        return False


def _say_missing(units: list[Unit]) -> list[str]:
    from mplib import data

    lines = []
    for name in dict.fromkeys(unit.data for unit in units):
        about = data.describe(name)
        if not about.present:
            lines.append(f"{name}: {about.whereabouts}")
            print(f"not at hand, left out: {lines[-1]}")
    return lines


def _say_outcome(given: argparse.Namespace, outcome: Outcome, costs: Any) -> None:
    from mplib.reproduction.schedule import minutes_text

    print(
        f"made {len(outcome.made)}, found {len(outcome.found)}, failed {len(outcome.failed)}, left {len(outcome.left)}"
    )
    for unit, why in outcome.failed:
        print(f"failed: {unit}: {why}")
    if outcome.left:
        rest = sum(costs.of(unit).seconds for unit in outcome.left)
        print(f"what is left takes about {minutes_text(rest)}; it goes on with\n  {_again(given)}")


def _again(given: argparse.Namespace) -> str:
    """The command that goes on: the same again."""
    parts = ["mplib", "reproduce", given.suites]
    for name in ("budget", "out", "scale", "data", "nets", "methods", "seeds", "phi", "steps", "samples", "test_images",
                 "device"):  # fmt: skip
        value = getattr(given, name)
        if value is not None:
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            parts += [f"--{name.replace('_', '-')}", text]
    return shlex.join([*parts, *(["--together"] if given.together else [])])
