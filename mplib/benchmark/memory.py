"""Memory of a training step: what is kept for backward, counted, and the peak, where the device tells it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mplib.attachment import observed_sites
from mplib.errors import MplibError


def kept_bytes(forward: Callable[[], object]) -> int:
    """Bytes that a forward pass keeps for its backward pass, parameters and inputs among them.

    Each piece of memory counts once, however many operations keep it. What a function of our own keeps outside
    autograd (a few numbers a channel) is not seen.

    Args:
        forward: makes a graph and returns its end.

    Example:
        >>> x = torch.ones(256, requires_grad=True)
        >>> kept_bytes(lambda: x.exp()), kept_bytes(lambda: x.exp().exp()), kept_bytes(lambda: x + 1)
        (1024, 2048, 0)
    """
    kept: list[Tensor] = []  # held until they are counted, so that no two of them have the same address

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    sizes = {part.data_ptr(): part.nbytes() for part in (tensor.untyped_storage() for tensor in kept)}
    return sum(sizes.values())


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
