"""Decoded images, kept: the second time a data set is loaded, its pixels are mapped from a file.

A file holds both splits of one data set at one image size, with the class names and the fingerprint, which takes as
long to compute as the rest of a load. Its name has a key made of everything that the pixels depend on: name, size and
time of change of each file that they come from, the end of these files (where parquet and archives keep their tables
and sums), the image size, and the version of the decoder. So nothing in here is ever out of date, and the folder can
be deleted at any time.

The folder is ``$MPLIB_CACHE``, or ``~/.cache/mplib/decoded``; ``MPLIB_CACHE=off`` keeps nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import warnings
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from mplib import files
from mplib.data.dataset import Split, fingerprint
from mplib.data.images import decoder
from mplib.data.locking import locked
from mplib.data.sources.source import Pictures, Source
from mplib.errors import MplibError

_VERSION = 1  # to be raised when a source gives other images, or the same in another order
_END = 1 << 16  # bytes


class Kept(NamedTuple):
    """Pictures that have been decoded.

    Attributes:
        pictures: the two splits and the names of the classes.
        fingerprint: the fingerprint of the two splits.
    """

    pictures: Pictures
    fingerprint: str


def cache_folder() -> Path | None:
    """Where decoded images are kept; None if nowhere."""
    setting = os.environ.get("MPLIB_CACHE") or "~/.cache/mplib/decoded"
    return None if setting == "off" else Path(setting).expanduser()


def read_through(source: Source, image_size: int) -> Kept:
    """The pictures of a source: from the cache, or decoded now and kept for the next time.

    The tensors are mapped from the file, privately: pages are read when they are touched, and what a program writes
    into the tensors stays its own. A second process that wants the same waits for the first instead of decoding, too.

    Args:
        source: the data set on the disk.
        image_size: height and width, in pixels.

    Raises:
        MplibError: the source cannot be read.

    Warns:
        UserWarning: what was decoded could not be kept.
    """
    folder = cache_folder()
    if folder is None:
        return _decode(source, image_size)
    path = folder / f"{source.name}-{image_size}px-{_key(source, image_size)}.safetensors"
    if kept := _read(path):
        return kept
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(path))
        except OSError as error:
            _warn(folder, str(error))
            return _decode(source, image_size)
        if kept := _read(path):  # by the process that we have waited for
            return kept
        kept = _decode(source, image_size)
        try:
            _write(path, kept)
        except MplibError as error:
            _warn(folder, str(error))
        return _read(path) or kept


def _decode(source: Source, image_size: int) -> Kept:
    pictures = source.read(image_size)
    return Kept(pictures, fingerprint(pictures.train, pictures.test))


def _key(source: Source, image_size: int) -> str:
    """20 hexadecimal digits of everything that the pixels depend on."""
    digest = hashlib.sha256(repr((_VERSION, decoder(), image_size)).encode())
    for path in source.files():
        digest.update(repr(_stat(path)).encode())
        if path.is_file():
            with open(path, "rb") as stream:
                stream.seek(max(0, path.stat().st_size - _END))
                digest.update(stream.read())
    return digest.hexdigest()[:20]


def _stat(path: Path) -> list[tuple[str, int, int]]:
    """Name, size in bytes and time of change in nanoseconds of a file, or of each file below a folder, sorted."""
    if not path.is_dir():
        return [(path.name, path.stat().st_size, path.stat().st_mtime_ns)] if path.exists() else []
    found = []
    open_folders = [(str(path), path.name)]
    while open_folders:
        folder, name = open_folders.pop()
        with os.scandir(folder) as entries:  # a hundred thousand files in half a second
            for entry in entries:
                if entry.is_dir():
                    open_folders.append((entry.path, f"{name}/{entry.name}"))
                else:
                    about = entry.stat()
                    found.append((f"{name}/{entry.name}", about.st_size, about.st_mtime_ns))
    return sorted(found)


def _write(path: Path, kept: Kept) -> None:
    from safetensors.torch import save_file

    for left in path.parent.glob(f".{path.name}.*.part"):  # by a process that was killed; we hold the lock
        left.unlink(missing_ok=True)
    (train, test, classes), total = kept
    tensors = {"train.images": train.images, "train.labels": train.labels}
    tensors |= {"test.images": test.images, "test.labels": test.labels}
    metadata = {"classes": json.dumps(classes), "fingerprint": total}
    with files.atomic_path(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata)


def _read(path: Path) -> Kept | None:
    """What a file of the cache holds, if it is there and whole."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as opened:
            metadata, get = opened.metadata(), opened.get_tensor

            def split(name: str) -> Split:
                images: Tensor = get(f"{name}.images")
                return Split(images, get(f"{name}.labels"))

            pictures = Pictures(split("train"), split("test"), json.loads(metadata["classes"]))
            return Kept(pictures, metadata["fingerprint"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None  # damaged: decoded again, and written anew


def _warn(folder: Path, reason: str) -> None:
    warnings.warn(
        f"the decoded images could not be kept in {folder} ({reason}), expected a folder that can be written to: set "
        "$MPLIB_CACHE, or to 'off' to keep nothing",
        stacklevel=3,
    )
