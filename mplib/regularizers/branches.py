"""Where the branch of each residual block ends: found in the network as it runs, not by the names of its modules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mplib.errors import MplibError
from mplib.evaluation import eval_mode
from mplib.interception import is_map_addition, tensors_among


def branches(net: nn.Module, image_size: int) -> list[str]:
    """The modules whose outputs are the branches of a network's sums, in the order in which they run.

    Of the two maps that a sum adds, the branch is the one with more convolutions behind it.

    Args:
        net: a plain network.
        image_size: side of its images in pixels.

    Returns:
        Names as in ``named_modules``.

    Raises:
        MplibError: the network adds no maps of equal shape, or a branch is not what some module returns.

    Example:
        >>> import mplib
        >>> branches(mplib.nets.build("resnet20", num_classes=2), 32)[:2]
        ['stages.0.0.bn2', 'stages.0.1.bn2']
    """
    conv = next((module for module in net.modules() if isinstance(module, nn.Conv2d)), None)
    channels = 3 if conv is None else conv.in_channels
    place = next(net.parameters()).device
    names = {module: name for name, module in net.named_modules()}
    outputs: dict[int, str] = {}
    alive: list[Tensor] = []  # so that an id stands for one tensor

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            alive.append(output)
            outputs.setdefault(id(output), names[module])

    handles = [module.register_forward_hook(leave) for module in net.modules()]
    try:
        with eval_mode(net), torch.enable_grad(), _Sums() as sums:
            images = torch.zeros(2, channels, image_size, image_size, device=place, requires_grad=True)
            net(images)
    finally:
        for handle in handles:
            handle.remove()
    if not sums.branches:
        raise MplibError(
            f"{type(net).__name__} adds no maps of equal shape, expected a residual network for stochastic depth"
        )
    if not all(id(end) in outputs for end in sums.branches):
        raise MplibError(f"a branch of {type(net).__name__} is not the output of a module, expected one that is")
    return [outputs[id(end)] for end in sums.branches]


class _Sums(TorchFunctionMode):
    """Writes down the branch of each sum while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self.branches: list[Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if is_map_addition(func, args, kwargs):
            pair = tensors_among(args, kwargs)
            if pair[0].shape == pair[1].shape:
                # Counted now: after an addition in place the tensor has another history.
                self.branches.append(max(pair, key=_convolutions_behind))
        return func(*args, **kwargs)


def _convolutions_behind(x: Tensor) -> int:
    seen: set[Any] = set()
    waiting = [x.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [parent for parent, _ in node.next_functions]
    return sum("Convolution" in node.name() for node in seen)
