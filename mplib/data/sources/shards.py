"""Parquet shards in the Hugging Face image layout.

A folder holds ``SPLIT-0000K-of-0000N.parquet`` files, K from 0 to N - 1 (the hub's older names end in a hash:
``-0123456789abcdef.parquet``), or ``SPLIT/000K.parquet`` as the hub converts other formats; either in the folder
itself or in its sub-folder ``data`` or ``default``. A shard has a column ``image`` (or ``img``), a struct with the
field ``bytes`` (an encoded image file), and a column ``label`` (or ``labels``, ``fine_label``) of whole numbers. The
class names, whose index is the label, stand in ``classes.json`` or, as the hub has it, in the shard's own metadata.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mplib import files
from mplib.data.catalogue import Description
from mplib.data.dataset import Split
from mplib.data.images import decode
from mplib.data.sources import pieces
from mplib.data.sources.source import TEST_NAMES, Pictures, Source
from mplib.errors import MplibError

_NAME = re.compile(r"(?P<split>\w+)-(?P<k>\d{5})-of-(?P<n>\d{5})(-[0-9a-f]{16})?\.parquet")
_CONVERTED = re.compile(r"(?P<k>\d{4})\.parquet")
_PLACES = (".", "data", "default")
_IMAGES = ("image", "img")
_LABELS = ("label", "labels", "fine_label")


class Shards(Source):
    """A data set in parquet shards, in one folder or in several that hold the pieces of one.

    Args:
        name: what it is called.
        folders: where the shards are; several only for pieces.

    Raises:
        MplibError: a shard is missing, or there is no split to train or to test on.
    """

    def __init__(self, name: str, folders: list[Path]):
        self.name, self.place, self._folders = name, folders[0], folders
        self._pieces = pieces.join(folders)
        shards = self._pieces or find_shards(folders[0])
        self._tested = tested_split(list(shards), folders[0])
        self._shards = {split: shards[split] for split in ("train", self._tested)}

    @cached_property
    def classes(self) -> list[str]:
        """The class names."""
        return read_classes(self.place, self._shards["train"][0])

    @property
    def shards(self) -> dict[str, list[Path]]:
        """The shards of the split to train on and of that to test on, in order."""
        return self._shards

    def describe(self) -> Description:
        parts = len(self._folders) if self._pieces else 1
        form = "parquet shards" + (f" in {parts} pieces" if parts > 1 else "")
        train, test = (count_rows(paths) for paths in self._shards.values())
        return self._found(form, len(self.classes), train, test, self._tested)

    def files(self) -> list[Path]:
        names = self.place / "classes.json"
        return [path for paths in self._shards.values() for path in paths] + ([names] if names.is_file() else [])

    def read(self, image_size: int) -> Pictures:
        if self._pieces:
            pieces.verify(self._folders)
        train, test = (
            read_shards(paths, image_size, len(self.classes), f"{self.name} {split}")
            for split, paths in self._shards.items()
        )
        return Pictures(train, test, self.classes)


def has_shards(folder: Path) -> bool:
    """Whether there is a shard in a folder, whole or not."""
    return bool(_found(folder))


def tested_split(splits: list[str], folder: Path) -> str:
    """The split to test on, once train is known to be there too.

    Raises:
        MplibError: one of the two is not there.
    """
    tested = next((name for name in TEST_NAMES if name in splits), None)
    if "train" not in splits or tested is None:
        raise MplibError(
            f"{folder} has the splits {', '.join(sorted(splits)) or 'none'}, expected train and one of "
            f"{', '.join(TEST_NAMES)}"
        )
    return tested


def find_shards(folder: Path) -> dict[str, list[Path]]:
    """The shards in a folder, by split, in order; empty if there are none.

    Raises:
        MplibError: a shard of a split is missing, or shards of two divisions lie side by side.
    """
    shards = {}
    for split, divisions in _found(folder).items():
        if len(divisions) > 1:
            raise MplibError(
                f"{folder} holds shards of {split} that are numbered of {' and of '.join(map(str, divisions))}, "
                "expected one division"
            )
        [(count, parts)] = divisions.items()
        count = count or max(parts) + 1  # converted shards do not say how many they are
        missing = [f"{split}-{k:05d}-of-{count:05d}.parquet" for k in range(count) if k not in parts]
        if missing:
            raise MplibError(f"{folder} lacks {', '.join(missing)}, expected all {count} shards of {split}")
        shards[split] = [parts[k] for k in sorted(parts)]
    return shards


def _found(folder: Path) -> dict[str, dict[int, dict[int, Path]]]:
    """By split, by the number of shards that their names tell (0 where they tell none), by place."""
    found: dict[str, dict[int, dict[int, Path]]] = {}
    for place in (folder / inner for inner in _PLACES):
        for path in sorted(place.glob("*.parquet")):
            if match := _NAME.fullmatch(path.name):
                found.setdefault(match["split"], {}).setdefault(int(match["n"]), {})[int(match["k"])] = path
        for split in ("train", *TEST_NAMES):
            for path in sorted((place / split).glob("*.parquet")):
                if match := _CONVERTED.fullmatch(path.name):
                    found.setdefault(split, {}).setdefault(0, {})[int(match["k"])] = path
        if found:
            break
    return found


def read_classes(folder: Path, shard: Path) -> list[str]:
    """The class names of ``classes.json`` or, without that file, of a shard's metadata.

    Raises:
        MplibError: there are none, or something else than a list of names.
    """
    path = folder / "classes.json"
    if path.is_file():
        classes = files.read_json(path)
    else:
        path, classes = shard, _own_classes(shard)
        if classes is None:
            raise MplibError(
                f"{folder} names no classes, expected classes.json with a list of names, or shards that hold them"
            )
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise MplibError(f"{path} holds what is not a list of class names, expected one name for each label")
    return classes


def _own_classes(shard: Path) -> Any:
    """The class names in a shard's metadata, as the hub's own library writes them."""
    schema, _, label = _columns(shard)
    try:
        return json.loads(schema.metadata[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return None


def count_rows(shards: list[Path]) -> int:
    """How many images some shards hold, from their metadata alone.

    Raises:
        MplibError: a shard is cut short or is no parquet file.
    """
    import pyarrow.parquet as pq

    count = 0
    for path in shards:
        try:
            count += int(pq.read_metadata(path).num_rows)
        except (OSError, ValueError) as error:
            raise MplibError(f"{path} cannot be read ({error}), expected a whole parquet file") from error
    return count


def read_shards(shards: list[Path], image_size: int, num_classes: int, title: str) -> Split:
    """Read and decode the shards of one split.

    Args:
        shards: the files, in order.
        image_size: height and width to resize to, in pixels.
        num_classes: labels must be below this.
        title: names the whole in the progress bar.

    Raises:
        MplibError: a shard that cannot be read or has other columns, a label out of range, an image that cannot
            be decoded; the message names the file, and the row.
    """
    labels: list[Tensor] = []
    starts: list[int] = []  # of each shard, in rows
    for path in shards:
        starts.append(sum(len(part) for part in labels))
        part = torch.tensor([label for _, label in read_rows(path, images=False)], dtype=torch.int64)
        for label in part[(part < 0) | (part >= num_classes)][:1].tolist():
            raise MplibError(f"{path} has label {label}, expected 0 to {num_classes - 1}, the indices of the classes")
        labels.append(part)

    def where(row: int) -> str:
        shard = max(i for i, start in enumerate(starts) if start <= row)
        return f"row {row - starts[shard]} of {shards[shard]}"

    contents = (content for path in shards for content, _ in read_rows(path))
    count = sum(len(part) for part in labels)
    return Split(decode(enumerate(contents), count, image_size, where, title), torch.cat(labels))


def read_rows(path: Path, images: bool = True) -> Iterator[tuple[bytes, int]]:
    """The encoded images of a shard with their labels, one after another.

    Args:
        path: the shard.
        images: False reads the labels alone, and gives empty bytes.

    Raises:
        MplibError: a shard that cannot be read or has other columns, or a row without image or label.
    """
    import pyarrow.parquet as pq

    _, image, label = _columns(path)
    wanted = [label, f"{image}.bytes"] if images else [label]
    try:
        with pq.ParquetFile(path) as opened:
            for batch in opened.iter_batches(batch_size=1024, columns=wanted):
                labels = batch[label].to_pylist()
                contents = batch[image].field("bytes").to_pylist() if images else [b""] * len(labels)
                for name, column in (("bytes", contents), ("label", labels)):
                    if gaps := sum(value is None for value in column):
                        raise MplibError(f"{path} has {gaps} rows without {name}, expected none")
                yield from zip(contents, labels, strict=True)
    except MplibError:
        raise
    except (OSError, ValueError) as error:  # pyarrow's own errors derive from these two
        raise MplibError(f"{path} cannot be read ({error}), expected a whole parquet file") from error


def _columns(path: Path) -> tuple[Any, str, str]:
    """The schema of a shard, and what its columns of images and labels are called."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    expected = "expected image (a struct with bytes) and label (whole numbers)"
    try:
        schema = pq.read_schema(path)
    except (OSError, ValueError) as error:
        raise MplibError(f"{path} cannot be read ({error}), expected a whole parquet file") from error
    image = next((name for name in _IMAGES if name in schema.names), None)
    label = next((name for name in _LABELS if name in schema.names), None)
    if image is None or label is None:
        raise MplibError(f"{path} has the columns {', '.join(schema.names) or 'none'}, {expected}")
    kinds = schema.field(image).type, schema.field(label).type
    if not pa.types.is_struct(kinds[0]) or kinds[0].get_field_index("bytes") < 0 or not pa.types.is_integer(kinds[1]):
        raise MplibError(f"{path} has {image} as {kinds[0]} and {label} as {kinds[1]}, {expected}")
    return schema, image, label
