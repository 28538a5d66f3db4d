"""One protocol for everything that is compared: what is put where, what a step minimises, and how it is tuned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from mplib.discovery import Site, find_sites
from mplib.errors import MplibError, unknown
from mplib.perturb import MetaPerturb
from mplib.regularizers.matched import Moments
from mplib.steps import Objective, cross_entropy

Settings = Mapping[str, float]


@dataclass(frozen=True)
class Setting:
    """A number that the user of a method has to choose.

    Attributes:
        default: what it is unless something else is asked for.
        low: the smallest that it may be.
        high: the largest that it may be.
        text: what it is.
    """

    default: float
    low: float
    high: float
    text: str


@dataclass(frozen=True)
class Start:
    """What a method may look at when it is made for a run.

    Attributes:
        net: the network, still plain.
        image_size: side of the images in pixels.
        settings: the method's own settings, all of them.
        phi: the meta-trained phi of the comparison, or None.
        moments: mean and spread of that phi's factor at each site, or None.
        seed: of the run.
    """

    net: nn.Module
    image_size: int
    settings: Settings
    phi: MetaPerturb | None = None
    moments: Moments | None = None
    seed: int = 0

    @property
    def sites(self) -> list[Site]:
        """The sites of the network."""
        return find_sites(self.net, self.image_size)


def _nothing(start: Start) -> None:
    """What most methods that act on the loss, the labels or the recipe attach."""


@dataclass(frozen=True)
class Method:
    """Something to train a network with.

    Attributes:
        name: what it is called in commands and rows.
        text: what it is, in a line.
        perturbation: makes what is attached to the network: one module for all sites, an ``nn.ModuleList`` with one
            for each (see :class:`mplib.attachment.SiteFunction`), or None.
        objective: makes what a step minimises from the settings; the cross-entropy unless given.
        recipe: overrides of the training recipe from the settings, see :class:`mplib.recipe.Recipe`.
        places: finds other places than the sites: names of modules whose outputs are perturbed.
        ramp: whether the strength rises over the first 40 % of the run as that of phi does; else it is 1 throughout.
        uses: ``"phi"`` where the result depends on the meta-trained phi, ``"moments"`` where on its measured moments.
        settings: its own settings.
        tries: the settings to try on held-out images, equally many for each method that has any.
        source: who proposed it.
    """

    name: str
    text: str
    perturbation: Callable[[Start], nn.Module | None] = _nothing
    objective: Callable[[Settings], Objective] = lambda settings: cross_entropy
    recipe: Callable[[Settings], dict[str, Any]] = lambda settings: {}
    places: Callable[[nn.Module, int], list[str] | None] = lambda net, image_size: None
    ramp: bool = False
    uses: str | None = None
    settings: Mapping[str, Setting] = field(default_factory=dict)
    tries: tuple[dict[str, float], ...] = ()
    source: str = ""

    @property
    def perturbs(self) -> bool:
        """Whether something is attached to the network."""
        return self.perturbation is not _nothing

    def resolve(self, options: Settings) -> dict[str, float]:
        """All settings: those given, and the defaults of the others.

        Raises:
            MplibError: an unknown setting, or one out of range.
        """
        for name, value in options.items():
            if name not in self.settings:
                if not self.settings:
                    raise MplibError(f"{self.name} was given {name}={value}, expected nothing: it has no settings")
                raise unknown(f"setting of {self.name}", name, self.settings)
            known = self.settings[name]
            if not known.low <= value <= known.high:
                raise MplibError(f"{self.name}.{name} is {value}, expected from {known.low} to {known.high}")
        return {name: options.get(name, setting.default) for name, setting in self.settings.items()}

    def overrides(self, settings: Settings) -> dict[str, Any]:
        """What differs from the common training recipe."""
        return {**({} if self.ramp else {"warmup": 0.0}), **self.recipe(settings)}


_known: dict[str, Method] = {}


def register(method: Method) -> Method:
    """Make a method known by its name, in place of one of that name if there is one.

    Args:
        method: what to add. Processes of their own (``jobs`` above 1) know only what is registered by modules that
            they import.

    Returns:
        The method.

    Example:
        >>> from torch import nn
        >>> from mplib.regularizers import Dropout
        >>> _ = register(Method("doctest", "half of everything", lambda start: Dropout(0.5)))
        >>> "doctest" in names()
        True
        >>> forget("doctest")
    """
    _known[method.name] = method
    return method


def forget(name: str) -> None:
    """Take a method off the list again."""
    _known.pop(find(name).name)


def find(name: str) -> Method:
    """The method of a name.

    Raises:
        MplibError: there is none.
    """
    if name not in _known:
        raise unknown("method", name, _known)
    return _known[name]


def names() -> list[str]:
    """The methods that are known, in the order in which they were registered."""
    return list(_known)
