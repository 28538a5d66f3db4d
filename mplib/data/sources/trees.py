"""Files by name, whether they lie in a folder or still in the archives that they came in.

Nothing is unpacked: a member of an archive is read where it is. A compressed tar archive can only be read from its
beginning, so names are always asked for together and come in the order in which they are met.
"""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from mplib.errors import MplibError


class Tree:
    """The files of a data set.

    Args:
        folder: where the archives are, or what they unpack to.
        top: the folder inside the archives that all names are under ("" for none); a folder of that name may be
            there when they are unpacked.
        archives: names of archive files, those that are not there are passed over; small ones first.
    """

    def __init__(self, folder: Path, top: str, archives: Iterable[str]):
        self.folder = folder
        self._top = f"{top}/" if top else ""
        self._base = folder / top if (folder / top).is_dir() else folder
        self._archives = [path for name in archives if (path := folder / name).is_file()]

    def unpacked(self, name: str) -> Path | None:
        """The file or folder of a name, if it is not (or not only) in an archive."""
        return path if (path := self._base / name).exists() else None

    @property
    def archives(self) -> list[Path]:
        """The archives that are there."""
        return self._archives

    def names(self) -> list[str]:
        """The names of all files, sorted; those of archives without looking into their content."""
        found = {path.relative_to(self._base).as_posix() for path in self._base.rglob("*") if path.is_file()}
        for archive in self._archives:
            found.update(name for name, _ in self._members(archive, None))
        return sorted(found)

    def first(self, *names: str) -> bytes:
        """The content of the first file found that has one of these names.

        Raises:
            MplibError: there is none.
        """
        wanted = set(names)
        for _, content in self._find(wanted):
            return content.read_bytes() if isinstance(content, Path) else content
        raise MplibError(f"{self.folder} lacks {' or '.join(names)}, expected the files as their authors packed them")

    def stream(self, names: list[str]) -> Iterator[tuple[int, bytes | Path]]:
        """The files of some names: the place of each in the list, and its path or its content; in any order.

        Raises:
            MplibError: one is not there, or is named twice.
        """
        places = {name: place for place, name in enumerate(names)}
        if len(places) < len(names):
            raise MplibError(f"{self.folder} lists a file twice, expected each image once")
        wanted = set(names)
        for name, content in self._find(wanted):
            yield places[name], content
        if wanted:
            raise MplibError(
                f"{self.folder} lacks {min(wanted)}"
                + (f" and {len(wanted) - 1} more" if len(wanted) > 1 else "")
                + ", expected the files as their authors packed them"
            )

    def _find(self, wanted: set[str]) -> Iterator[tuple[str, bytes | Path]]:
        """Each wanted file that is found; it is taken out of the set."""
        for name in sorted(wanted):
            if path := self.unpacked(name):
                wanted.discard(name)
                yield name, path
        for archive in self._archives:
            if wanted:
                yield from self._members(archive, wanted)

    def _members(self, archive: Path, wanted: set[str] | None) -> Iterator[tuple[str, bytes]]:
        """The files of an archive that are wanted (None: the names of all), which are taken out of the set."""
        read = _read_zip if archive.suffix == ".zip" else _read_tar
        try:
            yield from read(archive, self._top, wanted)
        except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
            raise MplibError(f"{archive} cannot be read ({error}), expected a whole archive") from error


def _read_zip(archive: Path, top: str, wanted: set[str] | None) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            name = member.filename.removeprefix(top)
            if wanted is None and not member.is_dir():
                yield name, b""
            elif wanted and name in wanted:
                wanted.discard(name)
                yield name, opened.read(member)


def _read_tar(archive: Path, top: str, wanted: set[str] | None) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(archive) as opened:
        for member in opened:
            name = member.name.removeprefix("./").removeprefix(top)
            if wanted is None and member.isfile():
                yield name, b""
            elif wanted and name in wanted and (stream := opened.extractfile(member)):
                wanted.discard(name)
                yield name, stream.read()
            if wanted is not None and not wanted:
                return
