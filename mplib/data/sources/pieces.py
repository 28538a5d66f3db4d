"""A data set in pieces: numbered folders, each small enough to be carried, and a manifest that says what belongs.

Every piece holds a copy of the manifest of each split, ``SPLIT.pieces.json``: which shards there are, in which piece,
with their sizes and checksums. The pieces are found again under several data roots and read as one set.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from mplib import files
from mplib.errors import MplibError

_ENDING = ".pieces.json"
_KEYS = ("file", "piece", "bytes", "sha256")


def write_manifest(folder: Path, split: str, shards: list[dict[str, Any]], count: int) -> None:
    """Write the manifest of a split into a piece.

    Args:
        folder: the piece's folder of the data set.
        split: the split's name.
        shards: for each shard, in order: ``file``, ``piece`` (the name of the piece that it is in), ``bytes`` and
            ``sha256``.
        count: how many pieces there are.
    """
    files.write_json(folder / f"{split}{_ENDING}", {"version": 1, "split": split, "pieces": count, "shards": shards})


def is_piece(folder: Path) -> bool:
    """Whether a folder is a piece of a data set."""
    return next(folder.glob(f"*{_ENDING}"), None) is not None


def join(folders: list[Path]) -> dict[str, list[Path]]:
    """The shards of all pieces, by split, in order; empty if the first folder is no piece.

    Raises:
        MplibError: a piece is missing, a shard is not of its size, or pieces of two divisions are mixed.
    """
    return {split: [_locate(shard, folders) for shard in shards] for split, shards in _manifests(folders).items()}


def verify(folders: list[Path]) -> None:
    """Compare all shards with their checksums.

    Raises:
        MplibError: one has changed.
    """
    for shards in _manifests(folders).values():
        for shard in shards:
            if checksum(path := _locate(shard, folders)) != shard["sha256"]:
                raise MplibError(f"{path} has another checksum than its manifest says, expected the file as packed")


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _manifests(folders: list[Path]) -> dict[str, list[dict[str, Any]]]:
    """For each split its shards, as all pieces agree on them."""
    found: dict[str, Any] = {}
    for folder in folders:
        for path in sorted(folder.glob(f"*{_ENDING}")):
            manifest = files.read_json(path)
            try:
                split = manifest["split"]
                shards = [{key: shard[key] for key in _KEYS} for shard in manifest["shards"]]
            except (KeyError, TypeError) as error:
                raise MplibError(f"{path} is no manifest of pieces, expected one that mplib data pack wrote") from error
            if found.setdefault(split, shards) != shards:
                raise MplibError(f"{path} is of another division than the pieces before it, expected pieces of one")
    return found


def _locate(shard: dict[str, Any], folders: list[Path]) -> Path:
    path = next((path for folder in folders if (path := folder / shard["file"]).is_file()), None)
    if path is None:
        raise MplibError(
            f"{folders[0].name} lacks {shard['file']}, which is in the piece {shard['piece']}, expected that folder "
            "among the roots that $MPLIB_DATA names"
        )
    if path.stat().st_size != shard["bytes"]:
        raise MplibError(f"{path} has {path.stat().st_size} bytes, expected {shard['bytes']} as its manifest says")
    return path
