"""Model cards: what is known about the phis in the wheel, for whoever is about to use one.

The numbers of a card are those of recorded runs, whose keys it names. They lie beside the phi, as ``NAME.json``, where
``mplib reproduce meta --publish`` has written them; what is learned from where is in the provenance of the phi itself.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from importlib import resources
from typing import Any

from mplib.data import describe
from mplib.errors import unknown
from mplib.files import read_json
from mplib.perturb import MetaPerturb, pretrained_names

LIMITS = (
    "It was learned with one kind of network, at one image size and with one recipe (above); it runs at other sites "
    "and sizes, and whether it helps there is a question to measure.",
    "It is meant for training to the end on small data: a perturbed loss needs more steps than a plain one, and after "
    "few steps, or on much data, the plain network may be better.",
    "Credit meta-learning only where it beats all controls, an untrained phi and plain or softplus noise of the same "
    "mean and spread, with the whole interval of the paired difference.",
    "Maps are bounded at 100 while training (clip); without that bound deep residual networks can overflow.",
)
"""What every phi of ours shares."""


def card(name: str) -> str:
    """The model card of a phi in the wheel.

    Args:
        name: one of :func:`mplib.perturb.pretrained_names`.

    Raises:
        MplibError: there is none of that name.

    Example:
        >>> print(card("photos"))  # doctest: +ELLIPSIS
        photos: a meta-trained phi, 82 numbers
        ...
    """
    if name not in pretrained_names():
        raise unknown("pretrained phi", name, pretrained_names())
    about = MetaPerturb.from_pretrained(name).provenance
    if "of" in about:
        return _compressed(name, about)
    with resources.as_file(resources.files("mplib") / "pretrained" / f"{name}.json") as file:
        measured: Mapping[str, Any] = read_json(file) if file.exists() else {}
    return "\n".join([f"{name}: a meta-trained phi, 82 numbers", *_facts(about, measured), *_effects(measured)])


def _compressed(name: str, about: Mapping[str, Any]) -> str:
    """The card of a phi that :mod:`mplib.compression` wrote in fewer numbers."""
    whole = str(about["source"]).partition(",")[0]
    free = [f"{key} {value:g}" for key, value in about.items() if isinstance(value, float) and value]
    rows = [
        ("what", f"{about['source']}, which the 82 are made of again: {', '.join(free)}"),
        ("fitted", f"on {about['fitted_on']}"),
        (
            "from",
            f"the phi {whole} ({about['of']}): its data, terms and limits are those of `mplib info pretrained:{whole}`",
        ),
    ]
    return "\n".join([f"{name}: a compressed phi", *(_filled(title, text) for title, text in rows)])


def _filled(title: str, text: str) -> str:
    return textwrap.fill(text, 110, initial_indent=f"  {title:10}", subsequent_indent=12 * " ")


def _facts(about: Mapping[str, Any], measured: Mapping[str, Any]) -> list[str]:
    images = str(about.get("source", "")).rpartition(" on ")[2]
    data = describe(images.partition("[")[0])
    environment = about.get("environment", {})
    kinds = sorted(set(about.get("nets", [])))
    rows = [
        ("data", f"{data.title} ({images}), {about.get('image_size')} px"),
        ("terms", f"{data.licence}; {data.citation}"),
        ("learned", f"{about.get('tasks')} tasks of {_span(about.get('classes'))} classes, {', '.join(kinds)}, "
                    f"{about.get('steps')} joint steps of {about.get('batch_size')} images, seed {about.get('seed')}"),
        ("with", f"mplib {environment.get('mplib')}, source {environment.get('source')}, torch "
                 f"{environment.get('torch')}, {environment.get('device')}"),
        ("cost", f"{about['seconds']:.0f} s" if "seconds" in about else "not recorded"),
    ]  # fmt: skip
    if "selection" in measured:
        own = measured["selection"]
        others = ", ".join(f"seed {seed} {100 * value:.1f} %" for seed, value in own["mean_accuracy"].items())
        verdict = "chosen" if own["chosen"] else "not chosen"
        rows.append(("selection", f"{verdict} by the rule in mplib.reproduction.selection, on {own['images']}, "
                                  f"mean accuracy: {others}"))  # fmt: skip
    rows += [("limits", LIMITS[0]), *(("", limit) for limit in LIMITS[1:])]
    return [_filled(title, text) for title, text in rows]


def _span(classes: Any) -> str:
    sizes = sorted(set(classes or []))
    return "unknown" if not sizes else str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"


def _effects(measured: Mapping[str, Any]) -> list[str]:
    if not measured.get("effects"):
        return ["  effect    no rows of its own beside it; what the book recorded with it is in the book"]
    lines = [
        _filled("effect", "phi minus another, paired by seed, with 95 % t intervals: accuracy in points, nll in nats")
    ]
    before = ""
    for row in measured["effects"]:
        setting = f"{row['data']}, {row['image_size']} px, {row['net']}{', fine-tuned' if row['finetuned'] else ''}"
        setting += f", {row['steps']} steps; training images that its networks had learned: "
        setting += "not recorded" if row["learned"] is None else f"{100 * row['learned']:.0f} %"
        if setting != before:
            lines.append(_filled("", setting))
        before = setting
        accuracy, nll = (
            f"{factor * row[score]['mean']:+.{digits}f} "
            f"[{factor * row[score]['low']:+.{digits}f}, {factor * row[score]['high']:+.{digits}f}]"
            for score, factor, digits in (("accuracy", 100, 1), ("nll", 1, 2))
        )
        lines.append(f"              {row['against']:17} accuracy {accuracy:20} nll {nll} ({row['n']} seeds)")
    return [*lines, f"            from {len(measured['rows'])} rows, named in the .json beside the phi"]
