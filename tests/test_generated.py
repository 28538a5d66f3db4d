"""Generated parts: they say what the code says, and pages that ask for what there is not are refused."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

import mplib
from mpbook import execution, generated, presets
from mpbook.generated import api, commands, costs, parameters
from mpbook.generated.markup import MARK
from mpbook.layout import PRESETS, Book
from mplib import cli
from mplib.errors import MplibError
from tests.tiny import Tiny

ROOT = Path(__file__).resolve().parent.parent


def test_a_page_gets_its_part_and_keeps_its_words(tiny: Tiny) -> None:
    root = tiny(index="# Front\n\nBefore.\n\n<!-- generated: parameters -->\n\nAfter.\n")
    book = Book(root)
    site = root / "site"
    (site / "book").mkdir(parents=True)
    (site / "book" / "index.md").write_text((root / "book" / "index.md").read_text())
    generated.fill(book, site)
    text = (site / "book" / "index.md").read_text()
    assert text.startswith("# Front\n\nBefore.\n\n(parameters-one)=\n## A tiny chapter")
    assert text.endswith("\n\nAfter.\n")
    assert "generated:" not in text


def test_a_part_that_there_is_not_is_refused(tiny: Tiny) -> None:
    root = tiny(index="# Front\n\n<!-- generated: nonsense -->\n")
    with pytest.raises(MplibError, match=r"generated part.*nonsense"):
        generated.fill(Book(root), root)


def test_every_parameter_of_every_chapter_is_there_with_its_values() -> None:
    book = Book(ROOT)
    text = parameters.text(book)
    for name in book.chapters:
        part = text.split(f"(parameters-{name})=")[1].split("(parameters-")[0]
        values = {preset: presets.resolve(book, preset, name) for preset in PRESETS}
        table = BeautifulSoup(part, "html.parser").find("table")
        assert table is not None
        head, *body = [[cell.get_text() for cell in row.find_all(["th", "td"])] for row in table.find_all("tr")]
        assert head == ["parameter", "meaning", "type", *PRESETS]
        found = {row[0]: dict(zip(head, row, strict=True)) for row in body}
        for preset, given in values.items():
            assert {parameter: row[preset] for parameter, row in found.items()} == {
                parameter: value if isinstance(value, str) else repr(value) for parameter, value in given.items()
            }


def test_every_command_and_every_option_is_there() -> None:
    text = commands.text()
    listed = [action for action in cli.parser()._actions if isinstance(action, argparse._SubParsersAction)]
    assert len(listed[0].choices) >= 9
    for name, command in listed[0].choices.items():
        assert f"(command-mplib-{name})=\n### `mplib {name}`" in text
        for action in command._actions:
            for option in set(action.option_strings) - {"-h", "--help"}:
                assert option in text
    for name in ("run", "render", "archive", "look"):
        assert f"(command-mpbook-{name})=\n### `python -m mpbook {name}`" in text
    assert "%(default)s" not in text
    assert "==SUPPRESS==" not in text


def test_a_command_of_another_package_is_there_by_itself() -> None:
    parser = argparse.ArgumentParser(prog="x", description="Does a thing; see `y`.")
    inner = parser.add_subparsers().add_parser("new", description="Is new & <odd>.")
    inner.add_argument("--much", type=int, default=3, help="how much, of %(prog)s (default: %(default)s)")
    inner.add_argument("--secret", help=argparse.SUPPRESS)
    text = "\n".join(commands.program(parser))
    assert "<p>Does a thing; see <code>y</code>.</p>" in text
    assert "### `x new`" in text
    assert "<p>Is new &amp; &lt;odd&gt;.</p>" in text
    assert "<dt><code>--much MUCH</code></dt><dd>how much, of x new (default: 3)</dd>" in text
    assert "secret" not in text


def test_costs_are_those_of_the_runs(executed: Book) -> None:
    (row,) = [json.loads(path.read_text()) for path in costs.rows(executed, "smoke").values()]
    text = costs.text(executed)
    assert f'href="../runs/{row["key"]}.json"' in text
    assert f">{row['seconds']:.1f}</td>" in text
    assert f">{row['result']['peak_mib']}</td>" in text
    assert row["environment"]["device"] in text
    assert text.count("were not run with this preset") == 2
    assert costs.records(executed) == "No rows are recorded."


def test_a_chapter_that_has_changed_has_no_cost(executed: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "up_to_date", lambda book, preset, name: False)
    assert costs.rows(executed, "smoke") == {}


def test_recorded_rows_are_counted_and_summed() -> None:
    stores = {path.parent.name for path in (ROOT / "book" / "results").glob("*/*.json")}
    table = BeautifulSoup(costs.records(Book(ROOT)), "html.parser").find_all("tr")[1:]
    rows = [[cell.get_text() for cell in row.find_all(["th", "td"])] for row in table]
    assert {row[0] for row in rows} == {f"book/results/{store}" for store in stores}
    assert sum(int(row[2]) for row in rows) == len(list((ROOT / "book" / "results").glob("*/*.json")))


def test_the_surface_is_what_the_package_gives() -> None:
    names = re.findall(r"^\{py:obj\}`mplib\.(\w+)`$", api.surface(), re.MULTILINE)
    assert len(set(names)) == len(names) > 15
    assert all(hasattr(mplib, name) for name in names)
    assert {"MetaPerturb", "attach", "predict", "meta_train", "nets", "data"} <= set(names)
    assert not re.search(r"^: *$|:\w+:`|``", api.surface(), re.MULTILINE)


def test_every_module_is_described_once() -> None:
    book = Book(ROOT)
    pages = [(ROOT / page).read_text() for page in book.pages if page.suffix == ".md"]
    marks = [mark for page in pages for mark in MARK.finditer(page)]
    text = "\n".join(api.text(book, mark[2].split()) for mark in marks if mark[1] == "api")
    described = re.findall(r"automodule:: (\S+)", text)
    assert len(set(described)) == len(described)
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / "mplib").rglob("*.py")}
    modules = {name.removesuffix(".__init__") for name in modules} - {"mplib"}
    hidden = {name for name in modules if any(name == h or name.startswith(f"{h}.") for h in api.HIDDEN)}
    assert set(described) == modules - hidden


def test_a_module_that_there_is_not_is_refused() -> None:
    with pytest.raises(MplibError, match=r"mplib\.nothing"):
        api.text(Book(ROOT), ["mplib.nothing"])


def test_the_rows_of_the_costs_are_put_beside_the_pages(executed: Book, tmp_path: Path) -> None:
    costs.publish(executed, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in costs.rows(executed, "smoke").values()}
