"""Where a perturbation belongs in a network: one rule, and a probe that applies it to any network.

*The rule.* Where a network adds two feature maps of equal shape, each such sum is a site, after the addition and
before the ReLU that may follow. A network without such sums has a site at each batch norm's output that feeds an
activation.

*The probe* is one forward pass on a batch of zeros, in eval mode and without gradients, which leaves the network,
its buffers and the state of the random number generators as they were. While it runs, a mode of torch's sees
every function that is called on tensors, and so every sum and every activation; nothing is traced or compiled, and
the network that runs afterwards is the network itself.

A sum that is not what its module returns is told by its number among the module's additions. Then a second pass, in
training mode, sees to it that the number means the same sum there.

A module that runs twice in one pass is one site that is visited twice, as it is one batch norm that sees two
batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from torch.overrides import TorchFunctionMode

from mplib.errors import MplibError, unknown
from mplib.interception import is_map_addition, running_module, tensors_among

_PROBE_BATCH = 2  # not 1: a learned map of shape (1, C, H, W) that is added to a batch is no feature map

_ACTIVATIONS = {
    *("relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish"),
    *("hardtanh", "tanh", "sigmoid", "hardsigmoid", "logsigmoid", "softplus", "softsign", "softshrink", "hardshrink"),
    *("tanhshrink", "threshold", "glu", "clamp", "clamp_min", "clip"),
}


@dataclass(frozen=True)
class Site:
    """One place in a network where its feature map is perturbed.

    Attributes:
        name: the module it belongs to, as in ``named_modules``.
        channels: C of its map.
        height: H of its map, in pixels, at the image size of the probe; None if the network could not be probed.
        width: likewise W.
        kind: "sum", "batch norm", or "named" for a module that the user named.
        addition: None where the site is what the module returns; k where it is the result of the k-th addition of
            two maps, counted from 0, inside the module's forward, and more happens to it there.

    Example:
        >>> print(Site("layer1.0", 64, 8, 8, "sum"))
        layer1.0: sum, 64 x 8 x 8
    """

    name: str
    channels: int
    height: int | None
    width: int | None
    kind: str
    addition: int | None = None

    def __str__(self) -> str:
        shape = " x ".join("?" if n is None else str(n) for n in (self.channels, self.height, self.width))
        return f"{self.name or '(the network)'}: {self.kind}, {shape}"


def find_sites(net: nn.Module, image_size: int = 32, names: Sequence[str] | None = None) -> list[Site]:
    """The sites of a plain network, in the order in which they run.

    Args:
        net: any network of two-dimensional feature maps, on any device.
        image_size: side of the square images, in pixels; the channels are those of the first convolution.
        names: modules whose outputs are the sites instead of those that the rule finds, in this order.

    Returns:
        At least one site.

    Raises:
        MplibError: there is no site, the network cannot be run on such images, a module makes more or fewer additions
            in training mode than in eval mode, or a name is unknown.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        >>> [str(site) for site in find_sites(net, image_size=8)]
        ['1: batch norm, 4 x 6 x 6']
    """
    if names is not None:
        return _named_sites(net, image_size, names)
    probe = _run_probe(net, image_size)
    found = _distinct([_site(net, a.owner, a.result, "sum", a.number_or_none) for a in probe.additions if a.is_sum])
    _check_numbers(net, image_size, found, probe)
    if not found:
        found = _distinct([_site(net, norm, output, "batch norm") for norm, output in probe.activated])
    if not found:
        raise MplibError(
            f"no site was found in {type(net).__name__}: it adds no feature maps of equal shape, and no batch norm "
            "module feeds an activation; name the modules to perturb with sites=[...]"
        )
    return found


@dataclass
class _Addition:
    owner: nn.Module
    number: int
    result: Tensor
    is_sum: bool  # of two feature maps of equal shape
    is_output: bool = False  # of the owner's forward, with nothing done to it between

    @property
    def number_or_none(self) -> int | None:
        return None if self.is_output else self.number


@dataclass
class _Probe:
    """What is seen while the network runs. It keeps every tensor it compares alive, so that an id stands for one."""

    additions: list[_Addition] = field(default_factory=list)
    outputs: dict[nn.Module, Any] = field(default_factory=dict)
    activated: list[tuple[nn.Module, Tensor]] = field(default_factory=list)
    # Working memory: sums that nothing has used yet, batch norms' outputs, additions so far in each module's call.
    unused: dict[int, _Addition] = field(default_factory=dict)
    normalised: dict[int, tuple[nn.Module, Tensor]] = field(default_factory=dict)
    count: dict[nn.Module, int] = field(default_factory=dict)

    def enter(self, module: nn.Module, args: Any) -> None:
        self.count[module] = 0

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self.outputs[module] = output
        if not isinstance(output, Tensor):
            return
        addition = self.unused.get(id(output))
        if addition is not None and addition.owner is module:
            addition.is_output = True
        if isinstance(module, BatchNorm) and output.dim() == 4:
            self.normalised[id(output)] = (module, output)

    def see(self, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        activation = getattr(func, "__name__", "").rstrip("_") in _ACTIVATIONS
        for tensor in tensors_among(args, kwargs):
            # An in-place ReLU returns the very tensor that the sum is, so identity alone would not do.
            self.unused.pop(id(tensor), None)
            if activation and id(tensor) in self.normalised:
                self.activated.append(self.normalised.pop(id(tensor)))

    def add(self, owner: nn.Module, operands: Sequence[torch.Size], result: Tensor) -> None:
        same = operands[0] == operands[1] and operands[0][0] == _PROBE_BATCH
        addition = _Addition(owner, self.count[owner], result, same)
        self.count[owner] += 1
        self.additions.append(addition)
        self.unused[id(result)] = addition


class _Watch(TorchFunctionMode):
    def __init__(self, probe: _Probe) -> None:
        super().__init__()
        self.probe = probe

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.probe.see(func, args, kwargs)
        owner = running_module() if is_map_addition(func, args, kwargs) else None
        if owner is None:
            return func(*args, **kwargs)
        operands = [operand.shape for operand in tensors_among(args, kwargs)]
        result = func(*args, **kwargs)
        self.probe.add(owner, operands, result)
        return result


def _check_numbers(net: nn.Module, image_size: int, found: list[Site], probe: _Probe) -> None:
    """Refuse a sum whose number, counted in eval mode, may be that of another addition in training mode."""
    inner = {site.name for site in found if site.addition is not None}
    training = _run_probe(net, image_size, training=True) if inner else probe
    for name in sorted(inner):
        module = net.get_submodule(name)
        evaluated, trained = probe.count[module], training.count.get(module, 0)
        if trained not in (0, evaluated):  # 0: skipped as a whole, and its sums with it
            raise MplibError(
                f"{_called(name)} adds maps {evaluated} times in eval mode and {trained} times in training "
                "mode, expected one number: a sum inside a forward is told by its number; name the modules to perturb "
                "with sites=[...]"
            )


def _run_probe(net: nn.Module, image_size: int, training: bool = False) -> _Probe:
    """Run the network once under watch, and leave it as it was."""
    conv = next((module for module in net.modules() if isinstance(module, nn.Conv2d)), None)
    if conv is None:
        raise MplibError(
            f"{type(net).__name__} has no 2-D convolution, expected a network of feature maps (B, C, H, W); "
            "otherwise name batch norm modules with sites=[...]"
        )
    shape = (_PROBE_BATCH, conv.in_channels, image_size, image_size)
    probe = _Probe()
    handles = [module.register_forward_pre_hook(probe.enter) for module in net.modules()]
    handles += [module.register_forward_hook(probe.leave) for module in net.modules()]
    try:
        with torch.no_grad(), _mode(net, training), _same_randomness(conv.weight.device):
            images = torch.zeros(shape, device=conv.weight.device, dtype=conv.weight.dtype)
            # Copies take the buffers' places, so whatever the network does to them is forgotten.
            copies = {name: buffer.clone() for name, buffer in net.named_buffers()}
            with _Watch(probe):
                torch.func.functional_call(net, copies, (images,))
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        raise MplibError(
            f"{type(net).__name__} could not be run on images of shape {shape} to find its sites "
            f"({type(error).__name__}: {reason}); check image_size, or name batch norm or convolution modules with "
            "sites=[...], for which nothing is run"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return probe


@contextmanager
def _mode(net: nn.Module, training: bool) -> Iterator[None]:
    # Module by module: networks override train() and eval(), and a part may have been frozen in eval mode.
    before = [(module, module.training) for module in net.modules()]
    try:
        for module, _ in before:
            module.training = training
        yield
    finally:
        for module, mode in before:
            module.training = mode


@contextmanager
def _same_randomness(device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def _named_sites(net: nn.Module, image_size: int, names: Sequence[str]) -> list[Site]:
    if isinstance(names, str) or not names or len(set(names)) != len(names):
        raise MplibError(f"sites is {names!r}, expected a list of different module names, at least one")
    modules = dict(net.named_modules())
    for name in names:
        if name not in modules:
            raise unknown("module", name, [known for known in modules if known])
    try:
        outputs = _run_probe(net, image_size).outputs
    except MplibError:
        declared = [_declared_channels(modules[name]) for name in names]
        if None in declared:
            raise
        return [Site(name, c, None, None, "named") for name, c in zip(names, declared, strict=True) if c]
    found = []
    for name in names:
        output = outputs.get(modules[name])
        if not isinstance(output, Tensor) or output.dim() != 4:
            given = f"a tensor of shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
            given = f"returns {given}" if modules[name] in outputs else "does not run"
            raise MplibError(f"the module {name!r} in sites= {given}, expected it to return a feature map (B, C, H, W)")
        found.append(_site(net, modules[name], output, "named"))
    return found


def _declared_channels(module: nn.Module) -> int | None:
    """The channels of what a module returns, where it says so without being run."""
    if isinstance(module, BatchNorm):
        return int(module.num_features)
    return int(module.out_channels) if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) else None


def _site(net: nn.Module, owner: nn.Module, output: Tensor, kind: str, addition: int | None = None) -> Site:
    name = next(name for name, module in net.named_modules() if module is owner)
    _, channels, height, width = output.shape
    return Site(name, channels, height, width, kind, addition)


def _called(name: str) -> str:
    return f"the module {name!r}" if name else "the network"


def _distinct(found: list[Site]) -> list[Site]:
    """Each site once, where it first runs; one module's visits must agree on the channels."""
    first: dict[tuple[str, int | None], Site] = {}
    for site in found:
        known = first.setdefault((site.name, site.addition), site)
        if known.channels != site.channels:
            raise MplibError(
                f"{_called(site.name)} runs with {known.channels} and with {site.channels} channels, expected one "
                "number: a site has statistics for each channel; name other modules with sites=[...]"
            )
    return list(first.values())
