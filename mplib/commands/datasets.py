"""``mplib data``: what there is to train on, and carrying it to another machine."""

from __future__ import annotations

import argparse
import os
from typing import Any

from mplib.commands.shared import add_command
from mplib.errors import MplibError


def add(commands: Any) -> None:
    """Add the command to the parser."""
    data = commands.add_parser(
        "data",
        help="list data sets, describe, load or pack one",
        description="List data sets, describe, load or pack one. $MPLIB_DATA names the folders that hold them (several "
        f"separated by {os.pathsep!r}; the first gets the downloads; default: ~/.cache/mplib). Decoded images are kept "
        "in $MPLIB_CACHE (default: ~/.cache/mplib/decoded; off keeps nothing).",
    )
    about_data = data.add_subparsers(required=True, metavar="WHAT")
    add_command(about_data, "list", data_list, "the data sets that can be had by name, and which are at hand")
    info = add_command(about_data, "info", data_info, "licence, citation, sizes, protocol, and how to have a data set")
    info.add_argument("name", help="name of the data set")
    get = add_command(about_data, "get", data_get, "load a data set, downloading it if need be, and say what it holds")
    get.add_argument("name", help="name of the data set")
    get.add_argument("--image-size", type=int, default=32, help="pixels (default: 32)")
    pack = add_command(
        about_data, "pack", data_pack, "cut a data set into folders of limited size, to carry to another machine"
    )
    pack.add_argument("name", help="name of the data set")
    pack.add_argument("--out", required=True, help="folder for the pieces")
    pack.add_argument("--max-mib", type=float, default=60, help="the most that a piece may hold (default: 60)")
    pack.add_argument("--split", help="pack only this split (default: all)")
    pack.add_argument("--image-size", type=int, help="decode at so many pixels first; needed unless it is in shards")


def data_list(given: argparse.Namespace) -> None:
    """``mplib data list``: the data sets that can be had by name, and which are at hand."""
    import mplib

    for name in mplib.data.names():
        try:
            about = mplib.data.describe(name)
            print(f"{name:16} {'at hand' if about.present else '-':8} {about.title}")
        except MplibError as error:
            print(f"{name:16} {'broken':8} {error}")


def data_info(given: argparse.Namespace) -> None:
    """``mplib data info``: licence, citation, sizes, protocol, and how to have a data set."""
    import mplib

    print(mplib.data.describe(given.name))


def data_get(given: argparse.Namespace) -> None:
    """``mplib data get``: load a data set, downloading it if need be, and say what it holds."""
    import mplib

    data = mplib.data.load(given.name, image_size=given.image_size)
    print(f"{data!r}\nlicence: {data.licence}\ncitation: {data.citation}\nfingerprint: {data.fingerprint}")


def data_pack(given: argparse.Namespace) -> None:
    """``mplib data pack``: cut a data set into folders of limited size, to carry to another machine."""
    from mplib.data.packing import pack

    places = pack(given.name, given.out, given.max_mib, given.split, given.image_size)
    for place in places:
        size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
        print(f"{place}  {size / 2**20:.1f} MiB")
    print(f"to load it: MPLIB_DATA={os.pathsep.join(map(str, places))}")
