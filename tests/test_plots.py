from __future__ import annotations

import matplotlib
import pytest
import torch

from mplib.calibration import reliability
from mplib.errors import MplibError
from mplib.experiments import METHODS
from mplib.plots import (
    COLOURS,
    LOOKS,
    WIDTH,
    figure,
    plot_differences,
    plot_histories,
    plot_methods,
    plot_reliability,
)
from mplib.regularizers import names

matplotlib.use("Agg")


def rows(seeds: int) -> list[dict]:
    history = [{"step": step, "loss": 1 / step} for step in (1, 2, 3)]
    return [
        {"config": {"method": method, "seed": seed}, "result": {"accuracy": 0.5 + seed / 10, "history": history}}
        for seed in range(seeds)
        for method in (*METHODS, "mine")
    ]


def test_every_method_has_a_look_of_its_own() -> None:
    assert list(LOOKS) == [name for name in names() if name != "doctest"]
    for part in ("label", "short"):
        assert len({getattr(look, part) for look in LOOKS.values()}) == len(LOOKS)
    assert len({(look.colour, look.marker) for look in LOOKS.values()}) == len(LOOKS)
    assert len({(look.colour, look.line) for look in LOOKS.values()}) == len(LOOKS)


def test_colours_differ_in_greyscale_or_the_marks_do() -> None:
    def grey(colour: str) -> float:
        red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
        return 0.299 * red + 0.587 * green + 0.114 * blue

    looks = list(LOOKS.values())
    for i, a in enumerate(looks):
        for b in looks[i + 1 :]:
            assert abs(grey(a.colour) - grey(b.colour)) > 25 or a.marker != b.marker
    assert len(set(COLOURS)) == len(COLOURS)


@pytest.mark.parametrize("seeds", [1, 3])
def test_draws_a_mean_and_a_mark_for_each_seed(seeds: int) -> None:
    fig, (left, right) = figure(columns=2)
    plot_methods(left, rows(seeds), "accuracy", factor=100)
    plot_histories(right, rows(seeds), "loss")
    marks = [line for line in left.lines if len(line.get_xdata()) == seeds]
    assert len(marks) >= len(METHODS) + 1
    drawn = [LOOKS[method].label for method in LOOKS if method in METHODS]
    assert [line.get_label() for line in right.lines] == [*drawn, "mine"]
    assert fig.get_size_inches()[0] == WIDTH
    fig.canvas.draw()


def test_a_forest_shows_paired_differences() -> None:
    made = rows(3)
    for row in made:
        row["result"]["accuracy"] += {"phi": 0.02, "mine": -0.01}.get(row["config"]["method"], 0)
    _, (ax,) = figure()
    plot_differences(ax, made, "none", ["phi", "mine"], "accuracy", factor=100)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["meta-trained phi", "mine"]
    seeds = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 3]
    assert seeds[0] == pytest.approx([2, 2, 2]) and seeds[1] == pytest.approx([-1, -1, -1])
    low, high = ax.get_ylim()
    assert low > high  # the first on top
    with pytest.raises(MplibError, match="expected the same ones"):
        plot_differences(ax, made, "none", ["dropout"], "accuracy")


def test_a_reliability_diagram_shows_each_bin_with_its_interval() -> None:
    confidence = torch.linspace(0.05, 1, 200)
    bins = reliability(confidence, confidence > 0.5, bins=5)
    fig, (ax,) = figure()
    plot_reliability(ax, bins, "phi")
    fig.canvas.draw()
    assert sum(bar.get_height() for bar in ax.patches) == pytest.approx(1)
    drawn = next(line for line in ax.lines if line.get_marker() == LOOKS["phi"].marker)
    assert list(drawn.get_ydata()) == [row.accuracy for row in bins]
    bars = ax.containers[-1].lines[2][0].get_segments()
    assert [tuple(bar[:, 1]) for bar in bars] == [
        (pytest.approx(row.accuracy_low), pytest.approx(row.accuracy_high)) for row in bins
    ]


def test_refuses_nothing() -> None:
    _, (ax,) = figure()
    with pytest.raises(MplibError, match="no bins"):
        plot_reliability(ax, [])
    for plot in (plot_methods, plot_histories):
        with pytest.raises(MplibError, match="no rows"):
            plot(ax, [], "accuracy")
