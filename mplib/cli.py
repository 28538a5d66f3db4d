"""The command line: meta-train a phi, transfer it, evaluate a network, look at the data and at what is installed.

Every command writes its results to files, can be stopped at any moment, and goes on with ``--resume``. Exit status: 0
when all is well, 2 for input that cannot be used (one sentence says what and what instead), 130 when interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from mplib.errors import MplibError, unknown


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the words after ``mplib``; those of the process if None.

    Returns:
        The exit status.

    Example:
        >>> main(["evaluate", "nowhere.safetensors", "--data", "digits"])
        2
    """
    given = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = given.command
    try:
        command(given)
    except MplibError as error:
        print(f"mplib: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("mplib: interrupted; the same command with --resume goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def meta_train(given: argparse.Namespace) -> None:
    """``mplib meta-train``: learn a phi."""
    import mplib

    folder = _output(given)
    size = given.image_size
    tasks = mplib.data.split_tasks(
        mplib.data.load(given.data, image_size=size), given.tasks, given.split_seed, given.classes_per_group
    )
    run = mplib.meta_train(
        tasks,
        net=given.net if len(given.net) > 1 else given.net[0],
        steps=given.steps,
        batch_size=given.batch_size,
        clip=given.clip,
        width=given.width,
        seed=given.seed,
        device=given.device,
        checkpoint=folder / "checkpoint.pt",
        checkpoint_every=given.checkpoint_every,
        resume=given.resume,
        progress=_show_progress(given),
    )
    run.phi.save(folder / "phi.safetensors")
    _write_table(run.history.frame(), folder / "history.csv")
    _record(given, folder)
    last = run.history.rows[-1]
    print(
        f"validation loss {last['valid_loss']:.3f} after {last['step']} steps; phi is in {folder / 'phi.safetensors'}"
    )


def transfer(given: argparse.Namespace) -> None:
    """``mplib transfer``: train on a target with each method and seed, and compare."""
    import mplib
    from mplib.experiments import METHODS, Transfer, compare
    from mplib.runs import RunStore

    for method in given.methods:
        if method not in METHODS:
            raise unknown("method", method, METHODS)
    folder = _output(given)
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
        progress=_show_progress(given),
    )
    _report(rows, given.methods, folder)
    _record(given, folder)


def evaluate(given: argparse.Namespace) -> None:
    """``mplib evaluate``: score a saved network."""
    import mplib
    from mplib import devices

    net, _ = mplib.load_network(given.network)
    data = mplib.data.load(given.data, image_size=given.image_size or cast(int, net.image_size))
    metrics = mplib.evaluate(net.to(devices.resolve(given.device)), data.test, samples=given.samples, seed=given.seed)
    _print_or_write({"network": str(given.network), "data": data.name, **metrics.row()}, given.out)


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
        _write_table(pd.DataFrame(rows), Path(given.out))


def data_list(given: argparse.Namespace) -> None:
    """``mplib data list``: the data sets that can be had by name."""
    import mplib

    for name in mplib.data.names():
        print(f"{name:16} {mplib.data.describe(name).title}")


def data_get(given: argparse.Namespace) -> None:
    """``mplib data get``: load a data set, downloading it if need be, and say what it holds."""
    import mplib

    data = mplib.data.load(given.name, image_size=given.image_size)
    print(f"{data!r}\nlicence: {data.licence}\ncitation: {data.citation}\nfingerprint: {data.fingerprint}")


def info(given: argparse.Namespace) -> None:
    """``mplib info``: versions and device, or what a file holds."""
    import mplib
    from mplib import devices
    from mplib.provenance import environment

    if given.file is None:
        record: dict[str, Any] = dict(environment(devices.resolve(given.device)))
        record.update(networks=mplib.nets.names(), data=mplib.data.names())
        _print_or_write(record, None)
        return
    try:
        phi = load_phi(given.file)
        _print_or_write({"kind": "phi", "parameters": 82, "provenance": phi.provenance}, None)
    except MplibError as not_a_phi:
        try:
            net, provenance = mplib.load_network(given.file)
        except MplibError:
            raise not_a_phi from None
        sites = [str(site) for site in mplib.sites(net)]
        _print_or_write(
            {"kind": "network", **cast(dict[str, Any], net.arguments), "sites": sites, "provenance": provenance}, None
        )


def load_phi(name: str) -> Any:
    """A phi by what a user writes: ``pretrained``, ``pretrained:NAME``, ``official:FILE``, or a file of ours."""
    from mplib.perturb import MetaPerturb

    kind, _, rest = name.partition(":")
    if kind == "pretrained":
        return MetaPerturb.from_pretrained(rest) if rest else MetaPerturb.from_pretrained()
    if kind == "official":
        return MetaPerturb.from_official(rest)
    return MetaPerturb.load(name)


def _report(rows: list[dict[str, Any]], methods: list[str], folder: Path) -> None:
    from mplib.runs import table
    from mplib.stats import mean_interval

    _write_table(table(rows).drop(columns=["history", "site_moments"], errors="ignore"), folder / "results.csv")
    for method in methods:
        results = [row["result"] for row in rows if row["config"]["method"] == method]
        parts = []
        for score in ("accuracy", "nll", "ece"):
            interval = mean_interval([result[score] for result in results])
            spread = f" [{interval.low:.4f}, {interval.high:.4f}]" if interval.n > 1 else ""
            parts.append(f"{score} {interval.mean:.4f}{spread}")
        print(f"{method:10} {'  '.join(parts)}  (n={len(results)} seeds)")
    print(f"rows, networks and results.csv are in {folder}")


def _output(given: argparse.Namespace) -> Path:
    folder = Path(given.out)
    if folder.is_file():
        raise MplibError(f"--out is {folder}, which is a file, expected a folder")
    if folder.is_dir() and any(folder.iterdir()) and not given.resume:
        raise MplibError(f"--out is {folder}, which is not empty, expected a new folder, or --resume to go on there")
    # Fail before hours of work, not after them, and leave nothing that would be in the way of a better try.
    from mplib.files import write_text

    probe = folder / ".writable"
    write_text(probe, "")
    probe.unlink()
    return folder


def _record(given: argparse.Namespace, folder: Path) -> None:
    from mplib.files import write_json

    write_json(folder / "command.json", {key: value for key, value in vars(given).items() if key != "command"})


def _write_table(frame: Any, path: Path) -> None:
    from mplib.files import write_text

    write_text(path, frame.to_csv(index=False))


def _print_or_write(record: dict[str, Any], path: str | None) -> None:
    if path is None:
        print(json.dumps(record, indent=2, default=str))
    else:
        from mplib.files import write_json

        write_json(path, record)


def _show_progress(given: argparse.Namespace) -> bool:
    return not given.quiet and sys.stderr.isatty()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mplib", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    add = _adder(commands)
    learn = add("meta-train", meta_train, "learn a phi jointly on many tasks cut from one data set")
    _data_options(learn, default="photos")
    learn.add_argument("--tasks", type=int, default=8, help="number of tasks, even: mirrored halves (default: 8)")
    learn.add_argument("--classes-per-group", type=int, help="classes in a task (default: all classes shared out)")
    learn.add_argument("--split-seed", type=int, default=0, help="seed of the split into tasks (default: 0)")
    learn.add_argument(
        "--net", type=_words, default=["resnet20"], help="network, or one for each task: a,b,c (default: resnet20)"
    )
    learn.add_argument("--seed", type=int, default=0, help="seed of phi, networks, batches and noise (default: 0)")
    learn.add_argument("--checkpoint-every", type=int, default=50, help="steps between checkpoints (default: 50)")
    _training_options(learn, steps=750)

    move = add("transfer", transfer, "train on a target data set with several methods and seeds, and compare them")
    _data_options(move, default="mnist5k")
    move.add_argument("--methods", type=_words, default=["none", "untrained", "noise", "phi"],
                      help="none, untrained, noise, phi (default: all four)")  # fmt: skip
    move.add_argument("--phi", default="pretrained", help="pretrained, official:FILE, or a file of meta-train")
    move.add_argument("--net", default="conv4", help="network (default: conv4)")
    move.add_argument("--per-class", type=int, help="training images of each class (default: all)")
    move.add_argument("--seeds", type=_numbers, default=[0, 1, 2], help="seeds, paired over methods (default: 0,1,2)")
    move.add_argument("--jobs", type=int, default=1, help="processes side by side on a CPU (default: 1)")
    move.add_argument("--samples", type=int, default=100, help="Monte-Carlo samples of the test (default: 100)")
    move.add_argument(
        "--from", dest="start", metavar="NETWORK", help="fine-tune: start from this network's convolutions"
    )
    _training_options(move, steps=10_000)

    score = add("evaluate", evaluate, "score a saved network on the test images of a data set")
    score.add_argument("network", help="a network that transfer saved")
    score.add_argument("--data", required=True, help="name of the data set")
    score.add_argument("--image-size", type=int, help="pixels (default: what the network was built for)")
    score.add_argument("--samples", type=int, default=100, help="Monte-Carlo samples (default: 100)")
    score.add_argument("--seed", type=int, default=0, help="seed of the noise (default: 0)")
    score.add_argument("--device", default="auto", help="auto, cpu, cuda (default: auto)")
    score.add_argument("--out", help="write the scores to this file as JSON (default: print them)")

    cost = add("bench", bench, "time a training step with and without the perturbation, as ratios of one run")
    cost.add_argument("--net", type=_words, default=["resnet20", "conv4"], help="networks (default: resnet20,conv4)")
    cost.add_argument("--batch-sizes", type=_numbers, default=[128], help="images a step (default: 128)")
    cost.add_argument("--image-size", type=int, default=32, help="pixels (default: 32)")
    cost.add_argument("--width", type=int, help="channels of conv4 and conv6 (default: theirs)")
    cost.add_argument("--turns", type=int, default=15, help="counted rounds (default: 15)")
    cost.add_argument("--device", default="auto", help="auto, cpu, cuda (default: auto)")
    cost.add_argument("--out", help="write the rows to this file as CSV")

    about_data = commands.add_parser("data", help="list data sets, or load one").add_subparsers(
        required=True, metavar="WHAT"
    )
    add_data = _adder(about_data)
    add_data("list", data_list, "the data sets that can be had by name")
    get = add_data("get", data_get, "load a data set, downloading it if need be, and say what it holds")
    get.add_argument("name", help="name of the data set")
    get.add_argument("--image-size", type=int, default=32, help="pixels (default: 32)")

    about = add("info", info, "versions, device, networks and data sets; or what a phi or a network holds")
    about.add_argument("file", nargs="?", help="a file, or pretrained, or official:FILE")
    about.add_argument("--device", default="auto", help="auto, cpu, cuda (default: auto)")
    return parser


def _adder(commands: Any) -> Callable[..., argparse.ArgumentParser]:
    def add(name: str, command: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
        parser.set_defaults(command=command)
        return parser

    return add


def _data_options(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument("--data", default=default, help=f"name of the data set (default: {default})")
    parser.add_argument("--image-size", type=int, default=32, help="pixels (default: 32)")


def _training_options(parser: argparse.ArgumentParser, steps: int) -> None:
    parser.add_argument("--width", type=int, help="channels of conv4 and conv6 (default: theirs)")
    parser.add_argument("--steps", type=int, default=steps, help=f"steps (default: {steps})")
    parser.add_argument("--batch-size", type=int, default=128, help="images a step (default: 128)")
    parser.add_argument(
        "--clip", type=_clip, default=100.0, help="upper bound of perturbed maps, or none (default: 100)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda (default: auto)")
    parser.add_argument("--out", required=True, help="folder for the results")
    parser.add_argument("--resume", action="store_true", help="go on with what is in --out")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def _words(text: str) -> list[str]:
    words = [word for word in text.split(",") if word]
    if not words:
        raise argparse.ArgumentTypeError(f"{text!r} is empty, expected names separated by commas")
    return words


def _numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in _words(text)]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of integers, expected for example 0,1,2") from None


def _clip(text: str) -> float | None:
    if text == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, expected one above 0, or none") from None
