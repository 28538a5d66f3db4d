"""``mplib evaluate``: score a saved network."""

from __future__ import annotations

import argparse
from typing import Any, cast

from mplib.commands.shared import add_command, print_or_write


def add(commands: Any) -> None:
    """Add the command to the parser."""
    score = add_command(commands, "evaluate", evaluate, "score a saved network on the test images of a data set")
    score.add_argument("network", help="a network that transfer saved")
    score.add_argument("--data", required=True, help="name of the data set")
    score.add_argument("--image-size", type=int, help="pixels (default: what the network was built for)")
    score.add_argument(
        "--samples", type=int, default=100, help="Monte-Carlo samples, or 0: the mean of the noise (default: 100)"
    )
    score.add_argument("--seed", type=int, default=0, help="seed of the noise (default: 0)")
    score.add_argument("--device", default="auto", help="auto, cpu, cuda (default: auto)")
    score.add_argument("--out", help="write the scores to this file as JSON (default: print them)")


def evaluate(given: argparse.Namespace) -> None:
    """``mplib evaluate``: score a saved network."""
    import mplib
    from mplib import devices

    net, _ = mplib.load_network(given.network)
    data = mplib.data.load(given.data, image_size=given.image_size or cast(int, net.image_size))
    metrics = mplib.evaluate(net.to(devices.resolve(given.device)), data.test, samples=given.samples, seed=given.seed)
    print_or_write({"network": str(given.network), "data": data.name, **metrics.row()}, given.out)
