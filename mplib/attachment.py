"""Attach one phi to every site of a network, and take it off again.

The network stays the object it was: the same class, the same parameters, the same ``state_dict`` keys. It gains one
submodule, ``net.perturbation``, which holds phi (once), the running statistics of each site as buffers, and the
settings. Where the sites are is found by ``mplib.discovery``, and how they are reached is the business of
``mplib.interception``; here it is said what happens at a site, and which statistics it uses in which mode.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn

from mplib.discovery import Site, find_sites
from mplib.errors import MplibError
from mplib.interception import Removable, replace_output, replace_sums
from mplib.perturb import Statistics

_log = logging.getLogger("mplib")

MOMENTUM = 0.1

Net = TypeVar("Net", bound=nn.Module)


class SiteFunction(Protocol):
    """What may perturb a site: a ``MetaPerturb``, or any module with this method.

    It gives the perturbed map, and the statistics that it was perturbed with: those it was given, those of the batch if
    it was given none, or None if it does not look at the batch.

    Two attributes may be set where a function is not like phi: ``random_at_test = False`` if in eval mode two visits
    of one map never differ, and ``trained_with_theta = True`` if its parameters are learned along with the network's.
    """

    def visit(
        self,
        x: Tensor,
        channel_ratio: float,
        spatial_ratio: float,
        stats: Statistics | None = None,
        strength: float | Tensor = 1.0,
        clip: float | None = None,
        eps: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Statistics | None]: ...


class SiteCall(NamedTuple):
    """One visit of a site: what its function was called with.

    Attributes:
        site: where.
        x: the map before it was perturbed, (B, C, H, W).
        channel_ratio: C / C_ref.
        spatial_ratio: H / H_ref.
        stats: mean and variance, of the batch or running, each (C, 4); None if the function does not look at the batch.
    """

    site: Site
    x: Tensor
    channel_ratio: float
    spatial_ratio: float
    stats: Statistics | None


class RunningStatistics(nn.Module):
    """Running mean and unbiased variance of one site's four features per channel, each (C, 4).

    They start at 0 and 1, and each update moves them a tenth of the way to those of the batch.
    """

    mean: Tensor
    var: Tensor

    def __init__(self, channels: int, like: Tensor) -> None:
        super().__init__()
        dtype = torch.promote_types(like.dtype, torch.float32)
        self.register_buffer("mean", torch.zeros(channels, 4, device=like.device, dtype=dtype))
        self.register_buffer("var", torch.ones(channels, 4, device=like.device, dtype=dtype))

    def update(self, mean: Tensor, var: Tensor) -> None:
        """Move towards a batch's statistics, in place (so that it also works under ``torch.vmap``)."""
        with torch.no_grad():
            # Not lerp_, for which vmap has no rule.
            self.mean.mul_(1 - MOMENTUM).add_(MOMENTUM * mean.detach())
            self.var.mul_(1 - MOMENTUM).add_(MOMENTUM * var.detach())


class Perturbation(nn.Module):
    """What ``attach`` adds to a network, as its submodule ``perturbation``.

    Attributes:
        phi: the perturbation function, held, not copied: several networks may share one. An ``nn.ModuleList`` holds
            one function for each site.
        sites: where it is applied, in order.
        statistics: the running statistics of each site, in the same order.
        strength: strength c, a 0-dimensional buffer that is not part of ``state_dict``.
        clip: upper bound of a perturbed map, or None.
        image_size: H_ref, the height that a map's height is divided by.
        channel_ref: C_ref, the number that a map's channels are divided by.
        generator: where the noise is drawn; None for torch's default generator of the device.
        update: None to follow the training flag: batch statistics and an update of the running ones in training
            mode, running statistics in eval mode. True and False ask for batch statistics, with and without
            the update, in either mode (see ``batch_statistics``).
        calls: a list that each visit of a site is appended to, or None (see ``observed_sites``).
    """

    strength: Tensor

    def __init__(
        self,
        phi: nn.Module,
        sites: Sequence[Site],
        *,
        image_size: int,
        clip: float | None,
        channel_ref: float,
        like: Tensor,
    ) -> None:
        super().__init__()
        self.phi = phi
        self.sites = tuple(sites)
        self.statistics = nn.ModuleList(RunningStatistics(site.channels, like) for site in sites)
        self.register_buffer("strength", torch.ones((), device=like.device, dtype=like.dtype), persistent=False)
        self.clip = clip
        self.image_size = image_size
        self.channel_ref = channel_ref
        self.generator: torch.Generator | None = None
        self.update: bool | None = None
        self.calls: list[SiteCall] | None = None
        self.attached: list[Removable] = []

    @property
    def functions(self) -> list[nn.Module]:
        """What perturbs, one function for all sites or one for each."""
        return list(self.phi) if isinstance(self.phi, nn.ModuleList) else [self.phi]

    @property
    def random_at_test(self) -> bool:
        """Whether in eval mode two answers of the network can differ."""
        return any(getattr(function, "random_at_test", True) for function in self.functions)

    def foreign_parameters(self) -> list[nn.Parameter]:
        """The parameters that are not learned with the network's own: those of phi."""
        frozen = (part for part in self.functions if not getattr(part, "trained_with_theta", False))
        return [parameter for part in frozen for parameter in part.parameters()]

    def perturb(self, index: int, x: Tensor) -> Tensor:
        """The map ``x`` (B, C, H, W) of site ``index``, perturbed."""
        site = self.sites[index]
        if not isinstance(x, Tensor) or x.dim() != 4 or x.shape[1] != site.channels:
            given = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise MplibError(
                f"the site {site.name!r} got {given}, expected a map with {site.channels} channels, (B, C, H, W), "
                "as when it was attached"
            )
        function = cast(SiteFunction, self.phi[index] if isinstance(self.phi, nn.ModuleList) else self.phi)
        running = cast(RunningStatistics, self.statistics[index])
        update = self.training if self.update is None else self.update
        from_batch = self.training or self.update is not None
        ratios = site.channels / self.channel_ref, x.shape[2] / self.image_size
        y, stats = function.visit(
            x,
            *ratios,
            stats=None if from_batch else (running.mean, running.var),
            strength=self.strength,
            clip=self.clip,
            generator=self.generator,
        )
        if self.calls is not None:
            self.calls.append(SiteCall(site, x, *ratios, stats))
        if update and stats is not None:
            running.update(*stats)
        return y

    def forward(self, x: Any) -> Any:
        """The identity: an ``nn.Sequential`` runs every child that it has, and now this one too."""
        return x

    def extra_repr(self) -> str:
        settings = f"clip={self.clip}, image_size={self.image_size}, channel_ref={self.channel_ref}"
        return "\n".join([settings, *(str(site) for site in self.sites)])


def attach(
    net: Net,
    phi: nn.Module,
    image_size: int = 32,
    clip: float | None = 100.0,
    channel_ref: float | None = None,
    sites: Sequence[str] | None = None,
) -> Net:
    """Perturb every site of a network with one phi, from now on.

    In training mode a site scales by the statistics of the batch and updates its running ones; in eval mode it uses
    the running ones. The noise is drawn in both: a prediction is the mean over several draws. The sites found
    are logged (logger "mplib", level INFO), returned by ``sites(net)`` and printed with the network.

    phi is moved to the network's device and type, as ``net.to(...)`` would; its parameters appear in
    ``net.parameters()``, so an optimiser of the network alone has to leave them out.

    Args:
        net: any network of two-dimensional feature maps, with ``image_size`` square images of as many channels as its
            first convolution takes.
        phi: the perturbation function, a ``MetaPerturb``; it may be attached to several networks. A control may
            take its place: a :class:`SiteFunction`, or an ``nn.ModuleList`` with one for each site.
        image_size: H_ref, in pixels.
        clip: upper bound of a perturbed map, positive, in training and in testing; None for none. The authors bound
            maps in training only.
        channel_ref: C_ref; if None, the largest number of channels over the sites, which is the authors' value for
            each of their networks.
        sites: names of modules (as in ``named_modules``) whose outputs to perturb, instead of the sites that the
            rule of ``mplib.discovery`` finds.

    Returns:
        ``net`` itself.

    Raises:
        MplibError: no sites, an unknown module, a network that cannot be run on such images, one that has a
            perturbation already, or a setting out of range.

    Example:
        >>> import mplib
        >>> net = attach(mplib.nets.build("conv4", num_classes=10, width=8), mplib.MetaPerturb())
        >>> len(net.perturbation.sites), net(torch.zeros(2, 3, 32, 32)).shape
        (4, torch.Size([2, 10]))
    """
    if not isinstance(net, nn.Module):
        raise MplibError(f"net is {net!r}, expected a torch module")
    functions = list(phi) if isinstance(phi, nn.ModuleList) else [phi]
    for function in functions:
        if not isinstance(function, nn.Module) or not callable(getattr(function, "visit", None)):
            raise MplibError(f"phi is of type {type(function).__name__}, expected a MetaPerturb")
    if perturbation_of(net) is not None:
        raise MplibError(f"{type(net).__name__} has a perturbation already, expected none: call detach(net) first")
    if hasattr(net, "perturbation"):
        raise MplibError(f"{type(net).__name__} has an attribute 'perturbation' of its own, expected that name free")
    if clip is not None and not _positive(clip):
        raise MplibError(f"clip is {clip!r}, expected a positive number or None")
    if channel_ref is not None and not _positive(channel_ref):
        raise MplibError(f"channel_ref is {channel_ref!r}, expected a positive number or None")
    _check_image_size(net, image_size)

    found = find_sites(net, image_size, sites)
    if isinstance(phi, nn.ModuleList) and len(phi) != len(found):
        raise MplibError(f"phi has {len(phi)} functions, expected one for each of the network's {len(found)} sites")
    like = next((parameter for parameter in net.parameters() if parameter.is_floating_point()), torch.empty(()))
    phi.to(device=like.device, dtype=like.dtype)
    reference = channel_ref if channel_ref is not None else max(site.channels for site in found)
    perturbation = Perturbation(phi, found, image_size=image_size, clip=clip, channel_ref=reference, like=like)
    perturbation.training = net.training

    modules = dict(net.named_modules())
    sums: dict[str, dict[int, int]] = {}
    for index, site in enumerate(found):
        if site.addition is None:
            perturbation.attached.append(replace_output(modules[site.name], perturbation.perturb, index))
        else:
            sums.setdefault(site.name, {})[site.addition] = index
    for name, indices in sums.items():
        perturbation.attached.append(replace_sums(modules[name], perturbation.perturb, indices))
    net.add_module("perturbation", perturbation)
    _log.info("%s, %d sites:\n%s", type(net).__name__, len(found), "\n".join(f"  {site}" for site in found))
    return net


def detach(net: Net) -> Net:
    """Take a perturbation off again: the network is as it was before ``attach``, with the weights it has now.

    Returns:
        ``net`` itself.

    Raises:
        MplibError: nothing is attached.
    """
    perturbation = _required(net)
    for attached in perturbation.attached:
        attached.remove()
    for module in list(net.modules()):
        if getattr(module, "perturbation", None) is perturbation:
            del module.perturbation
    return net


def sites(net: nn.Module, image_size: int = 32) -> list[Site]:
    """The sites of a network: those attached, or, of a plain network, those that ``attach`` would find.

    Args:
        net: a network, attached or plain.
        image_size: for a plain network, the side of its images in pixels.

    Raises:
        MplibError: a plain network without sites, or one that cannot be run on such images.

    Example:
        >>> import mplib
        >>> print(sites(mplib.nets.build("resnet20", num_classes=10))[3])
        stages.1.0: sum, 32 x 16 x 16
    """
    perturbation = perturbation_of(net)
    if perturbation is not None:
        return list(perturbation.sites)
    _check_image_size(net, image_size)
    return find_sites(net, image_size)


def perturbation_of(net: nn.Module) -> Perturbation | None:
    """What is attached to a network, or to the part of it that is wrapped in it; None if nothing is.

    Raises:
        MplibError: several parts have one each.
    """
    found = [module for module in net.modules() if isinstance(module, Perturbation)]
    if len(found) > 1:
        raise MplibError(f"{type(net).__name__} has parts with {len(found)} perturbations, expected one: pass a part")
    return found[0] if found else None


def set_strength(net: nn.Module, strength: float) -> None:
    """Set the strength c of every site: 0 for none (the identity up to ``clip``), 1 for all of it.

    Raises:
        MplibError: nothing is attached, or a strength outside of [0, 1].
    """
    perturbation = _required(net)
    if not _number(strength) or not 0 <= strength <= 1:
        raise MplibError(f"strength is {strength!r}, expected a number from 0 to 1")
    with torch.no_grad():
        perturbation.strength.fill_(strength)


@contextmanager
def batch_statistics(net: nn.Module, update: bool = False) -> Iterator[None]:
    """Inside this context the sites use the statistics of the batch, differentiably, also in eval mode.

    This is the phi step of meta-training: batch norms in eval mode, sites not. With running statistics the four
    kernels that make the features would get no gradient.

    Args:
        net: an attached network.
        update: whether the running statistics follow these batches too, as in the authors' code.

    Raises:
        MplibError: nothing is attached, or (when the network runs) the batch has one image.
    """
    perturbation = _required(net)
    before = perturbation.update
    perturbation.update = update
    try:
        yield
    finally:
        perturbation.update = before


@contextmanager
def observed_sites(net: nn.Module) -> Iterator[list[SiteCall]]:
    """Inside this context every visit of a site is written down: the map before it was perturbed, and its statistics.

    Args:
        net: an attached network.

    Returns:
        A list that grows while the network runs; it keeps the maps alive.

    Raises:
        MplibError: nothing is attached.

    Example:
        >>> import mplib
        >>> net = attach(mplib.nets.build("conv4", num_classes=10, width=8), mplib.MetaPerturb())
        >>> with observed_sites(net) as calls:
        ...     _ = net(torch.zeros(2, 3, 32, 32))
        >>> [tuple(call.x.shape) for call in calls][:2]
        [(2, 8, 32, 32), (2, 8, 16, 16)]
    """
    perturbation = _required(net)
    before = perturbation.calls
    calls: list[SiteCall] = []
    perturbation.calls = calls
    try:
        yield calls
    finally:
        perturbation.calls = before


def _required(net: nn.Module) -> Perturbation:
    perturbation = perturbation_of(net)
    if perturbation is None:
        raise MplibError(f"nothing is attached to {type(net).__name__}, expected a network after attach(net, phi)")
    return perturbation


def _check_image_size(net: nn.Module, image_size: int) -> None:
    if isinstance(image_size, bool) or not isinstance(image_size, int) or image_size < 1:
        raise MplibError(f"image_size is {image_size!r}, expected a whole number of pixels, at least 1")
    built = getattr(net, "image_size", image_size)
    if isinstance(built, int) and built != image_size:
        raise MplibError(f"image_size is {image_size}, expected {built}, for which {type(net).__name__} was built")


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _positive(value: Any) -> bool:
    return _number(value) and value > 0 and math.isfinite(value)
