"""Cut a data set into pieces that can be carried: folders of parquet shards, none above a limit.

A set of shards keeps the files it has, unless one is above the limit: then its rows are dealt into new shards in the
order they have. Any other set is decoded at one image size and stored as PNG, which loses nothing: loaded at that
size, the packed set has the fingerprint of the original.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from mplib import files
from mplib.data.dataset import Split
from mplib.data.registry import Root, data_roots, describe, find_source, load
from mplib.data.sources import pieces
from mplib.data.sources.shards import Shards, read_rows
from mplib.errors import MplibError

_MIB = 1 << 20
_ROWS = 1_000  # of a row group
Row = tuple[bytes, int]  # an encoded image and its label


class _Shard(NamedTuple):
    """A shard that is going to be part of a piece."""

    split: str
    name: str
    path: Path

    @property
    def size(self) -> int:
        return self.path.stat().st_size


def pack(
    name: str,
    out: str | os.PathLike[str],
    max_mib: float = 60,
    split: str | None = None,
    image_size: int | None = None,
    root: Root = None,
) -> list[Path]:
    """Cut a data set into pieces.

    Each piece is a data root: ``OUT/NAME-1of3/NAME/`` has some of the shards, the class names, and the manifest of
    them all. Carried anywhere, the pieces are joined by naming all of them in ``$MPLIB_DATA``.

    Args:
        name: the data set.
        out: the folder for the pieces; there must be none of this data set in it yet.
        max_mib: the most that a piece may hold, in MiB, at least 1.
        split: pack only this split (``train``, ``test``, or what the shards call it); ``None`` packs all.
        image_size: for sets that are not in shards, or to shrink one: the size to decode at, in pixels.
        root: as for :func:`mplib.data.load`.

    Returns:
        The pieces, in order.

    Raises:
        MplibError: a limit that is too small, a split that is not there, pieces that are there already, or what
            :func:`mplib.data.load` raises.

    Example:
        >>> import tempfile
        >>> import mplib
        >>> out = tempfile.mkdtemp()
        >>> places = pack("digits", out, max_mib=1, image_size=8)
        >>> [place.name for place in places]
        ['digits-1of1']
        >>> packed = mplib.data.load("digits", image_size=8, root=places[0])
        >>> packed.fingerprint == mplib.data.load("digits", image_size=8).fingerprint
        True
    """
    out = Path(out)
    if max_mib < 1:
        raise MplibError(f"max_mib is {max_mib}, expected at least 1")
    label = name if split is None else f"{name}-{split}"
    if next(out.glob(f"{label}-*of*"), None) is not None:
        raise MplibError(f"{out} holds pieces of {label} already, expected a folder without")
    source = find_source(name, data_roots(root))
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".packing-", dir=out) as scratch:
            if isinstance(source, Shards) and image_size is None:
                classes = source.classes
                splits = _chosen(source.shards, split, name)
                shards = [s for which, paths in splits.items() for s in _fit(which, paths, max_mib, Path(scratch))]
            elif image_size is not None:
                data = load(name, image_size, root)
                classes = data.classes
                decoded = _chosen({"train": data.train, "test": data.test}, split, name)
                shards = [
                    s for which, part in decoded.items() for s in _write(which, _png(part), max_mib, Path(scratch))
                ]
            else:
                describe(name, root)  # an unknown name is told first
                raise MplibError(f"data set {name!r} is not in parquet shards, expected image_size to decode it at")
            return _deal(name, label, shards, classes, out, max_mib)
    except OSError as error:
        raise MplibError(f"cannot write to {out} ({error}), expected a folder that can be written to") from error


def _chosen(splits: dict[str, Any], split: str | None, name: str) -> dict[str, Any]:
    if split is None:
        return splits
    if split not in splits:
        raise MplibError(f"data set {name!r} has no split {split!r}, expected one of {', '.join(splits)}")
    return {split: splits[split]}


def _fit(split: str, paths: list[Path], max_mib: float, scratch: Path) -> Iterator[_Shard]:
    """The shards of a split as they are or, where one is too large, new ones of the same rows."""
    if all(path.stat().st_size <= _room(max_mib) for path in paths):
        for k, path in enumerate(paths):
            yield _Shard(split, f"{split}-{k:05d}-of-{len(paths):05d}.parquet", path)
    else:
        yield from _write(split, (row for path in paths for row in read_rows(path)), max_mib, scratch)


def _png(part: Split) -> Iterator[Row]:
    for image, label in zip(part.images, part.labels.tolist(), strict=True):
        stream = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(stream, "PNG")
        yield stream.getvalue(), label


def _write(split: str, rows: Iterable[Row], max_mib: float, scratch: Path) -> list[_Shard]:
    """New shards, each as large as a piece may be."""
    paths: list[Path] = []
    for chunk in _chunks(rows, 0.95 * _room(max_mib)):
        paths.append(scratch / f"{split}-{len(paths)}.parquet")
        _write_shard(paths[-1], chunk)
    return [_Shard(split, f"{split}-{k:05d}-of-{len(paths):05d}.parquet", path) for k, path in enumerate(paths)]


def _chunks(rows: Iterable[Row], limit: float) -> Iterator[list[Row]]:
    """Rows in lists whose images take no more than a limit, in bytes."""
    chunk: list[Row] = []
    size = 0
    for row in rows:
        if chunk and size + len(row[0]) + 64 > limit:
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += len(row[0]) + 64
    if chunk:
        yield chunk


def _write_shard(path: Path, rows: list[Row]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = pa.array([{"bytes": image} for image, _ in rows], type=pa.struct([("bytes", pa.binary())]))
    labels = pa.array([label for _, label in rows], type=pa.int64())
    pq.write_table(pa.table({"image": images, "label": labels}), path, compression="zstd", row_group_size=_ROWS)


def _deal(name: str, label: str, shards: list[_Shard], classes: list[str], out: Path, max_mib: float) -> list[Path]:
    """Fill pieces in the order of the shards, and write them."""
    dealt: list[list[_Shard]] = []
    free = 0.0
    for shard in shards:
        if shard.size > free:
            dealt.append([])
            free = _room(max_mib)
            if shard.size > free:
                raise MplibError(f"max_mib is {max_mib}, but one image of {name!r} is larger, expected more")
        dealt[-1].append(shard)
        free -= shard.size
    places = [out / f"{label}-{k}of{len(dealt)}" for k in range(1, len(dealt) + 1)]
    listed: dict[str, list[dict[str, Any]]] = {}
    for place, held in zip(places, dealt, strict=True):
        for shard in held:
            with files.atomic_path(place / name / shard.name) as temporary:
                shutil.copyfile(shard.path, temporary)
            entry = {
                "file": shard.name,
                "piece": place.name,
                "bytes": shard.size,
                "sha256": pieces.checksum(shard.path),
            }
            listed.setdefault(shard.split, []).append(entry)
    for place in places:
        files.write_text(place / name / "classes.json", json.dumps(classes, ensure_ascii=False, indent=0) + "\n")
        for split, entries in listed.items():
            pieces.write_manifest(place / name, split, entries, len(places))
    return places


def _room(max_mib: float) -> float:
    """What a piece has for shards, in bytes: a quarter of a MiB stays for class names and manifests."""
    return (max_mib - 0.25) * _MIB
