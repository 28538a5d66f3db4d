from __future__ import annotations

import pytest

from mpbook import modelcards
from mpbook.layout import find
from mplib.files import read_json
from mplib.runs import RunStore


def test_the_cards_in_the_wheel_say_what_the_rows_say() -> None:
    book = find()
    known = {row["key"] for store in (book.root / "book" / "results").iterdir() for row in RunStore(store).rows()}
    for file, content in modelcards.measured(book):
        stored = read_json(file)
        assert stored["rows"] == content["rows"]
        assert set(content["rows"]) <= known
        for ours, theirs in zip(stored["effects"], content["effects"], strict=True):
            assert ours["accuracy"] == pytest.approx(theirs["accuracy"]) and ours["nll"] == pytest.approx(theirs["nll"])
            assert {**ours, "accuracy": 0, "nll": 0} == {**theirs, "accuracy": 0, "nll": 0}
