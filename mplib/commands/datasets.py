"""``mplib data``: what there is to train on."""

from __future__ import annotations

import argparse
from typing import Any

from mplib.commands.shared import add_command


def add(commands: Any) -> None:
    """Add the command to the parser."""
    about_data = commands.add_parser("data", help="list data sets, or load one").add_subparsers(
        required=True, metavar="WHAT"
    )
    add_command(about_data, "list", data_list, "the data sets that can be had by name")
    get = add_command(about_data, "get", data_get, "load a data set, downloading it if need be, and say what it holds")
    get.add_argument("name", help="name of the data set")
    get.add_argument("--image-size", type=int, default=32, help="pixels (default: 32)")


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
