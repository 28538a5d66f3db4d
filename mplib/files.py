"""Files that are either whole or absent.

Everything the package writes goes through :func:`atomic_path`: the bytes go to a temporary neighbour, are
flushed to the disk, and take the final name in one step. A reader, or a second writer, never sees half a file.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mplib.errors import MplibError


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on a clean exit it becomes ``path``, on any other it is removed.

    Missing parent folders are made.

    Args:
        path: the final name of the file.

    Yields:
        The path to write to.

    Raises:
        MplibError: the folder cannot be made or written to.

    Example:
        >>> import tempfile, pathlib
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> with atomic_path(folder / "a.txt") as temporary:
        ...     _ = temporary.write_text("whole")
        >>> (folder / "a.txt").read_text(), len(list(folder.iterdir()))
        ('whole', 1)
    """
    final = Path(path)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{final.name}.", suffix=".part", dir=final.parent)
        os.close(descriptor)
    except OSError as error:
        raise MplibError(f"cannot write {final}: {error.strerror}, expected a folder that can be written to") from error
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as stream:
            os.fsync(stream.fileno())
        # mkstemp makes files that only the owner can read; give what an ordinary open() would have given.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, final)
    except OSError as error:
        raise MplibError(f"cannot write {final}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` to ``path`` in UTF-8, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_new(path: str | os.PathLike[str], text: str) -> bool:
    """Write ``text`` to ``path`` in UTF-8 unless there is a file already; of several writers exactly one does.

    Args:
        path: the final name of the file.
        text: what it is to hold.

    Returns:
        Whether this call wrote it. If not, the file that was there is untouched.

    Raises:
        MplibError: the folder cannot be made or written to.

    Example:
        >>> import tempfile, pathlib
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "a.txt"
        >>> write_new(file, "first"), write_new(file, "second"), file.read_text()
        (True, False, 'first')
    """
    final = Path(path)
    if final.exists():
        return False
    # The text is whole under a neighbour's name before a second name is given to it, which fails if that is taken.
    neighbour = final.with_name(f".{final.name}.{secrets.token_hex(8)}.part")
    write_text(neighbour, text)
    try:
        os.link(neighbour, final)
    except FileExistsError:
        return False
    except OSError as error:
        raise MplibError(
            f"cannot write {final}: {error.strerror}, expected a file system on which a file may have two names"
        ) from error
    finally:
        neighbour.unlink(missing_ok=True)
    return True


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` to ``path`` as indented JSON with sorted keys, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read JSON from ``path``.

    Raises:
        MplibError: the file is missing, cannot be read, or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise MplibError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise MplibError(f"{path} is not valid JSON ({error}), expected a file written by this package") from error
