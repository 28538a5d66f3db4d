"""``mplib info``: versions and device, or what a file holds."""

from __future__ import annotations

import argparse
from typing import Any, cast

from mplib.commands.shared import add_command, device_option, load_phi, print_or_write
from mplib.errors import MplibError

EXAMPLES = """\
mplib info                          what is installed, and the names of networks, data sets and phis
mplib info pretrained:photos-9      the model card of a phi"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    text = "versions, device, networks and data sets; or what a phi or a network holds"
    about = add_command(commands, "info", info, text, EXAMPLES)
    text = "a phi or a network: a file, official:FILE, or pretrained:NAME for its model card"
    about.add_argument("file", metavar="FILE", nargs="?", help=text)
    device_option(about)


def info(given: argparse.Namespace) -> None:
    """``mplib info``: versions and device, or what a file holds."""
    import mplib
    from mplib import devices
    from mplib.cards import card
    from mplib.perturb import pretrained_names
    from mplib.provenance import environment

    if given.file is not None and given.file.partition(":")[0] == "pretrained":
        print(card(given.file.partition(":")[2] or "photos"))
        return
    if given.file is None:
        record: dict[str, Any] = dict(environment(devices.resolve(given.device)))
        record.update(networks=mplib.nets.names(), data=mplib.data.names(), phis=pretrained_names())
        print_or_write(record, None)
        return
    try:
        phi = load_phi(given.file)
        print_or_write({"kind": "phi", "parameters": 82, "provenance": phi.provenance}, None)
    except MplibError as not_a_phi:
        try:
            net, provenance = mplib.load_network(given.file)
        except MplibError:
            raise not_a_phi from None
        sites = [str(site) for site in mplib.sites(net, cast(int, net.image_size))]
        print_or_write(
            {"kind": "network", **cast(dict[str, Any], net.arguments), "sites": sites, "provenance": provenance}, None
        )
