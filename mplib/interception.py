"""Getting at one feature map inside a network, without tracing or rewriting the network.

Two places can be reached, and what is there replaced by something else:

* what a module returns, by a forward hook;
* the result of one addition inside a module's forward, with more after it: that forward runs under a mode of
  torch's, which sees every function that is called on tensors and so counts the additions.

Nothing here is a closure, so ``copy.deepcopy`` and ``pickle`` of a network take along what is attached to it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Replace = Callable[[int, Tensor], Tensor]
"""From the index of a place and the map that is there to the map that takes its place."""

_ADDITIONS = {"add", "add_", "__add__", "__iadd__", "__radd__"}


class Removable(Protocol):
    """Something attached to a module that can be taken off again."""

    def remove(self) -> None: ...


def replace_output(module: nn.Module, replace: Replace, index: int) -> Removable:
    """Let a module return ``replace(index, output)`` from now on."""
    return module.register_forward_hook(_Output(replace, index))


def replace_sums(module: nn.Module, replace: Replace, indices: Mapping[int, int]) -> Removable:
    """Replace the results of some of the additions of maps that a module makes in its forward.

    Args:
        module: the module; only additions of its own count, not those of the modules that it calls.
        replace: bound methods and functions of a module can be copied and pickled, closures cannot.
        indices: from the number of an addition, counted from 0 in each run, to its index for ``replace``.

    Example:
        >>> class Twice(nn.Module):
        ...     def forward(self, x):
        ...         return torch.relu(x + x)
        >>> net = Twice()
        >>> attached = replace_sums(net, lambda index, total: total + 100, {0: 0})
        >>> net(torch.ones(1, 1, 1, 1)).item()
        102.0
        >>> attached.remove()
        >>> net(torch.ones(1, 1, 1, 1)).item()
        2.0
    """
    return _Forward(module, replace, dict(indices))


def is_map_addition(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call of a torch function adds two four-dimensional tensors (of equal shape or not)."""
    if getattr(func, "__name__", "") not in _ADDITIONS:
        return False
    operands = tensors_among(args, kwargs)
    return len(operands) == 2 and all(operand.dim() == 4 for operand in operands)


def tensors_among(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """The tensors among the arguments of a call, in their order."""
    return [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]


def running_module() -> nn.Module | None:
    """The innermost module that is being called where this is called; None outside of any.

    Additions are counted per module, once when the sites are looked for and again whenever the network runs, so
    both must agree on which module an addition belongs to. The call stack knows, without a hook on each module.
    """
    code = nn.Module.__call__.__code__
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back
    return None if frame is None else cast(nn.Module, frame.f_locals["self"])


class _Output:
    """A forward hook."""

    def __init__(self, replace: Replace, index: int) -> None:
        self.replace = replace
        self.index = index

    def __call__(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        return self.replace(self.index, output)


class _Forward:
    """Stands in for a module's ``forward``."""

    def __init__(self, module: nn.Module, replace: Replace, indices: dict[int, int]) -> None:
        self.module = module
        self.replace = replace
        self.indices = indices
        self.before: Callable[..., Any] | None = module.__dict__.get("forward")
        module.forward = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with _Additions(self):
            if self.before is not None:
                return self.before(*args, **kwargs)
            return type(self.module).forward(self.module, *args, **kwargs)

    def remove(self) -> None:
        del self.module.forward
        if self.before is not None:
            self.module.forward = self.before


class _Additions(TorchFunctionMode):
    """One run of a module's forward: counts its additions, and replaces the results of some."""

    def __init__(self, forward: _Forward) -> None:
        super().__init__()
        self.forward = forward
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not is_map_addition(func, args, kwargs) or running_module() is not self.forward.module:
            return func(*args, **kwargs)
        index = self.forward.indices.get(self.count)
        self.count += 1
        if index is None:
            return func(*args, **kwargs)
        result = self.forward.replace(index, torch.add(*args, **kwargs))
        # An addition in place must reach whoever else holds the tensor.
        return args[0].copy_(result) if func.__name__ in ("add_", "__iadd__") else result
