"""Spelling: what is wrong is found, our own words are ours, and nothing in our list is stale."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpbook import spelling
from mpbook.layout import Book
from tests.tiny import Tiny, chapter, markdown

ROOT = Path(__file__).resolve().parent.parent


def test_the_book_is_spelt_right() -> None:
    assert spelling.problems(Book(ROOT)) == []


@pytest.mark.parametrize("word", ["recieve", "seperate", "occured", "regularisor", "teh", "langauge", "calibraton"])
def test_the_dictionary_does_not_know_what_is_wrong(word: str) -> None:
    assert not spelling.known(word)


@pytest.mark.parametrize("word", ["colour", "modelled", "normalised", "Optimises", "noise", "promising", "isn't"])
def test_the_dictionary_knows_british_spellings(word: str) -> None:
    assert spelling.known(word)
    assert not spelling.american(word)


@pytest.mark.parametrize("word", ["color", "neighboring", "Analyze", "modeled", "initialization", "grays", "behavior"])
def test_american_spellings_are_found(word: str) -> None:
    assert spelling.american(word)


@pytest.mark.parametrize("word", ["size", "resized", "oversized", "prizes", "humorous", "parameter", "artificial"])
def test_words_that_only_look_american_are_left_alone(word: str) -> None:
    assert not spelling.american(word)


def test_a_wrong_word_is_named_with_its_place_and_a_stale_one_is_found(tiny: Tiny) -> None:
    root = tiny({"one": [*chapter(), markdown("more", "The foolbox recieves a color.")]})
    (root / "book" / spelling.OWN).write_text("# remarks\nfoolbox\nnowhere\n")
    assert spelling.problems(Book(root)) == [
        "one.ipynb, cell more: 'recieves' is in no list, expected it right or in book/words.txt",
        "one.ipynb, cell more: 'color' is American, expected the British spelling",
        "book/words.txt has 'nowhere', which no page uses, expected it gone",
    ]
