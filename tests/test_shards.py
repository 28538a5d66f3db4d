"""Parquet shards: read as written, and every way they can be wrong."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from mplib.data import load
from mplib.data.shards import count_rows, find_shards, read_classes, read_shards
from mplib.errors import MplibError


def picture(value: int, size: int = 8) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), value, dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def write(path: Path, rows: list[tuple[Any, Any]], label_type: pa.DataType | None = None) -> None:
    images = pa.array(
        [{"bytes": content, "path": "x.png"} for content, _ in rows],
        type=pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    labels = pa.array([label for _, label in rows], type=label_type or pa.int64())
    pq.write_table(pa.table({"image": images, "label": labels}), path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six training images in two shards, two to test on: the k-th is filled with 10 k and has the label k mod 2."""
    folder = tmp_path / "mine"
    folder.mkdir()
    rows = [(picture(10 * k), k % 2) for k in range(8)]
    write(folder / "train-00000-of-00002.parquet", rows[:4])
    write(folder / "train-00001-of-00002.parquet", rows[4:6])
    write(folder / "test-00000-of-00001.parquet", rows[6:])
    (folder / "classes.json").write_text('["cat", "dog"]')
    return folder


def test_reads_what_was_written(folder: Path, tmp_path: Path) -> None:
    data = load("mine", image_size=8, root=tmp_path)
    assert data.name == "mine"
    assert data.classes == ["cat", "dog"]
    assert data.train.images[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40, 50]
    assert data.train.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert data.test.images[:, 2, 7, 7].tolist() == [60, 70]
    assert str(tmp_path) not in data.source


def test_resizes(folder: Path, tmp_path: Path) -> None:
    assert load("mine", image_size=20, root=tmp_path).train.images.shape == (6, 3, 20, 20)


def test_counts_without_decoding(folder: Path) -> None:
    shards = find_shards(folder)
    assert {split: count_rows(paths) for split, paths in shards.items()} == {"train": 6, "test": 2}


def test_validation_serves_where_there_is_no_test(folder: Path, tmp_path: Path) -> None:
    (folder / "test-00000-of-00001.parquet").rename(folder / "validation-00000-of-00001.parquet")
    assert load("mine", image_size=8, root=tmp_path).test.n == 2


def test_small_integer_labels_and_other_columns_are_fine(folder: Path, tmp_path: Path) -> None:
    path = folder / "test-00000-of-00001.parquet"
    write(path, [(picture(1), 0), (picture(2), 1)], pa.int8())
    table = pq.read_table(path).append_column("extra", pa.array(["a", "b"]))
    pq.write_table(table, path)
    assert load("mine", image_size=8, root=tmp_path).test.labels.dtype == torch.int64


def test_missing_shard(folder: Path, tmp_path: Path) -> None:
    (folder / "train-00000-of-00002.parquet").unlink()
    with pytest.raises(MplibError, match=r"lacks train-00000-of-00002.parquet, expected all 2 shards of train"):
        load("mine", root=tmp_path)


def test_two_divisions(folder: Path, tmp_path: Path) -> None:
    write(folder / "train-00000-of-00001.parquet", [(picture(0), 0)])
    with pytest.raises(MplibError, match="numbered of 1 and of 2, expected one division"):
        load("mine", root=tmp_path)


@pytest.mark.parametrize("keep", [0, 4, 200, -1])
def test_truncated_shard(folder: Path, tmp_path: Path, keep: int) -> None:
    path = folder / "train-00001-of-00002.parquet"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(MplibError, match=r"train-00001-of-00002.parquet cannot be read \(.*\), expected a whole"):
        load("mine", root=tmp_path)
    with pytest.raises(MplibError, match="has a shard that cannot be read"):
        count_rows([path])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"img": [b"x"], "label": [0]},
            r"has the columns img, label, expected image \(a struct with bytes\)",
        ),
        ({"image": [b"x"], "label": [0]}, "has image as binary and label as int64"),
        ({"image": [{"path": "x"}], "label": [0]}, "expected image"),
        ({"image": [{"bytes": b"x"}], "label": ["cat"]}, "label as string"),
        ({"image": [{"bytes": None, "path": "x"}], "label": [0]}, "1 rows without bytes"),
        ({"image": [{"bytes": b"x"}], "label": pa.array([None], pa.int64())}, "1 rows without label"),
    ],
)
def test_wrong_columns(folder: Path, tmp_path: Path, table: dict[str, Any], message: str) -> None:
    pq.write_table(pa.table(table), folder / "train-00000-of-00002.parquet")
    with pytest.raises(MplibError, match=message):
        load("mine", root=tmp_path)


@pytest.mark.parametrize("label", [2, -1])
def test_label_out_of_range(folder: Path, tmp_path: Path, label: int) -> None:
    write(folder / "test-00000-of-00001.parquet", [(picture(0), label)])
    with pytest.raises(MplibError, match=rf"has label {label}, expected 0 to 1, the indices of classes.json"):
        load("mine", root=tmp_path)


def test_broken_image_is_named_by_shard_and_row(folder: Path, tmp_path: Path) -> None:
    write(folder / "train-00001-of-00002.parquet", [(picture(0), 0), (picture(0)[:30], 1)])
    with pytest.raises(MplibError, match=r"row 1 of .*train-00001-of-00002.parquet cannot be decoded"):
        load("mine", root=tmp_path)


def test_no_rows(folder: Path, tmp_path: Path) -> None:
    write(folder / "test-00000-of-00001.parquet", [])
    with pytest.raises(MplibError, match="the test split is empty"):
        load("mine", root=tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read .*classes.json"),
        ("[", "classes.json is not valid JSON"),
        ('{"a": 1}', "not a list of class names"),
        ("[1, 2]", "not a list of class names"),
        ('["one"]', "label 1, expected 0 to 0"),
    ],
)
def test_class_names(folder: Path, tmp_path: Path, content: str | None, message: str) -> None:
    path = folder / "classes.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(MplibError, match=message):
        load("mine", root=tmp_path)


@pytest.mark.realdata
def test_a_real_set_reads_as_pandas_and_pillow_read_it() -> None:
    """Any set of shards that is there, the smallest of them, at its own size."""
    import pandas as pd

    from mplib.data.folders import find_folders
    from mplib.data.registry import data_root

    folders = [data_root() / name for name in find_folders(data_root())]
    sets = [folder for folder in folders if find_shards(folder)]
    if not sets:
        pytest.skip("no parquet shards under MPLIB_DATA")
    folder = min(sets, key=lambda f: count_rows(find_shards(f)["train"]))
    shards = find_shards(folder)["train"]
    frame = pd.concat([pd.read_parquet(path) for path in shards], ignore_index=True)
    pictures = []
    for row in frame["image"]:
        with Image.open(io.BytesIO(row["bytes"])) as image:
            pictures.append(np.asarray(image.convert("RGB")))
    split = read_shards(shards, pictures[0].shape[0], len(read_classes(folder)), folder.name)
    assert np.array_equal(split.images.numpy(), np.stack(pictures).transpose(0, 3, 1, 2))
    assert np.array_equal(split.labels.numpy(), frame["label"].to_numpy())
    assert json.loads((folder / "classes.json").read_text()) == read_classes(folder)
