"""A set cut into pieces is the same set when the pieces are joined, and says which piece is missing."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mplib.data import describe, load
from mplib.data.packing import pack
from mplib.errors import MplibError
from tests.test_shards import picture


def noise(k: int) -> bytes:
    """A picture that cannot be compressed, about 190 KB."""
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(k).integers(0, 256, (250, 250, 3), dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def write(path: Path, contents: list[bytes]) -> None:
    labels = pa.array([k % 2 for k in range(len(contents))], type=pa.int64())
    images = pa.array([{"bytes": content, "path": None} for content in contents])
    pq.write_table(pa.table({"image": images, "label": labels}), path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A set ``big``: 18 noisy training images in three shards of 1.1 MiB, two plain ones to test on."""
    folder = tmp_path / "root" / "big"
    folder.mkdir(parents=True)
    for shard in range(3):
        write(folder / f"train-{shard:05d}-of-00003.parquet", [noise(6 * shard + k) for k in range(6)])
    write(folder / "validation-00000-of-00001.parquet", [picture(7), picture(9)])
    (folder / "classes.json").write_text('["cat", "dog"]')
    return tmp_path / "root"


def joined(places: list[Path]) -> str:
    return os.pathsep.join(map(str, places))


def sizes(places: list[Path]) -> list[int]:
    return [sum(path.stat().st_size for path in place.rglob("*") if path.is_file()) for place in places]


def test_shards_that_fit_are_carried_as_they_are(root: Path, tmp_path: Path) -> None:
    places = pack("big", tmp_path / "out", max_mib=2.5, root=root)
    assert [place.name for place in places] == ["big-1of2", "big-2of2"]
    assert max(sizes(places)) <= 2.5 * 2**20
    for original in (root / "big").glob("*.parquet"):
        [copy] = (tmp_path / "out").glob(f"*/big/{original.name}")
        assert copy.read_bytes() == original.read_bytes()
    for roots in (joined(places), joined(places[::-1])):
        assert load("big", 32, roots).fingerprint == load("big", 32, root).fingerprint
    about = describe("big", joined(places))
    assert (about.train, about.test, about.classes) == (18, 2, 2)
    assert "parquet shards in 2 pieces" in about.origin


def test_larger_shards_are_cut(root: Path, tmp_path: Path) -> None:
    places = pack("big", tmp_path / "out", max_mib=1, root=root)
    assert len(places) > 3 and max(sizes(places)) <= 2**20
    assert load("big", 32, joined(places)).fingerprint == load("big", 32, root).fingerprint
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_other_sets_are_stored_without_loss(tmp_path: Path) -> None:
    places = pack("digits", tmp_path, image_size=8)
    packed, original = load("digits", 8, joined(places)), load("digits", 8)
    assert packed.fingerprint == original.fingerprint and packed.classes == original.classes
    assert packed.flip == original.flip
    with pytest.raises(MplibError, match="'digits' is not in parquet shards, expected image_size to decode it at"):
        pack("digits", tmp_path / "again")


def test_splits_can_be_packed_apart(root: Path, tmp_path: Path) -> None:
    train = pack("big", tmp_path / "out", split="train", root=root)
    assert [place.name for place in train] == ["big-train-1of1"]
    with pytest.raises(MplibError, match="has the splits train, expected train and one of"):
        load("big", 32, joined(train))
    both = train + pack("big", tmp_path / "out", split="validation", root=root)
    assert load("big", 32, joined(both)).fingerprint == load("big", 32, root).fingerprint
    with pytest.raises(MplibError, match="has no split 'test', expected one of train, validation"):
        pack("big", tmp_path / "out", split="test", root=root)


def test_a_missing_piece_is_named(root: Path, tmp_path: Path) -> None:
    places = pack("big", tmp_path / "out", max_mib=2.5, root=root)
    with pytest.raises(MplibError, match="big lacks train-00002-of-00003.parquet, which is in the piece big-2of2"):
        load("big", 32, joined(places[:1]))
    with pytest.raises(MplibError, match="lacks train-00000-of-00003.parquet, which is in the piece big-1of2"):
        load("big", 32, joined(places[1:]))


def test_refuses(root: Path, tmp_path: Path) -> None:
    pack("big", tmp_path / "out", root=root)
    with pytest.raises(MplibError, match="out holds pieces of big already, expected a folder without"):
        pack("big", tmp_path / "out", root=root)
    with pytest.raises(MplibError, match="max_mib is 0.5, expected at least 1"):
        pack("big", tmp_path / "new", max_mib=0.5, root=root)
    with pytest.raises(MplibError, match="unknown data set 'bug', did you mean 'big'"):
        pack("bug", tmp_path / "new", root=root)
    (tmp_path / "file").write_text("")
    with pytest.raises(MplibError, match="cannot write to .*file"):
        pack("big", tmp_path / "file", root=root)
    huge = np.random.default_rng(0).integers(0, 256, (800, 800, 3), dtype=np.uint8)
    Image.fromarray(huge).save(tmp_path / "huge.png")
    write(root / "big" / "validation-00000-of-00001.parquet", [(tmp_path / "huge.png").read_bytes()])
    with pytest.raises(MplibError, match="max_mib is 1, but one image of 'big' is larger, expected more"):
        pack("big", tmp_path / "new", max_mib=1, root=root)
