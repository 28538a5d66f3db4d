"""A name of the package leads to where it is defined."""

from __future__ import annotations

import pytest

from mpbook.crossreferences import defined_as


@pytest.mark.parametrize(
    ("written", "defined"),
    [
        ("mplib.MetaPerturb.visit", "mplib.perturb.MetaPerturb.visit"),
        ("mplib.data.load", "mplib.data.registry.load"),
        ("mplib.perturb", "mplib.perturb"),
        ("mplib.plots.LOOKS", "mplib.plots.LOOKS"),
        ("mplib.attachment.Net", "typing.TypeVar"),
        ("mplib.attach.nothing", ""),
        ("torch.nn.Module", ""),
    ],
)
def test_names(written: str, defined: str) -> None:
    assert defined_as(written) == defined
