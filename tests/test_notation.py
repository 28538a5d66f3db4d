"""The notation page names things that exist."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import mplib
from mpbook.crossreferences import defined_as
from mpbook.texts import prose
from mplib.perturb import Weights

TEXT = (Path(__file__).resolve().parent.parent / "book" / "notation.md").read_text(encoding="utf-8")
NAMES = sorted(set(re.findall(r"[`<](mplib\.[\w.]+)[`>]", TEXT)))
ARGUMENTS = sorted(set(re.findall(r"`(\w+)` of \{py:obj\}`(mplib\.[\w.]+)`", TEXT)))


def _thing(name: str) -> Any:
    thing: Any = mplib
    for part in name.split(".")[1:]:
        thing = getattr(thing, part)
    return thing


@pytest.mark.parametrize("name", NAMES)
def test_each_name_in_code_exists(name: str) -> None:
    assert _thing(name) is not None
    assert defined_as(name)


@pytest.mark.parametrize(("argument", "function"), ARGUMENTS)
def test_each_argument_is_one_of_its_function(argument: str, function: str) -> None:
    assert argument in inspect.signature(_thing(function)).parameters


def test_all_numbers_of_phi_are_in_the_table() -> None:
    assert set(re.findall(r"`Weights\.(\w+) <mplib\.perturb\.Weights>`", TEXT)) == set(Weights._fields)
    assert len(ARGUMENTS) >= 6


def test_no_term_is_explained_twice_and_each_has_a_sentence() -> None:
    glossary = TEXT.split("```{glossary}")[1].split("```")[0]
    terms = re.findall(r"^(\S[^\n]*)\n  (\S[^\n]*)", glossary, re.MULTILINE)
    assert len(terms) >= 20
    assert len({term for term, _ in terms}) == len(terms) == len(re.findall(r"^\S", glossary, re.MULTILINE))
    assert all(len(sentence.split()) > 3 for _, sentence in terms)
    assert "glossary" not in prose(glossary)
