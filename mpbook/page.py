"""What a chapter imports for its page: the badge, tables, the runs behind them, intended errors, where its files are.

Everything shown has two forms: HTML for the page, and plain text for terminals, screen readers' copies and the
comparison with the references. The HTML names the runs that its numbers come from, in the attribute ``data-runs``,
which :mod:`mpbook.tracing` reads: what a page computes itself comes from the run of the page, named in its badge.
"""

from __future__ import annotations

import contextlib
import html
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from mpbook import layout
from mpbook.comparing import MISSING, number
from mpbook.worker import RUN
from mplib import devices, provenance
from mplib.errors import MplibError, unknown
from mplib.files import read_json
from mplib.runs import Row

MEANING = {
    "smoke": ("warning", "Smoke preset: the numbers on this page only show that the code runs. Do not quote them."),
    "fast": ("note", "Fast preset: minutes on a laptop, small data and few seeds."),
    "full": ("tip", "Full preset: paper scale, on one GPU."),
}
OUTCOME = "mpbook_outcome"
"""The metadata of an output that hold a chapter's numbers in the executed notebook."""
SCRATCH = "MPBOOK_SCRATCH"
"""The environment variable that gives a run a scratch folder of its own, so that a sweep's runs do not meet."""


class Shown:
    """Something with a form for the page and a form for plain text."""

    def __init__(self, page: str, plain: str) -> None:
        self.page, self.plain = page, plain

    def _repr_html_(self) -> str:
        return self.page

    def __repr__(self) -> str:
        return self.plain


def badge(preset: str, seeds: Iterable[int] = (), device: str = "auto") -> Shown:
    """What the outputs of this page were made with, as a note at its top.

    Nothing in it depends on the clock, so two equal runs give the same badge.

    Args:
        preset: the chapter's parameter ``preset``.
        seeds: the seeds of the page, if any.
        device: the chapter's device, ``"auto"`` as everywhere.

    Returns:
        The note, to be the last expression of a cell.

    Example:
        >>> print(badge("smoke", seeds=[0, 1]))  # doctest: +ELLIPSIS
        Smoke preset: the numbers on this page only show that the code runs. Do not quote them.
        Made on cpu ...; seeds 0, 1.
        ...
    """
    if preset not in MEANING:
        raise unknown("preset", preset, MEANING)
    kind, meaning = MEANING[preset]
    made = provenance.environment(devices.resolve(device))
    line = f"Made on {made['device']} with torch {made['torch']}, Python {made['python']}, mplib {made['mplib']}"
    line += f" ({made['source']}), commit {made['commit']}"
    numbers = ", ".join(str(seed) for seed in seeds)
    line += f"; {'seeds' if ',' in numbers else 'seed'} {numbers}." if numbers else "."
    title, _, rest = meaning.partition(": ")
    run = os.environ.get(RUN, "")
    own = (
        f"What this page computes itself is run {run}." if run else "Run by hand: what it computes is recorded nowhere."
    )
    linked = html.escape(own).replace(run, _link(run)) if run else own
    page = (
        f'<div class="admonition {kind} mpbook-badge" data-runs="{run}"><p class="admonition-title">{title}</p>'
        f"<p>{rest[0].upper()}{rest[1:]}</p><p>{html.escape(line)}</p><p>{linked}</p></div>"
    )
    return Shown(page, f"{meaning}\n{line}\n{own}")


def table(rows: Any, caption: str, digits: int = 3, runs: Iterable[Row] | None = None) -> Shown:
    """A table that a screen reader can read: a caption, and a header for each column and each row.

    Args:
        rows: a pandas DataFrame, or a sequence of mappings with equal keys. The first column names the row. A value may
            be something shown, such as :func:`sources` or :func:`chapter`.
        caption: one sentence above the table.
        digits: decimals of every float.
        runs: the rows of a run store that the numbers come from, see :func:`sources`; None where the page computes
            them itself.

    Returns:
        The table, to be the last expression of a cell; its plain text is rounded alike, so the cell can be checked.

    Raises:
        MplibError: there are no rows.

    Example:
        >>> table([{"control": "plain", "accuracy": 0.90123}, {"control": "noise", "accuracy": None}], "Accuracy")
        Accuracy
        control  accuracy
        plain       0.901
        noise           –
    """
    records: Sequence[Mapping[str, Any]] = rows.to_dict("records") if hasattr(rows, "to_dict") else list(rows)
    if not records:
        raise MplibError(f"the table {caption!r} has no rows, expected at least one")
    names = list(records[0])
    cells = [[_text(record[name], digits) for name in names] for record in records]
    marked = [[_markup(record[name], digits) for name in names] for record in records]
    numeric = [all(_is_number(record[name]) for record in records) for name in names]

    head = "".join(
        _cell("th", html.escape(str(name)), is_number, "col") for name, is_number in zip(names, numeric, strict=True)
    )
    body = ""
    for row in marked:
        first, *others = (
            _cell("td" if i else "th", text, numeric[i], "" if i else "row") for i, text in enumerate(row)
        )
        body += f"<tr>{first}{''.join(others)}</tr>"
    page = (
        f'<div class="mpbook-table"><table class="table"><caption>{_typeset(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
    widths = [max(len(str(name)), *(len(row[i]) for row in cells)) for i, name in enumerate(names)]
    lines = [
        "  ".join(
            text.rjust(width) if is_number else text.ljust(width)
            for text, width, is_number in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in [[str(name) for name in names], *cells]
    ]
    plain = "\n".join([caption, *lines])
    if runs is None:
        return Shown(page, plain)
    named = sources(runs)
    return Shown(page + named.page, f"{plain}\n{named.plain}")


def sources(rows: Iterable[Row]) -> Shown:
    """The runs that a table, a figure or a sentence comes from: folded, each id a link to its row.

    A figure's goes into the next cell, because the page would put the caption around both.

    Args:
        rows: rows of a :class:`mplib.runs.RunStore`; each is named once.

    Returns:
        What to show, to be the last expression of a cell. Its plain text says how many, so it may be checked.

    Raises:
        MplibError: there are no rows.

    Example:
        >>> made = {"device": "cpu", "source": "a1", "commit": "c1"}
        >>> sources([{"key": "0f", "environment": made}, {"key": "0f", "environment": made}])
        From 1 run
    """
    unique = {row["key"]: row for row in rows}
    if not unique:
        raise MplibError("there are no rows to name, expected at least one")
    plain = f"From {len(unique)} run{'s' if len(unique) > 1 else ''}"
    made: dict[str, list[str]] = {"store": [_store(key) for key in unique]}
    made |= {name: [row["environment"][name] for row in unique.values()] for name in ("device", "source", "commit")}
    words = "; ".join(_named(name, sorted(set(values))) for name, values in made.items())
    links = " ".join(_link(key) for key in unique)
    page = (
        f'<details class="mpbook-runs" data-runs="{" ".join(unique)}"><summary>{plain} ({html.escape(words)})</summary>'
        f"<p>{links}</p></details>"
    )
    return Shown(page, plain)


def chapter(name: str, text: str | None = None) -> Shown:
    """A link to another chapter, for a cell of a table.

    Args:
        name: the chapter.
        text: what the link says, the chapter's title if nothing is given.

    Raises:
        MplibError: there is no such chapter.
    """
    book = layout.Book(root())
    title = next(line for line in _title(book.source(name)) if line.startswith("# "))
    return Shown(f'<a href="{name}.html">{html.escape(text or title[2:].strip())}</a>', text or name)


class Outcome(Shown):
    """The numbers that stand for a run of the chapter: a table on the page, and data for a sweep."""

    def __init__(self, shown: Shown, values: Mapping[str, Any]) -> None:
        super().__init__(shown.page, shown.plain)
        self.values = dict(values)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        return {}, {OUTCOME: self.values}  # as metadata: a type of output of our own would be unknown to the renderer


def outcome(**values: Any) -> Outcome:
    """Declare the numbers that stand for a run of this chapter: what ``mplib sweep`` makes a row of.

    They are shown as a table, and kept as data in the executed notebook.

    Args:
        values: numbers, texts and truth values by name; None, or a number that is not finite, is a missing value.

    Returns:
        The table, to be the last expression of a cell. A chapter may have several such cells.

    Raises:
        MplibError: no values, or one that is neither number, text, truth value nor None.

    Example:
        >>> outcome(accuracy=0.5, method="phi")
        What a sweep of this chapter records
        name      value
        accuracy  0.500
        method    phi
    """
    plain = {name: _plain(name, value) for name, value in values.items()}
    rows = [{"name": name, "value": _text(value, 3)} for name, value in plain.items()]
    return Outcome(table(rows, "What a sweep of this chapter records"), plain)


@contextlib.contextmanager
def shows(*errors: type[Exception]) -> Iterator[None]:
    """Print the error that a block is meant to raise, and go on.

    papermill takes any error output for a failure, so an intended error is shown as its sentence.

    Args:
        errors: the types that are meant. Others are raised as usual.

    Raises:
        AssertionError: the block raised nothing, so the page would claim what is not true.

    Example:
        >>> with shows(ZeroDivisionError):
        ...     _ = 1 / 0
        ZeroDivisionError: division by zero
    """
    try:
        yield
    except errors as error:
        print(f"{type(error).__name__}: {error}")
    else:
        raise AssertionError(f"nothing was raised, expected {' or '.join(kind.__name__ for kind in errors)}")


def root() -> Path:
    """The root of the book, whatever folder the notebook runs in."""
    return layout.find().root


def results(*parts: str) -> Path:
    """A file or folder among the recorded rows, ``book/results``, which chapters read and never write."""
    return root().joinpath("book", "results", *parts)


def scratch(preset: str, *parts: str) -> Path:
    """Where a chapter may write: ``build/<preset>/scratch``, made if it is not there and never committed.

    In a sweep it is a folder of the run's own, which is removed afterwards.

    Args:
        preset: the chapter's parameter ``preset``.
        parts: names below it, folders that are made too.
    """
    given = os.environ.get(SCRATCH)
    folder = (Path(given) if given else layout.Book(root()).build(preset) / "scratch").joinpath(*parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _plain(name: str, value: Any) -> Any:
    """A value that JSON can hold."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    raise MplibError(f"outcome {name} is a {type(value).__name__}, expected a number, a text, a truth value or None")


def _title(notebook: Path) -> list[str]:
    source = read_json(notebook)["cells"][0]["source"]
    return (source if isinstance(source, str) else "".join(source)).splitlines()


def _store(key: str) -> str:
    """The name of the recorded store that holds a row; rows of no recorded store were made for the page."""
    found = next(iter(results().glob(f"*/{key}.json")), None)
    return found.parent.name if found else "of this page"


def _link(key: str) -> str:
    """The rendering puts every named row beside the pages."""
    return f'<a href="../runs/{key}.json"><code>{key}</code></a>'


def _named(name: str, values: Sequence[str]) -> str:
    """What some rows have in common, or several of; older rows counted a single thread in the plural."""
    text = ", ".join(values).replace(" 1 threads", " 1 thread")
    return f"{name}{'s' if len(values) > 1 and name != 'source' else ''} {text}"


def _typeset(text: str) -> str:
    """A text as HTML, with the apostrophes that the prose has."""
    return html.escape(re.sub(r"(?<=[a-z])'(?=[a-z])|(?<=\bauthors)'|(?<=\bmethods)'", "’", text))


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, Real) and not isinstance(value, bool))


def _markup(value: Any, digits: int) -> str:
    return value.page if isinstance(value, Shown) else _typeset(_text(value, digits))


def _text(value: Any, digits: int) -> str:
    if value is None:
        return MISSING
    if isinstance(value, bool | str | Shown):
        return str(value)
    if isinstance(value, Integral):
        return str(value).replace("-", "−")
    return number(float(value), digits)


def _cell(tag: str, markup: str, number: bool, scope: str) -> str:
    """A cell of a table; numbers are right-aligned by the style sheet."""
    attributes = (f' scope="{scope}"' if scope else "") + (' class="number"' if number else "")
    return f"<{tag}{attributes}>{markup}</{tag}>"
