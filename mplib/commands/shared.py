"""What several commands need: output folders, tables, a phi by its name, and the options they have in common."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mplib.errors import MplibError


def load_phi(name: str) -> Any:
    """A phi by what a user writes: ``pretrained``, ``pretrained:NAME``, ``official:FILE``, or a file of ours."""
    from mplib.perturb import MetaPerturb

    kind, _, rest = name.partition(":")
    if kind == "pretrained":
        return MetaPerturb.from_pretrained(rest) if rest else MetaPerturb.from_pretrained()
    if kind == "official":
        return MetaPerturb.from_official(rest)
    return MetaPerturb.load(name)


def output_folder(given: argparse.Namespace) -> Path:
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


def record_command(given: argparse.Namespace, folder: Path) -> None:
    from mplib.files import write_json

    write_json(folder / "command.json", {key: value for key, value in vars(given).items() if key != "command"})


def write_table(frame: Any, path: Path) -> None:
    from mplib.files import write_text

    write_text(path, frame.to_csv(index=False))


def print_or_write(record: dict[str, Any], path: str | None) -> None:
    if path is None:
        print(json.dumps(record, indent=2, default=str))
    else:
        from mplib.files import write_json

        write_json(path, record)


def show_progress(given: argparse.Namespace) -> bool:
    return not given.quiet and sys.stderr.isatty()


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int | None], text: str, examples: str
) -> argparse.ArgumentParser:
    """A sub-command with its one line of help and lines to copy; ``run`` gets what was parsed."""
    lines = ["examples:" if "\n" in examples else "example:", *(f"  {line}" for line in examples.splitlines())]
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text,
        epilog="\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    return parser


PHI = "pretrained, pretrained:NAME, official:FILE, or a file that meta-train wrote"


def device_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")


def image_size_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--image-size", type=int, metavar="PIXELS", default=32, help="side of an image (default: 32)")


def width_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--width", type=int, metavar="N", help="channels of conv4 and conv6 (default: 32)")


def resume_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--resume", action="store_true", help="go on with what is in --out")


def quiet_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def data_options(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument("--data", metavar="NAME", default=default, help=f"data set (default: {default})")
    image_size_option(parser)
    text = "never mirror a training image: for signs, letters and digits in folders of your own"
    parser.add_argument("--no-flip", action="store_true", help=text)


def load_data(given: argparse.Namespace) -> Any:
    """The data set of :func:`data_options`; one that is not to be mirrored says so in its name, and so in its rows."""
    from dataclasses import replace

    import mplib

    data = mplib.data.load(given.data, image_size=given.image_size)
    return replace(data, name=f"{data.name}[flip=False]", flip=False) if given.no_flip and data.flip else data


def training_options(parser: argparse.ArgumentParser, steps: int) -> None:
    width_option(parser)
    parser.add_argument("--steps", type=int, metavar="N", default=steps, help=f"training steps (default: {steps:,})")
    parser.add_argument("--batch-size", type=int, metavar="N", default=128, help="images a step (default: 128)")
    text = "upper bound of perturbed maps, or none (default: 100)"
    parser.add_argument("--clip", type=clip, metavar="BOUND", default=100.0, help=text)
    device_option(parser)
    parser.add_argument("--out", metavar="FOLDER", required=True, help="folder for the results")
    resume_option(parser)
    quiet_option(parser)


def words(text: str) -> list[str]:
    words = [word for word in text.split(",") if word]
    if not words:
        raise argparse.ArgumentTypeError(f"{text!r} is empty, expected names separated by commas")
    return words


def numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in words(text)]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of integers, expected for example 0,1,2") from None


def clip(text: str) -> float | None:
    if text == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, expected one above 0, or none") from None
