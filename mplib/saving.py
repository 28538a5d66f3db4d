"""A trained network on disk: its tensors, and what it takes to build it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from mplib import nets
from mplib.attachment import attach, perturbation_of
from mplib.checkpoints import PathLike, read_tensors, write_tensors
from mplib.errors import MplibError
from mplib.perturb import MetaPerturb
from mplib.regularizers import Settings, Start, find


def save_network(
    net: nn.Module,
    path: PathLike,
    provenance: Mapping[str, Any] | None = None,
    method: str | None = None,
    options: Settings | None = None,
) -> None:
    """Write a network of :func:`mplib.nets.build`, with what is attached to it, to a safetensors file.

    Args:
        net: the network.
        path: the file to write.
        provenance: anything worth keeping with it, as values that JSON can hold.
        method: the registered method that made what is attached; if None, a phi or plain noise.
        options: settings of that method that are not its defaults.

    Raises:
        MplibError: a network of another make, or a folder that cannot be written to.
    """
    arguments = getattr(net, "arguments", None)
    if arguments is None:
        raise MplibError(
            f"the network is a {type(net).__name__}, expected one of mplib.nets.build "
            "(save others with their state_dict)"
        )
    perturbation = perturbation_of(net)
    attached = None
    if perturbation is not None:
        kind = method or ("phi" if isinstance(perturbation.phi, MetaPerturb) else "noise")
        # Sites that the user named are named again; others are found again by the same rule.
        named = [site.name for site in perturbation.sites if site.kind == "named"]
        settings = {"clip": perturbation.clip, "channel_ref": perturbation.channel_ref, "sites": named or None}
        attached = {"kind": kind, "options": dict(options or {}), **settings}
    metadata = {"kind": "network", "arguments": arguments, "attached": attached, "provenance": dict(provenance or {})}
    write_tensors(path, net.state_dict(), metadata)


def load_network(path: PathLike) -> tuple[nn.Module, dict[str, Any]]:
    """Build a network again from its file.

    Args:
        path: a file of :func:`save_network`.

    Returns:
        The network in eval mode, with its perturbation at full strength, and the provenance that was saved with it.

    Raises:
        MplibError: the file is missing, damaged, or holds something else.

    Example:
        >>> import mplib, tempfile, pathlib
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "net.safetensors"
        >>> net = mplib.attach(mplib.nets.build("conv4", 3, 16, width=4), mplib.MetaPerturb(), image_size=16)
        >>> save_network(net, file, {"note": "fresh"})
        >>> again, provenance = load_network(file)
        >>> len(mplib.sites(again)), provenance
        (4, {'note': 'fresh'})
    """
    tensors, metadata = read_tensors(path, "network")
    try:
        net = nets.build(**metadata["arguments"])
        attached = metadata["attached"]
        if attached is not None:
            size = metadata["arguments"]["image_size"]
            method = find(attached["kind"])
            # The numbers come with the tensors; here only what holds them is made.
            moments = [(1.0, 0.5)] * sum(name.endswith(".deviation") for name in tensors)
            start = Start(net, size, method.resolve(attached.get("options", {})), MetaPerturb(), moments)
            perturbation = method.perturbation(start)
            assert perturbation is not None
            attach(
                net,
                perturbation,
                image_size=size,
                clip=attached["clip"],
                channel_ref=attached["channel_ref"],
                sites=attached["sites"],
            )
        net.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError) as error:
        raise MplibError(f"{path} does not describe a network that this version can build ({error})") from error
    return net.eval(), metadata.get("provenance", {})
