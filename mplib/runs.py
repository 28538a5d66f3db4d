"""The run store: a folder with one small file for every run that was made, and never made again.

A run is keyed by its configuration and by the hash of the code that decides its result. The row holds both, with the
result, the environment, the seconds it took, and a digest of all that. Rows are written whole and never changed, so a
store can be killed at any moment, filled by several writers at once, and merged with another by copying files.

A store is read without this package in one line, and so is what ``mplib runs export`` makes of it::

    pandas.json_normalize([json.loads(file.read_text()) for file in pathlib.Path("runs").glob("*.json")])
    pandas.read_json("rows.jsonl", lines=True)
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from mplib.checkpoints import PathLike
from mplib.errors import MplibError
from mplib.files import read_json, write_new
from mplib.provenance import environment, loaded_source

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]

_log = logging.getLogger("mplib")
_PARTS = ("config", "result", "environment")
_NEEDED = {"key", "seconds", *_PARTS}


def run_key(config: Mapping[str, Any], source: str | None = None) -> str:
    """The name of a run: 16 hexadecimal digits from its configuration and from the hash of the code.

    Args:
        config: what decides the result, as values that JSON can hold.
        source: hash of the code; that of the installed package if None.

    Raises:
        MplibError: the configuration holds something that JSON cannot.

    Example:
        >>> run_key({"seed": 0, "net": "conv4"}, "s") == run_key({"net": "conv4", "seed": 0}, "s")
        True
    """
    try:
        text = json.dumps(dict(config), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise MplibError(f"the configuration cannot be written as JSON ({error}), expected plain values") from error
    return hashlib.sha256(f"{text}\n{source or loaded_source()}".encode()).hexdigest()[:16]


class Finding(NamedTuple):
    """Something in the folder of a store that is not a sound row.

    Attributes:
        file: its name.
        kind: "damaged", "misnamed", "duplicate", "mismatch", "altered", "foreign", or "unfinished": what a writer
            that was killed leaves behind, which does no harm and may be deleted.
        what: a sentence.
    """

    file: str
    kind: str
    what: str


class RunStore:
    """Rows of runs in a folder, one JSON file each.

    Args:
        folder: where the rows are; made at the first write.

    Example:
        >>> import tempfile
        >>> store = RunStore(tempfile.mkdtemp())
        >>> row = store.load_or_run({"x": 2}, lambda: {"square": 4})
        >>> store.load_or_run({"x": 2}, lambda: 1 / 0)["result"]   # there already, so not run again
        {'square': 4}
        >>> len(store.frame()), store.verify()
        (1, [])
    """

    def __init__(self, folder: PathLike) -> None:
        self.folder = Path(folder)

    def load_or_run(
        self,
        config: Mapping[str, Any],
        function: Callable[[], Mapping[str, Any]],
        device: torch.device | None = None,
        **more: Any,
    ) -> Row:
        """Give the row of a run; make the run first if it is not there.

        Two writers may make the same run at once. The row of the one that ends first stays, and both get it.

        Args:
            config: what decides the result.
            function: makes the run and gives its result, as values that JSON can hold.
            device: the device it runs on, for the record; the CPU if None.
            **more: what else its environment is to say.

        Returns:
            The row, with ``key``, ``config``, ``result``, ``environment``, ``seconds``, ``finished`` and ``digest``.

        Raises:
            MplibError: the folder cannot be written to, or the row there is damaged.
        """
        key = run_key(config)
        if key in self:
            return self.read(key)
        # Asked for now, since files may change while the run goes on.
        made_with = {**environment(device or torch.device("cpu")), "threads": torch.get_num_threads(), **more}
        started = time.perf_counter()
        result = dict(function())
        return self.keep(config, result, made_with, time.perf_counter() - started)

    def keep(
        self, config: Mapping[str, Any], result: Mapping[str, Any], made_with: Mapping[str, Any], seconds: float
    ) -> Row:
        """Write the row of a run that was made; the arguments are those of :func:`make_row`.

        Returns:
            The row in the store, that of another writer, if one was faster.
        """
        row = make_row(config, result, made_with, seconds)
        try:
            return self.add(row)
        except MplibError:
            if row["key"] not in self:
                raise
            _log.warning("run %s was made twice at once with different results; the first row stays", row["key"])
            return self.read(row["key"])

    def add(self, row: Mapping[str, Any]) -> Row:
        """Put a row of :func:`make_row`, or one copied from another store, into this one.

        Args:
            row: the row.

        Returns:
            The row in the store, this one, or the one that was there with the same result.

        Raises:
            MplibError: there is a row of that key with another result, which is never overwritten; this is not a row;
                or the folder cannot be written to.
        """
        _check_row(row, "what was given")
        if not write_new(self._path(row["key"]), json.dumps(row, indent=2, sort_keys=True) + "\n"):
            present = self.read(row["key"])
            if present["result"] != _plain(row["result"]):
                raise MplibError(
                    f"{self._path(row['key'])} holds another result of the same run, expected a store that does not "
                    "have it: rows are never overwritten"
                )
        return self.read(row["key"])

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._path(key).exists()

    def keys(self) -> list[str]:
        """The keys of all rows, in a fixed order."""
        return [path.stem for path in sorted(self.folder.glob("*.json")) if not path.name.startswith(".")]

    def read(self, key: str) -> Row:
        """The row of a key.

        Raises:
            MplibError: it is not there, or not a row.
        """
        row = read_json(self._path(key))
        _check_row(row, str(self._path(key)))
        return dict(row)

    def rows(self, **config: Any) -> list[Row]:
        """All rows whose configuration has these values, made with whatever version of the code, in a fixed order."""
        wanted = _plain(config)
        return [
            row
            for row in map(self.read, self.keys())
            if all(name in row["config"] and row["config"][name] == value for name, value in wanted.items())
        ]

    def frame(self, **config: Any) -> pd.DataFrame:
        """The same rows as a pandas table."""
        return table(self.rows(**config))

    def verify(self) -> list[Finding]:
        """Look at every file in the folder: is each a whole row, under its key, with what it was written with?

        Returns:
            What is not as it should be; empty for a sound store.
        """
        if not self.folder.is_dir():
            raise MplibError(f"there is no folder {self.folder}, expected one with the rows of runs")
        found = [self._judge(path) for path in sorted(self.folder.iterdir())]
        return [finding for finding in found if finding is not None]

    def _judge(self, path: Path) -> Finding | None:
        if path.name.startswith(".") and path.suffix == ".part":
            return Finding(path.name, "unfinished", "a writer was killed here; delete it when none is at work")
        if path.suffix != ".json" or not path.is_file():
            return Finding(path.name, "foreign", "not the file of a row")
        try:
            row = read_json(path)
            _check_row(row, path.name)
        except MplibError as error:
            return Finding(path.name, "damaged", str(error))
        if path.stem != row["key"]:
            kind = "duplicate" if row["key"] in self else "misnamed"
            return Finding(path.name, kind, f"holds the row of {row['key']}")
        if run_key(row["config"], row["environment"].get("source")) != row["key"]:
            return Finding(path.name, "mismatch", "its configuration and source do not give its key")
        if "digest" in row and _digest(row) != row["digest"]:
            return Finding(path.name, "altered", "it was changed after it was written")
        return None

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"


def make_row(config: Mapping[str, Any], result: Mapping[str, Any], made_with: Mapping[str, Any], seconds: float) -> Row:
    """The row of a run that was made.

    Args:
        config: what decides the result.
        result: what came out.
        made_with: versions, device, commit and ``source``, as :func:`mplib.provenance.environment` gives them, with
            anything else worth recording.
        seconds: wall time.

    Raises:
        MplibError: something that JSON cannot hold.
    """
    row: Row = {
        "key": run_key(config, made_with["source"]),
        "config": dict(config),
        "result": dict(result),
        "environment": dict(made_with),
        "seconds": round(seconds, 3),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    try:
        return {**row, "digest": _digest(row)}
    except TypeError as error:
        raise MplibError(f"the result cannot be written as JSON ({error}), expected plain values") from error


def table(rows: Iterable[Row]) -> pd.DataFrame:
    """Rows as a pandas table: key, a column for each part of configuration, result and environment, and the cost.

    A name that occurs in two of the parts is written ``result.NAME`` or ``environment.NAME`` the second time, and
    what a mapping holds gets ``NAME.INNER``.
    """
    import pandas as pd

    rows = list(rows)
    columns: dict[tuple[str, str], str] = {}
    taken = {*_NEEDED, "finished"}
    for part in _PARTS:
        names = list(dict.fromkeys(name for row in rows for name in _flat(row[part])))
        columns |= {(part, name): f"{part}.{name}" if name in taken else name for name in names}
        taken |= set(names)
    records = []
    for row in rows:
        values = {columns[part, name]: value for part in _PARTS for name, value in _flat(row[part]).items()}
        finished = {"finished": row["finished"]} if "finished" in row else {}
        records.append({"key": row["key"], **values, "seconds": row["seconds"], **finished})
    return pd.DataFrame(records)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _check_row(row: Any, where: str) -> None:
    whole = (
        isinstance(row, Mapping) and row.keys() >= _NEEDED and all(isinstance(row[part], Mapping) for part in _PARTS)
    )
    if not whole:
        raise MplibError(f"{where} is not the row of a run, expected key, config, result, environment and seconds")


def _plain(value: Any) -> Any:
    """A value as it comes back from a file."""
    return json.loads(json.dumps(value))


def _digest(row: Mapping[str, Any]) -> str:
    content = {name: value for name, value in row.items() if name != "digest"}
    return hashlib.sha256(json.dumps(_plain(content), sort_keys=True).encode()).hexdigest()[:16]
