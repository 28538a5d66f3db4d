"""``mplib attack``: what is left of a saved network's accuracy when images are moved against it."""

from __future__ import annotations

import argparse
from fractions import Fraction
from typing import Any, cast

from mplib.adversaries import AVERAGES, METHODS, NORMS
from mplib.commands.shared import add_command, print_or_write, words


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = add_command(commands, "attack", attack, "score a saved network on test images that were moved against it")
    parser.add_argument("network", help="a network that transfer saved")
    parser.add_argument("--data", required=True, help="name of the data set")
    parser.add_argument("--norm", default="linf", help=f"{', '.join(NORMS)} (default: linf)")
    parser.add_argument(
        "--eps", type=radii, default=[8 / 255], help="radii, for pixels in [0, 1], e.g. 0.01,8/255 (default: 8/255)"
    )
    parser.add_argument("--method", default="pgd", help=f"{', '.join(METHODS)} (default: pgd)")
    parser.add_argument("--steps", type=int, default=200, help="steps (default: 200)")
    parser.add_argument("--eot", type=int, default=10, help="draws of the noise that a step averages (default: 10)")
    parser.add_argument("--average", default="gradients", help=f"{', '.join(AVERAGES)} (default: gradients)")
    parser.add_argument("--step-size", type=float, help="as a part of eps (default: 0.025, for l1 0.033)")
    parser.add_argument("--restarts", type=int, default=1, help="attempts at each image (default: 1)")
    parser.add_argument("--images", type=int, help="how many test images (default: all)")
    parser.add_argument("--samples", type=int, default=20, help="Monte-Carlo samples of a prediction (default: 20)")
    parser.add_argument("--surrogate", help="a saved network to take the gradients of (a transfer attack)")
    parser.add_argument("--seed", type=int, default=0, help="seed of starts and noise (default: 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda (default: auto)")
    parser.add_argument("--out", help="write the scores to this file as JSON (default: print them)")


def attack(given: argparse.Namespace) -> None:
    """``mplib attack``: score a saved network under attack."""
    import mplib
    from mplib import devices

    place = devices.resolve(given.device)
    net = mplib.load_network(given.network)[0].to(place)
    surrogate = None if given.surrogate is None else mplib.load_network(given.surrogate)[0].to(place)
    data = mplib.data.load(given.data, image_size=cast(int, net.image_size))
    names = ("norm", "eps", "steps", "eot", "average", "method", "step_size", "restarts", "images", "samples", "seed")
    options = {name: getattr(given, name) for name in names}
    scores = mplib.attack(net, data.test, surrogate=surrogate, **options)
    record = {"network": str(given.network), "data": data.name, "attacks": [metrics.row() for metrics in scores]}
    print_or_write(record, given.out)


def radii(text: str) -> list[float]:
    try:
        return [float(Fraction(word)) if "/" in word else float(word) for word in words(text)]
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of radii, expected for example 0.01,8/255") from None
