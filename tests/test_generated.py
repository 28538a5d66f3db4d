"""Generated parts: they say what the code says, and pages that ask for what there is not are refused."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

import mplib
from mpbook import execution, generated, notebooks, options, presets
from mpbook.generated import api, commands, costs, names, parameters
from mpbook.generated.markup import MARK
from mpbook.layout import PRESETS, Book
from mplib import cli, regularizers
from mplib.errors import MplibError
from mplib.perturb import pretrained_names
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
    assert text.startswith("# Front\n\nBefore.\n\n(parameters-shared)=\n## In several chapters")
    assert "(parameters-one)=\n## [A tiny chapter](one.ipynb)" in text
    assert text.endswith("\n\nAfter.\n")
    assert "generated:" not in text


def test_a_part_that_there_is_not_is_refused(tiny: Tiny) -> None:
    root = tiny(index="# Front\n\n<!-- generated: nonsense -->\n")
    with pytest.raises(MplibError, match=r"generated part.*nonsense"):
        generated.fill(Book(root), root)


def _tables(page: str) -> list[list[dict[str, str]]]:
    """The tables of a page, a dictionary for each row."""
    found = []
    for table in BeautifulSoup(page, "html.parser").find_all("table"):
        head, *body = [[cell.get_text() for cell in row.find_all(["th", "td"])] for row in table.find_all("tr")]
        found.append([dict(zip(head, row, strict=True)) for row in body])
    return found


def test_every_parameter_of_every_chapter_is_there_with_its_values() -> None:
    book = Book(ROOT)
    text = parameters.text(book)
    (shared,) = _tables(text.split("(parameters-opening)=")[0])
    assert {row["parameter"] for row in shared} == set(parameters.SHARED)
    for name in book.chapters:
        (rows,) = _tables(text.split(f"(parameters-{name})=")[1].split("(parameters-")[0])
        for preset in PRESETS:
            given = presets.resolve(book, preset, name)
            assert {row["parameter"]: row[preset] for row in rows} == {
                key: repr(parameters.value(of)) for key, of in given.items() if key not in parameters.SHARED
            }
        for row in rows:
            index = text.split("(parameters-index)=")[1]
            assert f"[{name}](#parameters-{name})" in index.split(f"- `{row['parameter']}`: ")[1].split("\n")[0]


def test_every_meaning_can_be_read_by_itself() -> None:
    book = Book(ROOT)
    dangling = []
    for name in book.chapters:
        for key, parameter in notebooks.declared(book.source(name)).items():
            text = parameter.help or parameters.SHARED.get(key, "")
            if not text or re.match(r"(of|its|their|there|these|those|this|that)\b", text) or text.endswith(" there"):
                dangling.append((name, key, text))
    assert dangling == []


def test_chapters_are_numbered_as_in_the_contents() -> None:
    book = Book(ROOT)
    text = parameters.text(book)
    assert "## [1. A regulariser that transfers](opening.ipynb)" in text
    assert "## [Your network, your data](your_network.ipynb)" in text
    assert list(book.numbers.values()) == list(range(1, len(book.numbers) + 1))


def _every(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return [each for action in inner for command in action.choices.values() for each in [command, *_every(command)]]


def test_every_command_and_every_option_is_there() -> None:
    text = commands.text()
    assert len(_every(cli.parser())) >= 17
    for program in (cli.parser(), options.parser()):
        common = text.split(f"({commands.anchor(program)}-common)=")[1].split("(command-")[0]
        for command in _every(program):
            part = text.split(f"({commands.anchor(command)})=")[1].split("(command-")[0]
            assert f"# `{command.prog}`\n" in part
            for option in {option for action in command._actions for option in action.option_strings} - {
                "-h",
                "--help",
            }:
                own = re.search(rf"{{option}} (-p .*)?{option}\b", part)
                shared = f"`{option} <" in part and f"{{option}} {option}" in common
                assert own or shared or command.prog == commands.TWICE, (command.prog, option)
    assert "%(default)s" not in text
    assert "==SUPPRESS==" not in text


def test_commands_for_those_who_change_the_book_are_apart() -> None:
    before, after = commands.text().split("(command-mpbook-makers)=")
    for name in options.MAKERS:
        assert f"(command-mpbook-{name})=\n#### " in after
        assert f"(#command-mpbook-{name})" not in before


def test_placeholders_are_telling_and_positional_words_come_first() -> None:
    """Upper case, and mostly not the option's own name again, which says nothing."""
    for command in [*_every(cli.parser()), *_every(options.parser())]:
        for action in command._actions:
            if action.nargs == 0 or isinstance(action, argparse._SubParsersAction):
                continue
            word = str(action.metavar or action.dest.upper())
            assert word == word.upper(), (command.prog, word)
            again = action.option_strings and word.replace("_", "-") == action.option_strings[-1].strip("-").upper()
            assert not again or word in ("DEVICE", "NORM", "PHI", "SEEDS"), (command.prog, word)
    merge = commands.text().split("(command-mplib-runs-list)=")[1]
    assert merge.index("{option} FOLDER") < merge.index("{option} --columns")


def test_every_example_can_be_typed() -> None:
    programs = {"mplib": cli.parser(), "python -m mpbook": options.parser()}
    lines = []
    for block in re.findall(r"```text\n(.*?)\n```", commands.text(), re.DOTALL):
        lines += [line.split("    ")[0] for line in block.splitlines() if "[" not in line.split("    ")[0][:30]]
    pages = "".join((ROOT / page).read_text() for page in ("book/commands.md", "book/parameters.md"))
    lines += re.findall(r"\| `((?:mplib|python -m mpbook) [^`]*)` \|", pages)
    typed = 0
    for line in lines:
        for prog, parser in programs.items():
            if line.startswith(f"{prog} ") and "[options]" not in line and "..." not in line and "FOLDER" not in line:
                parser.parse_args(shlex.split(line.removeprefix(prog)))
                typed += 1
    assert typed > 25


def test_the_names_that_may_be_typed_are_all_there() -> None:
    found = [{next(iter(row.values())) for row in rows} for rows in _tables(names.text())]
    assert found[0] == set(regularizers.names())
    assert found[1] == set(mplib.nets.names())
    assert {"mnist5k", "s-cifar100", "tiny_imagenet"} <= found[2]
    assert found[3] == {f"pretrained:{name}" for name in pretrained_names()}


def test_a_command_of_another_package_is_there_by_itself() -> None:
    parser = argparse.ArgumentParser(prog="x", description="Does a thing; see `y`.")
    inner = parser.add_subparsers().add_parser("new", description="Is new & <odd>.")
    inner.add_argument("--much", type=int, default=3, help="how much, of %(prog)s (default: %(default)s)")
    inner.add_argument("--secret", help=argparse.SUPPRESS)
    text = "\n".join(commands.program(parser))
    assert "Does a thing; see `y`." in text
    assert "### `x new`" in text
    assert "Is new & \\<odd\\>." in text
    assert "```{program} x new\n```" in text
    assert "````{option} --much MUCH\nhow much, of x new (default: 3)\n````" in text
    assert "secret" not in text


def test_costs_are_those_of_the_runs(executed: Book) -> None:
    (row,) = [json.loads(path.read_text()) for path in costs.rows(executed, "smoke").values()]
    text = costs.text(executed)
    assert f'href="../runs/{row["key"]}.json"' in text
    assert f">{row['seconds']:.1f}</td>" in text
    assert f">{row['result']['peak_mib']}</td>" in text
    assert row["environment"]["device"].replace("1 threads", "1 thread") in text
    assert text.count("\n## ") == 1  # no empty sections
    assert text.endswith("No chapter was run with fast and full for this copy of the book.")
    assert costs.seconds(executed, "smoke") == {"one": row["seconds"]}
    assert f"a run took {row['seconds']:.0f} s with smoke" in parameters.text(executed)
    assert costs.records(executed) == "No rows are recorded."


def test_a_chapter_that_has_changed_has_no_cost(executed: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "up_to_date", lambda book, preset, name: False)
    assert costs.rows(executed, "smoke") == {}


def test_recorded_rows_are_counted_and_summed() -> None:
    paths = list((ROOT / "book" / "results").glob("*/*.json"))
    text = costs.records(Book(ROOT))
    (rows,) = _tables(text)
    assert {row["store"] for row in rows} == {path.parent.name for path in paths}
    assert sum(int(row["rows"].split()[0]) for row in rows) == len(paths)
    assert f"Together {len(paths)} rows" in text
    meta = next(row for row in rows if "meta-trainings" in row["rows"])
    assert meta["median seconds a row"] == "–"  # their time was not recorded, which is not a time of 0


def test_a_store_names_the_chapters_that_show_it(executed: Book, tmp_path: Path) -> None:
    executed = Book(shutil.copytree(executed.root, tmp_path / "copy"))
    folder = executed.root / "book" / "results" / "some"
    folder.mkdir(parents=True)
    row = {"config": {"experiment": "transfer"}, "environment": {"device": "cpu"}, "seconds": 36.0}
    (folder / "0123456789abcdef.json").write_text(json.dumps(row))
    assert _tables(costs.records(executed))[0][0]["shown in"] == "–"
    path = executed.executed("smoke", "one")
    made = json.loads(path.read_text())
    shown = {"output_type": "display_data", "metadata": {}, "data": {"text/html": '<p data-runs="0123456789abcdef">'}}
    next(cell for cell in made["cells"] if cell["cell_type"] == "code")["outputs"].append(shown)
    path.write_text(json.dumps(made))
    assert _tables(costs.records(executed))[0][0]["shown in"] == "one"


def test_the_surface_is_what_the_package_gives() -> None:
    names = [name for names in api.SURFACE.values() for name in names]
    assert sorted(names) == sorted(api.public())
    assert len(set(names)) == len(names) > 15
    text = api.surface()
    assert "`attach(net, phi, ...) <mplib.attach>`" in text
    assert not re.search(r"\| \|$|(?<!\{py):\w+:`|``", text, re.MULTILINE)
    assert list(api.SURFACE)[:2] == ["put phi into a network", "train and judge it"]
    assert all(f"mplib.{name}(" in (mplib.__doc__ or "") for name in names[1:8])  # the example has the first eight


def test_modules_name_the_chapters_that_import_them() -> None:
    text = api.overview(Book(ROOT))
    rows = {line.split("<")[1].split(">")[0]: line for line in text.splitlines()[2:]}
    assert "<numbers>" in rows["mplib.compression"]
    assert "<scale>" in rows["mplib.regularizers.matched"]  # by way of mplib.regularizers
    assert rows["mplib.cards"].endswith("| – |")
    assert set(re.findall(r"automodule:: (\S+)", api.text(Book(ROOT), ["others"]))) == set(rows)


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
