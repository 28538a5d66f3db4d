"""One process at a time: a lock that ends with its process, however that ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows: there two processes may do the same work, which harms nothing
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file to be written, waiting for another process that holds it.

    The lock is an empty neighbour of the file, which stays. Where the file system has no locks, nothing is held:
    what is written must be safe without, and the lock only spares work.

    Args:
        path: the file that is going to be written; its folder must be there.

    Raises:
        OSError: the folder cannot be written to.
    """
    with open(path.with_name(f".{path.name}.lock"), "w") as stream:
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(stream, fcntl.LOCK_EX)
        yield
