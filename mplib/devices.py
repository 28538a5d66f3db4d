"""Which device to run on, and what to call it in a record."""

from __future__ import annotations

import platform

import torch

from mplib.errors import MplibError


def resolve(device: str | torch.device = "auto") -> torch.device:
    """The device for a name.

    Args:
        device: ``"auto"`` (a GPU if there is one, else the CPU), or any name that torch knows.

    Raises:
        MplibError: torch does not know the name, or the device is not there.

    Example:
        >>> resolve("cpu")
        device(type='cpu')
    """
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise MplibError(
            f"device {str(device)!r} cannot be used here, expected auto, cpu or a GPU such as cuda:0"
        ) from error
    return found


def describe(device: torch.device) -> str:
    """The device as a record names it: a GPU by its model, the CPU by its architecture and number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{device.type} ({platform.machine()}, {threads} thread{'s' if threads > 1 else ''})"
