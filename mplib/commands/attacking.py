"""``mplib attack``: what is left of a saved network's accuracy when images are moved against it."""

from __future__ import annotations

import argparse
from fractions import Fraction
from typing import Any, cast

from mplib.adversaries import AVERAGES, METHODS, NORMS
from mplib.commands.shared import add_command, device_option, print_or_write, words


def add(commands: Any) -> None:
    """Add the command to the parser."""
    text = "score a saved network on test images that were moved against it"
    example = "mplib attack first/networks/KEY.safetensors --data mnist5k --norm linf --eps 0.03,8/255 --images 200"
    parser = add_command(commands, "attack", attack, text, example)
    parser.add_argument("network", metavar="NETWORK", help="file of a network that transfer saved")
    parser.add_argument("--data", metavar="NAME", required=True, help="data set")
    parser.add_argument("--norm", metavar="NORM", default="linf", help=f"{', '.join(NORMS)} (default: linf)")
    text = "radii, for pixels in [0, 1], such as 0.01,8/255 (default: 8/255)"
    parser.add_argument("--eps", type=radii, metavar="RADII", default=[8 / 255], help=text)
    parser.add_argument("--method", metavar="NAME", default="pgd", help=f"{', '.join(METHODS)} (default: pgd)")
    parser.add_argument("--steps", type=int, metavar="N", default=200, help="steps of the attack (default: 200)")
    text = "draws of the noise that a step averages (default: 10)"
    parser.add_argument("--eot", type=int, metavar="N", default=10, help=text)
    text = f"what a step averages: {', '.join(AVERAGES)} (default: gradients)"
    parser.add_argument("--average", metavar="WHAT", default="gradients", help=text)
    text = "size of a step, as a part of eps (default: 0.025, for l1 0.033)"
    parser.add_argument("--step-size", type=float, metavar="PART", help=text)
    parser.add_argument("--restarts", type=int, metavar="N", default=1, help="attempts at each image (default: 1)")
    parser.add_argument("--images", type=int, metavar="N", help="how many test images (default: all)")
    text = "draws of the noise that a prediction averages (default: 20)"
    parser.add_argument("--samples", type=int, metavar="N", default=20, help=text)
    text = "another saved network, whose gradients are taken (a transfer attack)"
    parser.add_argument("--surrogate", metavar="NETWORK", help=text)
    parser.add_argument("--seed", type=int, metavar="N", default=0, help="seed of starts and noise (default: 0)")
    device_option(parser)
    parser.add_argument("--out", metavar="FILE", help="write the scores to this file as JSON (default: print them)")


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
