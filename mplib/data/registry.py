"""One door to every data set: by name, wherever the images come from.

A folder of that name under a data root comes first, so that images on disk are never downloaded again; then the
protocols, the sets embedded in other packages' wheels, and downloads. What had to be decoded is kept by
:mod:`mplib.data.cache`.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from mplib.data.cache import read_through
from mplib.data.catalogue import CATALOGUE, Description
from mplib.data.dataset import Dataset, whole_number
from mplib.data.images import LARGEST, SMALLEST
from mplib.data.protocols import PROTOCOLS, apply_protocol
from mplib.data.sources.archives import Archives, can_be_fetched, fetch_archives, file_names, has_archives
from mplib.data.sources.downloads import Download
from mplib.data.sources.embedded import read_digits
from mplib.data.sources.folders import ImageFolder
from mplib.data.sources.photos import read_photos
from mplib.data.sources.pieces import is_piece
from mplib.data.sources.shards import Shards, has_shards
from mplib.data.sources.source import Source
from mplib.errors import MplibError, unknown

Root = str | os.PathLike[str] | None

_PHOTOS = ("photos", "photos-grey")
_PHOTO_OPTIONS = ("patch", "per_photo", "grey")


def load(name: str, image_size: int = 32, root: Root = None, **options: Any) -> Dataset:
    """Load a data set by name.

    Every image comes as RGB in a square of ``image_size``: grey ones repeat their channel, others of another
    size are resized with Pillow's antialiased bicubic filter, without a crop.

    Args:
        name: one of :func:`names`, or the name of any folder under a root: parquet shards, image files in
            ``train/<class>/`` and ``test/<class>/``, or the authors' archives (:mod:`mplib.data.sources`). A folder
            has precedence over a download, a protocol or an embedded set of the same name.
        image_size: height and width in pixels, 4 to 512.
        root: the data root, or several separated as in ``$PATH``, looked through in this order (the first gets the
            downloads); ``None`` takes ``$MPLIB_DATA``, or ``~/.cache/mplib`` where that is not set.
        **options: of ``photos`` and ``photos-grey`` only: ``patch`` (side of a patch in the photograph, in
            pixels, 32), ``per_photo`` (training patches a photograph, 40), ``grey`` (False).

    Returns:
        The data set, on the CPU.

    Raises:
        MplibError: an unknown name or option, an image size out of range, images that are missing, cannot be
            read or are not what they should be.

    Example:
        >>> load("digits", image_size=8)
        Dataset('digits', 10 classes, 1000 train, 797 test, 8 px)
        >>> load("photos", patch=16, per_photo=20).name
        'photos[patch=16,per_photo=20]'
    """
    whole_number("image_size", image_size, SMALLEST, LARGEST)
    roots = data_roots(root)
    source = find_source(name, roots)
    if options:
        _check_options(name, options, source)
    if source is None:
        if name in PROTOCOLS:
            return apply_protocol(name, load(PROTOCOLS[name][0], image_size, root))
        about = _catalogued(name, roots)
        if name in _PHOTOS:
            return read_photos(name, image_size, **options)
        if about.kind == "embedded":
            return read_digits(name, image_size)
        source = _fetch(about, roots)
    kept, about = read_through(source, image_size), source.describe()
    data = Dataset(name, *kept.pictures, about.flip, about.licence, about.citation, about.origin)
    data.__dict__["fingerprint"] = kept.fingerprint  # where the property would keep it
    return data


def names(root: Root = None) -> list[str]:
    """The names of all data sets that :func:`load` can be asked for: those that are not merely folders, then the
    folders under the roots.

    Example:
        >>> names()[:4]
        ['photos', 'photos-grey', 'mnist5k', 'digits']
    """
    listed = [name for name, about in CATALOGUE.items() if about.kind != "folder"]
    folders = {path.name for place in data_roots(root) if place.is_dir() for path in place.iterdir() if path.is_dir()}
    return listed + sorted(name for name in folders - set(listed) if _lies_in(name, data_roots(root)))


def describe(name: str, root: Root = None) -> Description:
    """What is known about a data set, without decoding it: sizes, origin, protocol, licence, citation, and whether it
    is at hand.

    For a folder under a root the counts are those of the folder.

    Raises:
        MplibError: an unknown name, or a folder that cannot be read.

    Example:
        >>> print(describe("digits"))  # doctest: +ELLIPSIS
        digits: 1,797 handwritten digits of 8x8 (embedded)
          size      10 classes, 1,000 training, 797 test images; 8x8 grey, 17 levels
          ...
    """
    roots = data_roots(root)
    if source := find_source(name, roots):
        return replace(source.describe(), present=True, whereabouts=str(source.place))
    about = _catalogued(name, roots)
    if name in PROTOCOLS:
        origin = describe(PROTOCOLS[name][0], root)
        if origin.kind == "folder":
            about = replace(about, test=origin.test, pixels=origin.pixels, origin=origin.origin)
        return replace(about, present=origin.present, whereabouts=origin.whereabouts)
    if about.kind == "embedded":
        return replace(about, present=True, whereabouts=about.origin)
    return replace(about, whereabouts=_way(about, roots[0]))


def find_source(name: str, roots: list[Path]) -> Source | None:
    """The data set of a name that lies under the roots: shards before archives, these before image files."""
    folders = _lies_in(name, roots)
    if folders and is_piece(folders[0]):
        return Shards(name, [folder for folder in folders if is_piece(folder)])
    for folder in folders:
        if has_shards(folder):
            return Shards(name, [folder])
        return Archives(folder) if has_archives(folder) else ImageFolder(folder)
    if name in CATALOGUE and CATALOGUE[name].kind == "download":
        return next((source for place in roots if (source := Download(name, place)).is_there()), None)
    return None


def data_roots(root: Root = None) -> list[Path]:
    """The folders that data sets are looked for in; downloads go to the first.

    Args:
        root: the folder, or several separated as in ``$PATH``; ``None`` takes ``$MPLIB_DATA``, or ``~/.cache/mplib``
            where that is not set.
    """
    given = os.fspath(root or os.environ.get("MPLIB_DATA") or "~/.cache/mplib")
    return [Path(part).expanduser() for part in given.split(os.pathsep) if part]


def _lies_in(name: str, roots: list[Path]) -> list[Path]:
    """The folders of a data set under the roots that hold something of it."""
    if not isinstance(name, str) or Path(name).name != name or name in ("", ".."):
        return []
    folders = [place / name for place in roots if (place / name).is_dir()]
    return [f for f in folders if is_piece(f) or has_shards(f) or has_archives(f) or (f / "train").is_dir()]


def _fetch(about: Description, roots: list[Path]) -> Source:
    """Bring a data set that is not there under the first root."""
    if about.kind == "download":
        return Download(about.name, roots[0]).fetch()
    if about.kind == "archive":
        fetch_archives(roots[0] / about.name)
        return Archives(roots[0] / about.name)
    raise MplibError(
        f"data set {about.name!r} is not under {' or '.join(map(str, roots))}, expected you to {_way(about, roots[0])}"
    )


def _way(about: Description, place: Path) -> str:
    """What to do to have a data set that is not there."""
    folder = place / about.name
    layouts = "parquet shards, or image files in train/<class>/ and test/<class>/"
    if about.kind == "download":
        return f"mplib data get {about.name} downloads it to {place}"
    if about.kind == "archive" and can_be_fetched(about.name):
        return f"mplib data get {about.name} downloads {file_names(about.name)} to {folder}"
    if about.kind == "archive":
        return f"put {file_names(about.name)}, or what is in them, into {folder}; or {layouts}"
    return f"put {layouts}, into {folder}; $MPLIB_DATA names the folder above"


def _catalogued(name: str, roots: list[Path]) -> Description:
    """The catalogue's row of a name that lies under no root."""
    if not isinstance(name, str) or name not in CATALOGUE:
        if isinstance(name, str) and Path(name).name == name and name not in ("", ".."):
            for folder in (place / name for place in roots if (place / name).is_dir()):
                raise MplibError(
                    f"{folder} holds no folder train, no shards and no archives, expected image files in "
                    "train/<class>/ and test/<class>/"
                )
        raise unknown("data set", name, names(os.pathsep.join(map(str, roots))))
    return CATALOGUE[name]


def _check_options(name: str, options: dict[str, Any], source: Source | None) -> None:
    if source or name not in _PHOTOS:
        raise MplibError(f"data set {name!r} takes no options, but was given {', '.join(options)}")
    for option in options:
        if option not in _PHOTO_OPTIONS:
            raise unknown("option", option, _PHOTO_OPTIONS)
