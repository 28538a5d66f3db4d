"""One look for every figure: sizes, colours that survive colour blindness and greyscale, and the plots that recur."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mplib.errors import MplibError
from mplib.stats import mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mplib.calibration import Bin

WIDTH = 7.0
"""Inches; the width of every figure."""


class Look(NamedTuple):
    """How a method is drawn everywhere: a colour, and a marker and a line style for those who do not see it.

    Attributes:
        label: its name in a legend.
        short: its name at the ticks of an axis.
        colour: as ``#RRGGBB``.
        marker: as matplotlib names it.
        line: as matplotlib names or describes it.
    """

    label: str
    short: str
    colour: str
    marker: str
    line: str | tuple[int, tuple[int, ...]]


LOOKS = {
    "none": Look("no perturbation", "none", "#444444", "o", "-"),
    "weight_decay": Look("weight decay", "weight\ndecay", "#444444", "v", "--"),
    "label_smoothing": Look("label smoothing", "label\nsmoothing", "#444444", "P", ":"),
    "dropout": Look("Dropout", "Dropout", "#D55E00", "o", "-"),
    "spatial_dropout": Look("SpatialDropout", "Spatial-\nDropout", "#D55E00", "x", "--"),
    "dropblock": Look("DropBlock", "Drop-\nBlock", "#D55E00", "p", "-."),
    "stochastic_depth": Look("stochastic depth", "stochastic\ndepth", "#D55E00", "v", ":"),
    "information_dropout": Look("Information Dropout", "Information\nDropout", "#D55E00", "P", (0, (3, 1, 1, 1))),
    "mixup": Look("mixup", "mixup", "#CC79A7", "+", "-"),
    "cutmix": Look("CutMix", "CutMix", "#CC79A7", "*", "--"),
    "manifold_mixup": Look("Manifold Mixup", "Manifold\nMixup", "#CC79A7", ">", "-."),
    "untrained": Look("untrained phi", "untrained\nphi", "#C68700", "s", "--"),
    "noise": Look("matched plain noise", "plain\nnoise", "#009E73", "^", "-."),
    "softplus_noise": Look("matched softplus noise", "softplus\nnoise", "#009E73", "1", ":"),
    "noise_only": Look("phi (noise only)", "noise\nonly", "#3E9CD1", "<", "-."),
    "scale_only": Look("phi (scale only)", "scale\nonly", "#3E9CD1", "h", "--"),
    "deterministic": Look("phi (no draw)", "no\ndraw", "#3E9CD1", "d", "-"),
    "shuffled": Look("phi (shuffled)", "shuffled\nphi", "#3E9CD1", "X", ":"),
    "phi": Look("meta-trained phi", "meta-trained\nphi", "#0072B2", "D", "-"),
}
"""The look of each method of :func:`mplib.regularizers.names`.

Families share a colour and differ in marker and line; in grey, two methods of equal lightness differ in their marker.
The colours are those of Okabe and Ito, two of them darker, so that each has a contrast of 3 to white.
"""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#C68700", "#3E9CD1", "#444444")
"""For series that are not methods, in this order."""

_STYLE: dict[Any, Any] = {
    "figure.dpi": 150,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "image.cmap": "cividis",
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
}


def look(method: str) -> Look:
    """How a method is drawn; one that is not in :data:`LOOKS`, a reader's own, under its name in black.

    Example:
        >>> look("phi").marker, look("mine").label
        ('D', 'mine')
    """
    return LOOKS.get(method, Look(method, method, "#000000", "*", "--"))


def figure(columns: int = 1, rows: int = 1, height: float = 3.2, **options: Any) -> tuple[Figure, list[Axes]]:
    """An empty figure in the book's style, which becomes matplotlib's for the rest of the process.

    Args:
        columns, rows: panels.
        height: inches, of the whole figure.
        **options: of ``matplotlib.pyplot.subplots``.

    Returns:
        The figure and its panels, row by row.

    Example:
        >>> fig, (left, right) = figure(columns=2)
        >>> fig.get_size_inches().tolist()
        [7.0, 3.2]
    """
    import matplotlib.pyplot as plt
    from cycler import cycler

    # For the whole process: legends and pictures that are added later have to look alike too.
    plt.rcParams.update({**_STYLE, "axes.prop_cycle": cycler(color=COLOURS)})
    fig, axes = plt.subplots(rows, columns, figsize=(WIDTH, height), layout="constrained", squeeze=False, **options)
    return fig, list(axes.flat)


def plot_methods(ax: Axes, rows: Sequence[Mapping[str, Any]], score: str, factor: float = 1.0) -> None:
    """Each method's score: a small mark for every seed, and the mean with its 95 % interval.

    Args:
        ax: where to draw.
        rows: rows of :func:`mplib.experiments.compare`.
        score: a key of the result (``"accuracy"``, ``"nll"``, ``"ece"``).
        factor: what to multiply by, 100 for per cent.

    Raises:
        MplibError: no rows.
    """
    by_method: dict[str, list[float]] = {method: [] for method in _methods(rows)}
    for row in rows:
        by_method[row["config"]["method"]].append(factor * row["result"][score])
    for place, (method, values) in enumerate(by_method.items()):
        style, interval = look(method), mean_interval(values)
        spread = [place + 0.22 + 0.03 * k for k in range(len(values))]
        ax.plot(spread, values, style.marker, color=style.colour, markersize=3, alpha=0.7)
        error = [[interval.mean - interval.low], [interval.high - interval.mean]] if interval.n > 1 else None
        ax.errorbar(place, interval.mean, error, fmt=style.marker, color=style.colour, capsize=4, markersize=7)
    ax.set_xticks(range(len(by_method)), [look(method).short for method in by_method])
    ax.set_xlim(-0.5, len(by_method) - 0.3)
    ax.grid(visible=False, axis="x")


def plot_histories(ax: Axes, rows: Sequence[Mapping[str, Any]], column: str, factor: float = 1.0) -> None:
    """Each method's course over the training steps: the mean over seeds, with the range of the seeds behind it.

    Args:
        ax: where to draw.
        rows: rows of :func:`mplib.experiments.compare`, of runs of equal length.
        column: a column of the history (``"loss"``, ``"accuracy"``).
        factor: what to multiply by.

    Raises:
        MplibError: no rows.
    """
    import numpy as np

    for method in _methods(rows):
        style = look(method)
        histories = [row["result"]["history"] for row in rows if row["config"]["method"] == method]
        steps = [point["step"] for point in histories[0]]
        values = factor * np.array([[point[column] for point in history] for history in histories])
        ax.fill_between(steps, values.min(axis=0), values.max(axis=0), color=style.colour, alpha=0.15, linewidth=0)
        every = max(1, len(steps) // 6)  # some marks, for those who do not see the colour
        ax.plot(
            steps, values.mean(axis=0), linestyle=style.line, marker=style.marker, markevery=every, color=style.colour,
            label=style.label,
        )  # fmt: skip
    ax.set_xlabel("training step")


def plot_reliability(ax: Axes, bins: Sequence[Bin], method: str | None = None) -> None:
    """A reliability diagram: accuracy over confidence, with an interval for each bin, and where the answers are.

    The bars at the foot show each bin's share of the answers, on the scale of the axis; the broken line is perfect
    calibration. Above it a network is too modest, below it too sure.

    Args:
        ax: where to draw.
        bins: rows of :func:`mplib.calibration.reliability`.
        method: whose look to use; a plain one if None.

    Raises:
        MplibError: no bins.
    """
    if not bins:
        raise MplibError("there are no bins to draw, expected at least one")
    look = LOOKS[method or "none"]
    total = sum(row.n for row in bins)
    for row in bins:
        ax.bar(
            row.low,
            row.n / total,
            row.high - row.low,
            align="edge",
            color="#DDDDDD",
            edgecolor="#999999",
            linewidth=0.5,
        )
    ax.plot([0, 1], [0, 1], ":", color="#444444", linewidth=1)
    confidence, accuracy = [row.confidence for row in bins], [row.accuracy for row in bins]
    error = [
        [row.accuracy - row.accuracy_low for row in bins],
        [row.accuracy_high - row.accuracy for row in bins],
    ]
    ax.errorbar(
        confidence, accuracy, error, fmt=look.marker, linestyle=look.line, color=look.colour, capsize=2, markersize=4
    )
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    ax.set_aspect("equal")
    ax.set_xlabel("confidence")


def _methods(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The methods that occur, always in the same order, whatever order the rows are in."""
    occurring = {row["config"]["method"] for row in rows}
    if not occurring:
        raise MplibError("there are no rows to draw, expected at least one")
    return [method for method in LOOKS if method in occurring] + sorted(occurring - LOOKS.keys())


def plot_differences(
    ax: Axes, rows: Sequence[dict[str, Any]], against: str, methods: Sequence[str], score: str, factor: float = 1.0
) -> None:
    """A forest: one line for each method, with its score minus that of another, paired by seed, and the 95 % interval.

    Args:
        ax: where to draw; the first method is at the top.
        rows: rows of :func:`mplib.experiments.compare` that differ in method and seed alone.
        against: the method that is subtracted.
        methods: what to draw.
        score: a key of the result.
        factor: what to multiply by, 100 for points of per cent.

    Raises:
        MplibError: a method was not run, or with other seeds.
    """
    from mplib.experiments import paired_scores

    for place, method in enumerate(methods):
        pairs = zip(*paired_scores(rows, method, against, score), strict=True)
        differences = [factor * (ours - theirs) for ours, theirs in pairs]
        style, interval = look(method), mean_interval(differences)
        ax.plot(
            differences, [place + 0.25] * len(differences), style.marker, color=style.colour, markersize=3, alpha=0.7
        )
        error = [[interval.mean - interval.low], [interval.high - interval.mean]] if interval.n > 1 else None
        ax.errorbar(interval.mean, place, xerr=error, fmt=style.marker, color=style.colour, capsize=3, markersize=6)
    ax.axvline(0, color="#444444", linewidth=0.8)
    ax.set_yticks(range(len(methods)), [look(method).label for method in methods])
    ax.set_ylim(len(methods) - 0.4, -0.6)
    ax.grid(visible=False, axis="y")
