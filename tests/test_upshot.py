"""The sentence of the front page about the claims."""

from __future__ import annotations

import re
from pathlib import Path

from mpbook import claims, verdicts
from mpbook.generated import upshot
from mpbook.layout import Book

ROOT = Path(__file__).resolve().parent.parent


def test_every_claim_that_rests_on_recorded_rows_is_counted_once() -> None:
    said = upshot.text(Book(ROOT))
    total, *parts = (int(number) for number in re.findall(r"\d+", said))
    asked = [claim for claim in claims.load(ROOT / "book" / "claims.yml") if "live" not in claim.measure["stores"]]
    assert total == sum(parts) == len(asked) > 5
    found = verdicts.stores(ROOT / "book" / "results")
    for verdict, number in verdicts.summary(verdicts.judge(claim, found) for claim in asked).items():
        assert f"{number} *{verdict}*" in said
