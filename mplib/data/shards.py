"""Parquet shards in the Hugging Face image layout.

A folder holds ``SPLIT-0000K-of-0000N.parquet`` files, K from 0 to N - 1, and ``classes.json``, a list of class
names whose index is the label. A shard has a column ``image``, a struct with the field ``bytes`` (an encoded
image file), and a column ``label`` of whole numbers.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mplib import files
from mplib.data.dataset import Split
from mplib.data.images import decode
from mplib.errors import MplibError

_NAME = re.compile(r"(?P<split>\w+)-(?P<k>\d{5})-of-(?P<n>\d{5})\.parquet")


def find_shards(folder: Path) -> dict[str, list[Path]]:
    """The shards in a folder, by split, in order; empty if there are none.

    Raises:
        MplibError: a shard of a split is missing, or shards of two divisions lie side by side.
    """
    found: dict[str, dict[int, dict[int, Path]]] = {}
    for path in sorted(folder.glob("*.parquet")):
        if match := _NAME.fullmatch(path.name):
            found.setdefault(match["split"], {}).setdefault(int(match["n"]), {})[int(match["k"])] = path
    shards = {}
    for split, divisions in found.items():
        if len(divisions) > 1:
            raise MplibError(
                f"{folder} holds shards of {split} that are numbered of {' and of '.join(map(str, divisions))}, "
                "expected one division"
            )
        [(count, parts)] = divisions.items()
        missing = [f"{split}-{k:05d}-of-{count:05d}.parquet" for k in range(count) if k not in parts]
        if missing:
            raise MplibError(f"{folder} lacks {', '.join(missing)}, expected all {count} shards of {split}")
        shards[split] = [parts[k] for k in sorted(parts)]
    return shards


def read_classes(folder: Path) -> list[str]:
    """The class names of ``classes.json``.

    Raises:
        MplibError: the file is missing or is not a list of names.
    """
    classes = files.read_json(folder / "classes.json")
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise MplibError(f"{folder / 'classes.json'} is not a list of class names, expected one name for each label")
    return classes


def count_rows(shards: list[Path]) -> int:
    """How many images some shards hold, from their metadata alone.

    Raises:
        MplibError: a shard is cut short or is no parquet file.
    """
    import pyarrow.parquet as pq

    try:
        return sum(int(pq.read_metadata(path).num_rows) for path in shards)
    except (OSError, ValueError) as error:
        raise MplibError(
            f"{shards[0].parent} has a shard that cannot be read ({error}), expected whole files"
        ) from error


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
    encoded: list[bytes] = []
    labels: list[Tensor] = []
    starts: list[int] = []  # of each shard, in rows
    for path in shards:
        starts.append(len(encoded))
        table = _read(path)
        part = torch.tensor(table["label"].to_pylist(), dtype=torch.int64)
        for label in part[(part < 0) | (part >= num_classes)][:1].tolist():
            raise MplibError(f"{path} has label {label}, expected 0 to {num_classes - 1}, the indices of classes.json")
        labels.append(part)
        encoded.extend(table["bytes"].to_pylist())

    def where(row: int) -> str:
        shard = max(i for i, start in enumerate(starts) if start <= row)
        return f"row {row - starts[shard]} of {shards[shard]}"

    return Split(decode(encoded, image_size, where, title), torch.cat(labels))


def _read(path: Path) -> Any:
    """A shard as a table with the columns ``bytes`` and ``label``, neither with gaps."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    expected = "expected image (a struct with bytes) and label (whole numbers)"
    try:
        schema = pq.read_schema(path)
        kinds = {field.name: field.type for field in schema}
        image, label = kinds.get("image"), kinds.get("label")
        if image is None or label is None:
            raise MplibError(f"{path} has the columns {', '.join(kinds) or 'none'}, {expected}")
        if not pa.types.is_struct(image) or image.get_field_index("bytes") < 0 or not pa.types.is_integer(label):
            raise MplibError(f"{path} has image as {image} and label as {label}, {expected}")
        table = pq.read_table(path, columns=["image", "label"])
    except MplibError:
        raise
    except (OSError, ValueError) as error:  # pyarrow's own errors derive from these two
        raise MplibError(f"{path} cannot be read ({error}), expected a whole parquet file") from error
    table = pa.table({"bytes": pc.struct_field(table["image"], "bytes"), "label": table["label"]})
    for name in ("bytes", "label"):
        if table[name].null_count:
            raise MplibError(f"{path} has {table[name].null_count} rows without {name}, expected none")
    return table
