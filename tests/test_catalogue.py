"""The table of data sets is complete and consistent."""

from __future__ import annotations

import pytest

from mplib.data.catalogue import CATALOGUE, Description


@pytest.mark.parametrize("about", CATALOGUE.values(), ids=CATALOGUE)
def test_rows(about: Description) -> None:
    assert about.kind in {"embedded", "download", "protocol", "folder"}
    assert about.classes is not None
    assert about.classes >= 2
    assert about.train
    assert about.test
    assert len(about.citation) > 20
    lines = str(about).splitlines()
    assert lines[0] == f"{about.name}: {about.title} ({about.kind})"
    assert [line.split()[0] for line in lines[1:]] == ["size", "origin", "protocol", "mirroring", "licence", "citation"]


def test_characters_and_signs_are_not_mirrored() -> None:
    assert {name for name, about in CATALOGUE.items() if not about.flip} == {
        "mnist5k", "s-mnist5k", "digits", "svhn", "gtsrb"
    }  # fmt: skip


def test_unknown_sizes_are_left_out() -> None:
    about = Description("x", "a thing", "folder", None, None, None, "8x8", "here", "none", "free", "nobody")
    assert "size      not known; 8x8" in str(about)
