from __future__ import annotations

import matplotlib
import pytest
import torch

from mplib.calibration import reliability
from mplib.errors import MplibError
from mplib.experiments import METHODS
from mplib.plots import COLOURS, LOOKS, WIDTH, figure, plot_histories, plot_methods, plot_reliability

matplotlib.use("Agg")


def rows(seeds: int) -> list[dict]:
    history = [{"step": step, "loss": 1 / step} for step in (1, 2, 3)]
    return [
        {"config": {"method": method}, "result": {"accuracy": 0.5 + seed / 10, "history": history}}
        for seed in range(seeds)
        for method in METHODS
    ]


def test_every_method_has_a_look_of_its_own() -> None:
    assert LOOKS.keys() == METHODS.keys()
    for part in ("label", "short", "colour", "marker"):
        assert len({getattr(look, part) for look in LOOKS.values()}) == len(LOOKS)


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
    assert len(marks) >= len(METHODS)
    assert [line.get_label() for line in right.lines] == [look.label for look in LOOKS.values()]
    assert fig.get_size_inches()[0] == WIDTH
    fig.canvas.draw()


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
