"""``mplib evaluate``: score a saved network."""

from __future__ import annotations

import argparse
from typing import Any, cast

from mplib.commands.shared import add_command, device_option, print_or_write


def add(commands: Any) -> None:
    """Add the command to the parser."""
    text = "score a saved network on the test images of a data set"
    example = "mplib evaluate first/networks/KEY.safetensors --data mnist5k"
    score = add_command(commands, "evaluate", evaluate, text, example)
    score.add_argument("network", metavar="NETWORK", help="file of a network that transfer saved")
    score.add_argument("--data", metavar="NAME", required=True, help="data set")
    text = "side of an image (default: what the network was built for)"
    score.add_argument("--image-size", type=int, metavar="PIXELS", help=text)
    text = "draws of the noise that a prediction averages, or 0: one pass with the mean of the noise (default: 100)"
    score.add_argument("--samples", type=int, metavar="N", default=100, help=text)
    score.add_argument("--seed", type=int, metavar="N", default=0, help="seed of the noise (default: 0)")
    device_option(score)
    score.add_argument("--out", metavar="FILE", help="write the scores to this file as JSON (default: print them)")


def evaluate(given: argparse.Namespace) -> None:
    """``mplib evaluate``: score a saved network."""
    import mplib
    from mplib import devices

    net, _ = mplib.load_network(given.network)
    data = mplib.data.load(given.data, image_size=given.image_size or cast(int, net.image_size))
    metrics = mplib.evaluate(net.to(devices.resolve(given.device)), data.test, samples=given.samples, seed=given.seed)
    print_or_write({"network": str(given.network), "data": data.name, **metrics.row()}, given.out)
