"""Typed numbers: what looks measured is found, what a reader needs to calculate is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpbook import notebooks, prose
from mpbook.layout import Book
from mplib.errors import MplibError
from tests.tiny import Tiny, chapter, markdown

ROOT = Path(__file__).resolve().parent.parent


def test_no_text_of_the_book_types_a_result() -> None:
    assert prose.problems(Book(ROOT)) == []


def test_every_chapter_has_a_badge_that_names_its_run() -> None:
    book = Book(ROOT)
    for name in book.chapters:
        sources = [cell["source"] for cell in notebooks.code_cells(notebooks.read(book.source(name)))]
        assert any("badge(preset" in source for source in sources), name


@pytest.mark.parametrize(
    "text",
    [
        "The gain is 1.3 of them.",
        "Accuracy is 93 % there.",
        "It rises by 93% there.",
        "It costs about 4 points.",
        "Six to eight points are lost.",
        "a fifth of a per cent",
        "a loss of 2 nats",
        "It is three times as slow.",
        "It takes 20 ms a step.",
        "It takes twenty seconds.",
        "The file has 12 MiB.",
        "nll -0.28, ECE",
        "(0.5)",
        "```{exercise} Why\nIs it 0.7 there?\n```",
        "| phi | 0.91 |",
        "```{exercise} A\n```\n\nIt is 0.7.\n\n```\nls 0.5\n```",
        "```\nls\n```\n\nIt is 0.7.\n\n```\nls\n```",
    ],
)
def test_finds(text: str) -> None:
    assert len(prose.typed(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "There are 82 numbers in 9 sites, ones that count.",
        "Set `lr = 0.001` and $p = 0.05$, or\n$$\nx = 0.5\n$$\nas {cite}`a2020` says at 3.5.1 of `x`.",
        "```python\nx = 0.5  # 93 %\n```",
        "| Time | fast: 6 minutes, 93 % of it waiting |",
        "[a link](https://example.org/1.5%20x)",
        "A 3x3 kernel, 32 px, Section 2.1.3.",
        "<svg><rect width='0.5'/></svg>",
    ],
)
def test_leaves_alone(text: str) -> None:
    assert prose.typed(text) == []


def test_what_is_allowed_is_named_with_its_words_and_used(tiny: Tiny) -> None:
    root = tiny({"one": [*chapter(), markdown("more", "Over 40 % of\nthe steps it is 0.5.")]})
    allowed = root / "book" / prose.ALLOWED
    allowed.write_text("[]")
    first, second = prose.problems(Book(root))
    assert first.startswith("one.ipynb, cell more: Over 40 % of the steps it is")
    assert second.endswith("or in book/typed_numbers.yml with the reason why it is no result")
    allowed.write_text("- {text: 40 % of the steps, reason: protocol}\n- {text: it is 0.5, reason: given, page: one}")
    assert prose.problems(Book(root)) == []
    allowed.write_text(allowed.read_text() + "\n- {text: 0.7 of it, reason: gone}")
    (stale,) = prose.problems(Book(root))
    assert stale == "book/typed_numbers.yml allows '0.7 of it', which no page holds, expected it gone"
    allowed.write_text("- {text: 40 % of the steps, reason: protocol}\n- {text: it is 0.5, reason: given, page: two}")
    assert len(prose.problems(Book(root))) == 2


def test_captions_and_alternative_texts_are_read_too(tiny: Tiny) -> None:
    cells = chapter()
    cells[3]["metadata"]["mystnb"]["figure"]["caption"] = "It reaches 93 % at the end."
    root = tiny({"one": cells}, index="# Index\n\nIt gains 2 points.\n")
    (root / "book" / prose.ALLOWED).write_text("")
    places = [problem.split(":")[0] for problem in prose.problems(Book(root))]
    assert places == ["index.md", "one.ipynb, figure of cell figure"]


def test_the_list_is_checked(tmp_path: Path) -> None:
    path = tmp_path / prose.ALLOWED
    for content, message in [
        ("- {text: 40 %}", "has the entry {'text': '40 %'}, expected text, reason"),
        ("- {text: 40, reason: x}", "expected words in quotes and a reason"),
        ("- {text: 40 %, reason: ' '}", "expected words in quotes and a reason"),
        ("text: 40 %", "has the entry"),
    ]:
        path.write_text(content)
        with pytest.raises(MplibError, match=message):
            prose.load(path)
