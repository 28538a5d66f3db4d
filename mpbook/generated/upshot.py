"""What became of the claims, in one sentence for the front page, judged from recorded rows as the ledger does it."""

from __future__ import annotations

from mpbook import claims, verdicts
from mpbook.layout import Book


def text(book: Book) -> str:
    """How many of the claims that rest on recorded rows got which verdict; those on form are not counted."""
    folder = book.root / "book"
    found = verdicts.stores(folder / "results")
    judged = [verdicts.judge(claim, found) for claim in claims.load(folder / "claims.yml") if _recorded(claim)]
    counts = ", ".join(f"{number} *{verdict}*" for verdict, number in verdicts.summary(judged).items())
    return f"Of {len(judged)} claims that rest on recorded runs: {counts}."


def _recorded(claim: claims.Claim) -> bool:
    return "live" not in claim.measure["stores"]
