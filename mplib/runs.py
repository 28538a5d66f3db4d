"""The run store: a folder with one small file for every run that was made, and never made again.

A run is keyed by its configuration and by the hash of the code that decides its result. The row holds both, with the
result, the environment and the seconds it took. Rows are written whole and never changed, so a store can be stopped
at any moment, filled by two writers at once, and merged with another by copying files.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mplib.checkpoints import PathLike
from mplib.errors import MplibError
from mplib.files import read_json, write_json
from mplib.provenance import environment, loaded_source

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]


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
        >>> len(store.frame())
        1
    """

    def __init__(self, folder: PathLike) -> None:
        self.folder = Path(folder)

    def load_or_run(
        self, config: Mapping[str, Any], function: Callable[[], Mapping[str, Any]], device: torch.device | None = None
    ) -> Row:
        """Give the row of a run; make the run first if it is not there.

        Args:
            config: what decides the result.
            function: makes the run and gives its result, as values that JSON can hold.
            device: the device it runs on, for the record; the CPU if None.

        Returns:
            The row: ``key``, ``config``, ``result``, ``environment``, ``seconds``.

        Raises:
            MplibError: the folder cannot be written to, or the row there is damaged.
        """
        key = run_key(config)
        if self._path(key).exists():
            return self.read(key)
        made_with = environment(device or torch.device("cpu"))  # now, since files may change while the run goes on
        started = time.perf_counter()
        result = dict(function())
        row = {
            "key": key,
            "config": dict(config),
            "result": result,
            "environment": made_with,
            "seconds": round(time.perf_counter() - started, 3),
        }
        write_json(self._path(key), row)
        return self.read(key)

    def read(self, key: str) -> Row:
        """The row of a key.

        Raises:
            MplibError: it is not there, or not a row.
        """
        row = read_json(self._path(key))
        if not isinstance(row, dict) or not {"key", "config", "result", "environment", "seconds"} <= row.keys():
            raise MplibError(f"{self._path(key)} is not the row of a run, expected key, config, result and environment")
        return row

    def rows(self, **config: Any) -> list[Row]:
        """All rows whose configuration has these values, made with whatever version of the code, in a fixed order."""
        rows = [self.read(path.stem) for path in sorted(self.folder.glob("*.json"))]
        wanted = json.loads(json.dumps(config))
        return [row for row in rows if all(row["config"].get(key) == value for key, value in wanted.items())]

    def frame(self, **config: Any) -> pd.DataFrame:
        """The same rows as a pandas table."""
        return table(self.rows(**config))

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"


def table(rows: Iterable[Row]) -> pd.DataFrame:
    """Rows as a pandas table: a column for each part of configuration, result and environment, key and seconds."""
    import pandas as pd

    return pd.DataFrame(
        {"key": row["key"], **row["config"], **row["result"], **row["environment"], "seconds": row["seconds"]}
        for row in rows
    )
