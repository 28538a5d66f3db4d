"""The methods that the book compares, each in a few lines.

:ref:`The list <names-methods>` is on the page of the command lines; this file is the pattern for a method of your own.

*The ramp.* The strength of phi, of its variants and of its controls rises over the first 40 % of a run, as in the
authors' code. DropBlock's rate rises the same way, since its authors schedule it. All others run at full strength from
the first step, as their authors have it.

*The tries.* A method with settings has three of them, its default among these.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from mplib.errors import MplibError
from mplib.perturb import MetaPerturb
from mplib.regularizers.branches import branches
from mplib.regularizers.dropping import DropBlock, Dropout, SpatialDropout, StochasticDepth
from mplib.regularizers.information import InformationDropout, information_dropout
from mplib.regularizers.matched import PlainNoise, SoftplusNoise, matched_noise
from mplib.regularizers.mixing import Mixer, cutmix, manifold_mixup, mixup, smoothed
from mplib.regularizers.protocol import Method, Setting, Start, register
from mplib.regularizers.variants import Expected, noise_only, scale_only, shuffled
from mplib.seeding import stream


def _rate(default: float) -> dict[str, Setting]:
    return {"rate": Setting(default, 0.0, 0.95, "probability of being dropped")}


def _tries(name: str, *values: float) -> tuple[dict[str, float], ...]:
    return tuple({name: value} for value in values)


def _alpha(default: float) -> dict[str, Setting]:
    return {"alpha": Setting(default, 0.01, 100.0, "of the Beta distribution of the share")}


def _depths(start: Start) -> nn.ModuleList:
    count = len(branches(start.net, start.image_size))
    return nn.ModuleList(StochasticDepth(start.settings["rate"] * (k + 1) / count) for k in range(count))


def _matched(name: str, kind: type[PlainNoise]) -> Callable[[Start], nn.Module]:
    def perturbation(start: Start) -> nn.Module:
        if start.moments is None:
            raise MplibError(f"method is {name!r} and no moments were given, expected those of site_moments()")
        return matched_noise(start.moments, kind)

    return perturbation


def _from_phi(name: str, make: Callable[[MetaPerturb, int], nn.Module]) -> Callable[[Start], nn.Module]:
    def perturbation(start: Start) -> nn.Module:
        if start.phi is None:
            raise MplibError(f"method is {name!r} and no phi was given, expected a MetaPerturb")
        return make(start.phi, start.seed)

    return perturbation


def _variant(name: str, text: str, make: Callable[[MetaPerturb, int], nn.Module]) -> None:
    register(Method(name, text, _from_phi(name, make), ramp=True, uses="phi", source="Ryu et al. (2020), in parts"))


register(Method("none", "the network as it is"))

register(
    Method(
        "weight_decay",
        "a larger weight decay (L2 inside Adam)",
        recipe=lambda settings: {"weight_decay": settings["penalty"]},
        settings={"penalty": Setting(5e-3, 0.0, 10.0, "L2 penalty inside Adam; 5e-4 in the common recipe")},
        tries=_tries("penalty", 5e-5, 5e-3, 5e-2),
        source="Krogh and Hertz (1991)",
    )
)

register(
    Method(
        "label_smoothing",
        "labels smoothed towards the uniform distribution",
        objective=lambda settings: smoothed(settings["smoothing"]),
        settings={"smoothing": Setting(0.1, 0.0, 1.0, "weight of the uniform distribution")},
        tries=_tries("smoothing", 0.05, 0.1, 0.3),
        source="Szegedy et al. (2016)",
    )
)

register(
    Method(
        "dropout",
        "numbers of the maps dropped one by one",
        lambda start: Dropout(start.settings["rate"]),
        settings=_rate(0.2),
        tries=_tries("rate", 0.1, 0.2, 0.5),
        source="Srivastava et al. (2014)",
    )
)

register(
    Method(
        "spatial_dropout",
        "channels of the maps dropped one by one",
        lambda start: SpatialDropout(start.settings["rate"]),
        settings=_rate(0.1),
        tries=_tries("rate", 0.05, 0.1, 0.3),
        source="Tompson et al. (2015)",
    )
)

register(
    Method(
        "dropblock",
        "square blocks of the maps dropped, of each channel by itself, at a rate that rises with the ramp",
        lambda start: DropBlock(start.settings["rate"], int(start.settings["block"])),
        ramp=True,
        settings={**_rate(0.1), "block": Setting(7, 1, 1024, "side of a block, pixels")},
        tries=_tries("rate", 0.05, 0.1, 0.3),
        source="Ghiasi et al. (2018)",
    )
)

register(
    Method(
        "stochastic_depth",
        "branches of residual blocks dropped, the later the more often",
        _depths,
        places=branches,
        settings=_rate(0.2),
        tries=_tries("rate", 0.1, 0.2, 0.5),
        source="Huang et al. (2016)",
    )
)

register(
    Method(
        "information_dropout",
        "log-normal noise whose spread is learned along with theta, at a price",
        lambda start: nn.ModuleList(InformationDropout(site.channels) for site in start.sites),
        lambda settings: information_dropout(settings["beta"]),
        settings={"beta": Setting(0.1, 0.0, 1000.0, "weight of the mean price of an element")},
        tries=_tries("beta", 0.01, 0.1, 1.0),
        source="Achille and Soatto (2018)",
    )
)

register(
    Method(
        "mixup",
        "images and labels blended in pairs",
        objective=lambda settings: mixup(settings["alpha"]),
        settings=_alpha(0.2),
        tries=_tries("alpha", 0.1, 0.2, 1.0),
        source="Zhang et al. (2018)",
    )
)

register(
    Method(
        "cutmix",
        "boxes of one image pasted into another, labels blended",
        objective=lambda settings: cutmix(settings["alpha"]),
        settings=_alpha(1.0),
        tries=_tries("alpha", 0.2, 0.5, 1.0),
        source="Yun et al. (2019)",
    )
)

register(
    Method(
        "manifold_mixup",
        "maps of a random site, or images, blended in pairs, and labels",
        lambda start: nn.ModuleList(Mixer() for _ in start.sites),
        lambda settings: manifold_mixup(settings["alpha"]),
        settings=_alpha(2.0),
        tries=_tries("alpha", 0.2, 1.0, 2.0),
        source="Verma et al. (2019)",
    )
)

register(
    Method(
        "untrained",
        "an untrained phi: the function without what it learned",
        lambda start: MetaPerturb(generator=stream(start.seed, "untrained phi")),
        ramp=True,
        source="a control",
    )
)

register(
    Method(
        "noise",
        "plain Gaussian noise with the mean and spread of phi at each site: what it learned, without the function",
        _matched("noise", PlainNoise),
        ramp=True,
        uses="moments",
        source="a control",
    )
)

register(
    Method(
        "softplus_noise",
        "noise of phi's shape, mean and spread at each site that does not look at the map",
        _matched("softplus_noise", SoftplusNoise),
        ramp=True,
        uses="moments",
        source="a control",
    )
)

_variant("noise_only", "phi without its scale: s = 1/2", lambda phi, seed: noise_only(phi))
_variant("scale_only", "phi without its noise generator: z = 0.806", lambda phi, seed: scale_only(phi))
_variant("deterministic", "phi without the draw: z replaced by its mean", lambda phi, seed: Expected(phi))
_variant("shuffled", "phi with its 82 numbers dealt out again at random", shuffled)
_variant("phi", "a meta-trained phi", lambda phi, seed: phi)
