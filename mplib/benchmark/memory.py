"""Memory of a training step, measured: what a perturbation keeps for backward, and the peak of a GPU."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from mplib.attachment import observed_sites
from mplib.errors import MplibError
from mplib.footprint import kept_bytes


def peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """The most memory that a piece of work takes on a GPU beyond what was taken before, in bytes.

    Raises:
        MplibError: the device does not count its memory.
    """
    if device.type != "cuda":
        raise MplibError(f"the device is {device}, expected a GPU: no other one tells the peak of its memory")
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    work()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def extra_copies(plain: Callable[[], object], perturbed: Callable[[], object], net: nn.Module) -> float:
    """How many more copies of the sites' feature maps a perturbed network keeps for backward than a plain one.

    Args:
        plain: forward pass of the network alone.
        perturbed: forward pass with a perturbation at each site.
        net: the perturbed network, whose sites say how large the maps are.

    Returns:
        Extra bytes kept, over the bytes of one map at each site.
    """
    with observed_sites(net) as calls:
        more = kept_bytes(perturbed) - kept_bytes(plain)
        maps = sum(call.x.numel() * call.x.element_size() for call in calls)
    return more / maps
