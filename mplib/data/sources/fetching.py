"""Download a file: with progress, from where an earlier try was stopped, and only if its checksum is right."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from mplib.data.locking import locked
from mplib.errors import MplibError

_BLOCK = 1 << 20  # bytes
_PATIENCE = 30  # seconds without an answer


def fetch(url: str, path: Path, md5: str, otherwise: str) -> None:
    """Download one file; does nothing if it is there.

    What has come is kept in ``NAME.part`` beside the file, and the next call goes on from there. A connection that
    breaks is taken up again as long as something comes. The file gets its name when it is whole and its checksum is
    right, so a file of that name is never half one. A second process waits for the first.

    Args:
        url: where it is.
        path: the file to write.
        md5: its known checksum, in hexadecimal.
        otherwise: what the user can do where there is no connection, for the message.

    Raises:
        MplibError: no connection, or another file than the known one.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path):
            if not path.is_file():
                _download(url, path, md5)
    except (OSError, http.client.HTTPException) as error:
        raise MplibError(
            f"{path.name} could not be downloaded from {url} to {path.parent} ({_reason(error)}), expected a network "
            f"connection and a folder that can be written to; the same call goes on where this stopped, or {otherwise}"
        ) from error


def _download(url: str, path: Path, md5: str) -> None:
    part = path.with_name(f"{path.name}.part")
    with tqdm(desc=path.name, unit="B", unit_scale=True, leave=False, disable=None) as bar:
        while not _advance(url, part, bar):
            pass
    with open(part, "rb") as stream:
        found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        os.fsync(stream.fileno())
    if found != md5:
        part.unlink()
        raise MplibError(f"{url} gave a file with checksum {found}, expected {md5}; it was not kept")
    os.replace(part, path)


def _advance(url: str, part: Path, bar: tqdm) -> bool:
    """Take what comes over one connection; whether the file is complete then.

    Raises:
        OSError: nothing came.
    """
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "mplib", "Range": f"bytes={start}-"})
    try:
        answer = urllib.request.urlopen(request, timeout=_PATIENCE)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and start:  # nothing lies beyond: all had come before
                return True
        raise
    with answer:
        if answer.status != 206:  # the server sends the whole again
            start = 0
        length = answer.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        bar.total, bar.n = total, start
        have = start
        with open(part, "ab" if start else "wb") as stream:
            try:
                while block := answer.read(_BLOCK):
                    have += stream.write(block)
                    bar.update(len(block))
            except (OSError, http.client.HTTPException):
                if have == start:
                    raise
                return False
    if total is None or have >= total:
        return True
    if have == start:
        raise ConnectionError("the connection was closed")
    return False


def _reason(error: Exception) -> str:
    """What went wrong, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]
