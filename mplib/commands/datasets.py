"""``mplib data``: what there is to train on, and carrying it to another machine."""

from __future__ import annotations

import argparse
import os
from typing import Any

from mplib.commands.shared import add_command, image_size_option
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
    text = "the data sets that can be had by name, and which are at hand"
    add_command(about_data, "list", data_list, text, "mplib data list")
    text = "licence, citation, sizes, protocol, and how to have a data set"
    info = add_command(about_data, "info", data_info, text, "mplib data info mnist5k")
    text = "load a data set, downloading it if need be, and say what it holds"
    get = add_command(about_data, "get", data_get, text, "mplib data get digits --image-size 16")
    text = "cut a data set into folders of limited size, to carry to another machine"
    pack = add_command(about_data, "pack", data_pack, text, "mplib data pack tiny_imagenet --out pieces")
    for parser in (info, get, pack):
        parser.add_argument("name", metavar="NAME", help="name of the data set")
    image_size_option(get)
    pack.add_argument("--out", metavar="FOLDER", required=True, help="folder for the pieces")
    text = "the most that a piece may hold (default: 60)"
    pack.add_argument("--max-mib", type=float, metavar="MIB", default=60, help=text)
    pack.add_argument("--split", metavar="NAME", help="pack only this split (default: all)")
    text = "decode at so many pixels first; needed unless it is in shards"
    pack.add_argument("--image-size", type=int, metavar="PIXELS", help=text)


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
