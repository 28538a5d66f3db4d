"""What is drawn stands out from its ground, and two methods are told apart without colour."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from mplib.plots import COLOURS, LOOKS

GROUND = "#ffffff"  # of every figure, in dark pages too
LINES = 3.0  # contrast that WCAG 2.1 asks of lines and marks
APART = 10.0  # difference in CIE lightness that is seen side by side


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb``, as WCAG defines it."""
    channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def lightness(colour: str) -> float:
    """CIE L* of a colour: what is left of it in greyscale."""
    return 116 * luminance(colour) ** (1 / 3) - 16


def test_the_measure_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # the usual example of what just fails


@pytest.mark.parametrize("colour", sorted({*COLOURS, *(look.colour for look in LOOKS.values())}))
def test_every_colour_stands_out_from_the_ground_of_a_figure(colour: str) -> None:
    assert contrast(colour, GROUND) >= LINES


def test_two_methods_differ_without_colour() -> None:
    """In lightness or, where they are alike in grey, in their marker."""
    clashes = [
        (one.label, other.label)
        for one, other in itertools.combinations(LOOKS.values(), 2)
        if one.marker == other.marker and abs(lightness(one.colour) - lightness(other.colour)) < APART
    ]
    assert clashes == []


def test_methods_of_a_family_differ_in_their_line_too() -> None:
    """In one colour and in the same panel, they are what is most often mixed up."""
    lines = [(look.colour, look.line) for look in LOOKS.values()]
    assert len(set(lines)) == len(lines)


def test_the_colours_of_the_chapters_own_stand_out_too() -> None:
    """Greys are for what is not data."""
    root = Path(__file__).resolve().parent.parent
    for path in sorted((root / "book").glob("*.ipynb")):
        for colour in re.findall(r'"(#[0-9A-Fa-f]{6})"', path.read_text(encoding="utf-8").replace('\\"', '"')):
            grey = len({colour[1:3], colour[3:5], colour[5:7]}) == 1
            assert grey or contrast(colour, GROUND) >= LINES, f"{path.name}: {colour}"
