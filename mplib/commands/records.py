"""``mplib runs``: look at the rows of a run store, take them elsewhere, merge them, and check that they are sound."""

from __future__ import annotations

import argparse
import ast
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mplib.commands.shared import add_command, words
from mplib.errors import MplibError, unknown

if TYPE_CHECKING:
    import pandas as pd

FORMATS = (".csv", ".parquet", ".json", ".jsonl")


def add(commands: Any) -> None:
    """Add the command to the parser."""
    text = "list, show, export, verify or merge the recorded rows of a folder"
    about = commands.add_parser("runs", help=text, description=text)
    actions = about.add_subparsers(required=True, metavar="WHAT")
    text = "one line for each row: what differs, and what came out"
    example = "mplib runs list book/results/methods --where method=phi --columns key,seed,accuracy"
    listing = add_command(actions, "list", list_rows, text, example)
    listing.add_argument("--columns", type=words, metavar="NAMES", help="columns to show, as in method,seed,accuracy")
    showing = add_command(actions, "show", show, "everything in one row", "mplib runs show book/results/methods KEY")
    text = f"write the rows as a table: {', '.join(FORMATS)}"
    export = add_command(actions, "export", export_rows, text, "mplib runs export book/results/methods --out rows.csv")
    text = "check that each row is whole and is what was written; status 1 if one is not"
    check = add_command(actions, "verify", verify, text, "mplib runs verify first/runs")
    text = "copy the rows of other folders into one; none is ever overwritten"
    joining = add_command(actions, "merge", merge, text, "mplib runs merge all here/runs there/runs")
    for parser in (listing, showing, export, check, joining):
        parser.add_argument("folder", metavar="FOLDER", help="folder of the rows")
    joining.add_argument("others", nargs="+", metavar="ANOTHER", help="folders of rows to copy from")
    showing.add_argument("key", metavar="KEY", help="the row's key, or as much of its beginning as is unique")
    export.add_argument("--out", metavar="FILE", required=True, help="file to write; its ending is the format")
    for parser in (listing, export):
        parser.add_argument("--where", action="append", default=[], metavar="NAME=VALUE",
                            help="only rows with this value in their configuration (repeatable)")  # fmt: skip


def list_rows(given: argparse.Namespace) -> None:
    """``mplib runs list``: a line for each row."""
    frame = _selected(given)
    if given.columns:
        for name in given.columns:
            if name not in frame:
                raise unknown("column", name, frame.columns)
        shown = frame[given.columns]
    else:
        scalar = frame.loc[:, [not frame[name].map(lambda v: isinstance(v, list)).any() for name in frame]]
        # A column that is the same in every row says nothing about their differences; the key is what `show` takes.
        shown = scalar.loc[:, [name == "key" or scalar[name].nunique(dropna=False) > 1 for name in scalar]]
    print(shown.to_string(index=False, max_colwidth=24, float_format=lambda value: f"{value:.4g}"))
    print(f"{len(frame)} rows")


def show(given: argparse.Namespace) -> None:
    """``mplib runs show``: everything in one row."""
    store = _store(given)
    keys = list(filter(lambda key: key.startswith(given.key), store.keys()))
    if len(keys) != 1:
        near = f"{len(keys)} rows begin with {given.key!r}" if keys else f"no row begins with {given.key!r}"
        raise MplibError(f"{near}, expected the key of one (see mplib runs list {given.folder})")
    print(json.dumps(store.read(keys[0]), indent=2, sort_keys=True))


def export_rows(given: argparse.Namespace) -> None:
    """``mplib runs export``: the rows as a table in a file."""
    from mplib.files import atomic_path

    out = Path(given.out)
    if out.suffix not in FORMATS:
        raise MplibError(f"--out is {given.out}, expected a file that ends in {', '.join(FORMATS)}")
    frame = _selected(given)
    with atomic_path(out) as temporary:
        if out.suffix == ".jsonl":
            frame.to_json(temporary, orient="records", lines=True, double_precision=15)
        elif out.suffix == ".json":
            frame.to_json(temporary, orient="records", indent=1, double_precision=15)
        else:
            # Neither of the two holds a history: it becomes the text of its JSON.
            flat = frame.map(lambda value: json.dumps(value) if isinstance(value, list) else value)
            flat.to_csv(temporary, index=False) if out.suffix == ".csv" else flat.to_parquet(temporary, index=False)
    print(f"{len(frame)} rows are in {out}")


def verify(given: argparse.Namespace) -> int:
    """``mplib runs verify``: whether every row is whole and unchanged."""
    store = _store(given)
    findings = store.verify()
    for file, kind, what in findings:
        print(f"{kind:10} {file}: {what}")
    wrong = sum(finding.kind != "unfinished" for finding in findings)
    print(f"{len(store.keys())} rows in {given.folder}, {wrong} of the files there are not as they should be")
    return int(wrong > 0)


def merge(given: argparse.Namespace) -> int:
    """``mplib runs merge``: 0 if all rows are there in the end, 1 if one of the same key has another result."""
    from mplib.runs import RunStore

    into, conflicts = RunStore(given.folder), 0
    others = [_there(folder) for folder in given.others]
    for store in others:
        before = len(into.keys())
        for row in store.rows():
            try:
                into.add(row)
            except MplibError as error:
                conflicts += 1
                print(error)
        keys = len(store.keys())
        print(f"{store.folder}: {keys} rows, {len(into.keys()) - before} of them new in {into.folder}")
    return int(conflicts > 0)


def _store(given: argparse.Namespace) -> Any:
    return _there(given.folder)


def _there(folder: str) -> Any:
    from mplib.runs import RunStore

    store = RunStore(folder)
    if not store.folder.is_dir():
        raise MplibError(f"there is no folder {folder}, expected one with the rows of runs")
    return store


def _selected(given: argparse.Namespace) -> pd.DataFrame:
    wanted = {}
    for text in given.where:
        name, equals, value = text.partition("=")
        if not equals:
            raise MplibError(f"--where is {text!r}, expected NAME=VALUE")
        try:
            wanted[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            wanted[name] = value
    frame = _store(given).frame(**wanted)
    if frame.empty:
        raise MplibError(f"no row in {given.folder} has {' and '.join(given.where) or 'been written'}")
    return frame
