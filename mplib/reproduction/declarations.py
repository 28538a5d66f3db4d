"""The suites, declared: which runs each of them is, in the order in which they are made.

A suite is a list of units, each of which makes one row or a few. Seeds come first, then what is compared: all methods
of a seed are made before the next seed, so that a suite that was stopped is a balanced comparison. Where the seeds of a
method are trained together (on a GPU), a unit holds all of them, and a stopped suite lacks whole methods instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mplib import regularizers
from mplib.errors import MplibError, unknown
from mplib.reproduction.scales import Scale
from mplib.reproduction.selection import SEEDS

SUITES = {
    "meta": "five phis meta-trained on the source, and the runs that one of them is chosen by",
    "source": "a plain network trained on the whole source, for fine-tuning to start from",
    "datasets": "one network on every target at hand, all methods",
    "finetune": "the same from the convolutions of a network that was trained on the source",
    "architectures": "one target, several networks, phi beside nothing and both controls",
    "ablation": "one target and network, phi with one of its parts taken out at a time",
    "calibration": "networks of one target, their reliability, and how it depends on the number of samples",
    "robustness": "the same networks under attack, by norm and radius",
    "tasks": "phis from fewer source tasks, each with one network on one target",
}
"""Every suite with what it is, in the order in which minutes of a GPU are best spent."""

CONTROLS = ("none", "phi", "untrained", "noise")
METHODS = {
    "datasets": (*CONTROLS, "information_dropout", "dropblock", "manifold_mixup"),
    "finetune": (*CONTROLS, "manifold_mixup"),
    "architectures": CONTROLS,
    "ablation": (*CONTROLS, "softplus_noise", "noise_only", "scale_only", "deterministic", "shuffled"),
    "calibration": CONTROLS,
    "robustness": CONTROLS,
}
"""The methods of each suite; the controls first, since they are what a result has to be told from."""


@dataclass(frozen=True)
class Unit:
    """Some runs that are made in one go.

    Attributes:
        suite: whose unit it is.
        kind: what is made: "meta", "selection", "source", "transfer", "calibration" or "attack".
        data: name of the data set.
        net: name of the network.
        method: name of the method.
        seeds: of the runs.
        phi_seed: seed of the meta-trained phi that is made, or used; the chosen phi is used if None.
        tasks: number of source tasks of that phi; that of the scale if None.
    """

    suite: str
    kind: str
    data: str
    net: str
    method: str = "phi"
    seeds: tuple[int, ...] = (0,)
    phi_seed: int | None = None
    tasks: int | None = None

    def __str__(self) -> str:
        seeds = f"{'seed' if len(self.seeds) == 1 else 'seeds'} {','.join(map(str, self.seeds))}"
        tasks = "" if self.tasks is None else f", {self.tasks} tasks"
        if self.kind == "meta":
            return f"{self.suite}: phi from {self.data}, {self.net}{tasks}, {seeds}"
        whose = "" if self.phi_seed is None else f" {self.phi_seed}{tasks}"
        return f"{self.suite}: {self.data}, {self.net}, {self.method}{whose}, {seeds}"


@dataclass(frozen=True)
class Wanted:
    """What of a suite is asked for; None for all of it.

    Attributes:
        data: targets, of ``datasets`` and ``finetune``; the first of them is that of the other suites.
        nets: networks, of ``architectures``.
        methods: of ``datasets`` and ``finetune``.
        seeds: of the target runs.
    """

    data: Sequence[str] | None = None
    nets: Sequence[str] | None = None
    methods: Sequence[str] | None = None
    seeds: Sequence[int] | None = None


def units(suites: Sequence[str], scale: Scale, wanted: Wanted | None = None, together: bool = False) -> list[Unit]:
    """The units of some suites, one suite after another.

    Args:
        suites: keys of :data:`SUITES`.
        scale: how large they are.
        wanted: what of them.
        together: whether the seeds of a method are trained together.

    Raises:
        MplibError: a suite, method or data set that is not known, or nothing that is asked for.

    Example:
        >>> from mplib.reproduction.scales import find_scale
        >>> found = units(["ablation"], find_scale("toy"), Wanted(seeds=[0, 1]))
        >>> [str(unit) for unit in found[:2]], len(found)
        (['ablation: digits, conv4, none, seed 0', 'ablation: digits, conv4, phi, seed 0'], 18)
    """
    wanted = wanted or Wanted()
    for name, given in (("data", wanted.data), ("nets", wanted.nets), ("methods", wanted.methods),
                        ("seeds", wanted.seeds)):  # fmt: skip
        if given is not None and not given:
            raise MplibError(f"{name} is empty, expected at least one, or nothing to restrict")
    for method in wanted.methods or ():
        regularizers.find(method)
    if not suites:
        raise MplibError(f"no suite is named, expected some of {', '.join(SUITES)}")
    found: list[Unit] = []
    for suite in suites:
        if suite not in SUITES:
            raise unknown("suite", suite, SUITES)
        found += _MAKERS[suite](scale, wanted, _groups(wanted.seeds or scale.seeds, together), together)
    return list(dict.fromkeys(found))


Groups = list[tuple[int, ...]]


def _groups(seeds: Sequence[int], together: bool) -> Groups:
    return [tuple(seeds)] if together else [(seed,) for seed in seeds]


def _meta(scale: Scale, wanted: Wanted, groups: Groups, together: bool) -> Iterator[Unit]:
    for seed in scale.meta_seeds:
        yield Unit("meta", "meta", scale.source, scale.meta_net, seeds=(seed,), phi_seed=seed)
    for group in _groups(SEEDS, together):
        for seed in scale.meta_seeds:
            yield Unit("meta", "selection", scale.source, scale.meta_net, seeds=group, phi_seed=seed)


def _source(scale: Scale, wanted: Wanted, groups: Groups, together: bool) -> Iterator[Unit]:
    yield Unit("source", "source", scale.source, scale.net, "none")


def _over_targets(suite: str, scale: Scale, wanted: Wanted, groups: Groups) -> Iterator[Unit]:
    for group in groups:
        for data in wanted.data or scale.targets:
            for method in _ordered(wanted.methods or METHODS[suite]):
                yield Unit(suite, "transfer", data, scale.net, method, group)


def _datasets(scale: Scale, wanted: Wanted, groups: Groups, together: bool) -> Iterator[Unit]:
    return _over_targets("datasets", scale, wanted, groups)


def _finetune(scale: Scale, wanted: Wanted, groups: Groups, together: bool) -> Iterator[Unit]:
    yield from _source(scale, wanted, groups, together)
    yield from _over_targets("finetune", scale, wanted, groups)


def _architectures(scale: Scale, wanted: Wanted, groups: Groups, together: bool) -> Iterator[Unit]:
    for group in groups:
        for net in wanted.nets or scale.nets:
            for method in METHODS["architectures"]:
                yield Unit("architectures", "transfer", _first(scale, wanted), net, method, group)


def _on_one(suite: str, kind: str) -> Callable[[Scale, Wanted, Groups, bool], Iterator[Unit]]:
    def make(scale: Scale, wanted: Wanted, groups: Groups, together: bool) -> Iterator[Unit]:
        for group in groups:
            for method in METHODS[suite]:
                yield Unit(suite, kind, _first(scale, wanted), scale.net, method, group)

    return make


def _tasks(scale: Scale, wanted: Wanted, groups: Groups, together: bool) -> Iterator[Unit]:
    """Each phi meets one network, of its own seed: what differs between seeds includes the luck of meta-training."""
    for seed in wanted.seeds or scale.seeds:
        for tasks in scale.task_counts:
            yield Unit("tasks", "meta", scale.source, scale.meta_net, seeds=(seed,), phi_seed=seed, tasks=tasks)
            yield Unit("tasks", "transfer", _first(scale, wanted), scale.net, "phi", (seed,), seed, tasks)


def _first(scale: Scale, wanted: Wanted) -> str:
    return wanted.data[0] if wanted.data else scale.first


def _ordered(methods: Sequence[str]) -> list[str]:
    """Phi before the noise that is matched to it; else as they were given."""
    ordered = [name for name in methods if name != "phi"]
    if "phi" in methods:
        matched = [k for k, name in enumerate(ordered) if regularizers.find(name).uses == "moments"]
        ordered.insert(min([list(methods).index("phi"), *matched]), "phi")
    return ordered


_MAKERS: dict[str, Callable[[Scale, Wanted, Groups, bool], Iterator[Unit]]] = {
    "meta": _meta,
    "source": _source,
    "datasets": _datasets,
    "finetune": _finetune,
    "architectures": _architectures,
    "ablation": _on_one("ablation", "transfer"),
    "calibration": _on_one("calibration", "calibration"),
    "robustness": _on_one("robustness", "attack"),
    "tasks": _tasks,
}
