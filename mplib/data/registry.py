"""One door to every data set: by name, wherever the images come from.

A folder of that name under the data root comes first, so that images on disk are never downloaded again; then the
protocols, the sets embedded in other packages' wheels, and torchvision's downloads.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from mplib.data.catalogue import CATALOGUE, Description
from mplib.data.dataset import Dataset, whole_number
from mplib.data.downloads import read_download
from mplib.data.embedded import read_digits
from mplib.data.folders import describe_folder, find_folder, find_folders, read_folder
from mplib.data.images import LARGEST, SMALLEST
from mplib.data.photos import read_photos
from mplib.data.protocols import PROTOCOLS, apply_protocol
from mplib.errors import MplibError, unknown

_PHOTOS = ("photos", "photos-grey")
_PHOTO_OPTIONS = ("patch", "per_photo", "grey")


def load(name: str, image_size: int = 32, root: str | os.PathLike[str] | None = None, **options: Any) -> Dataset:
    """Load a data set by name.

    Every image comes as RGB in a square of ``image_size``: grey ones repeat their channel, others of another
    size are resized with Pillow's antialiased bicubic filter, without a crop.

    Args:
        name: one of :func:`names`, or the name of any folder under the root (see :mod:`mplib.data.folders`). A
            folder has precedence over a download, a protocol or an embedded set of the same name.
        image_size: height and width in pixels, 4 to 512.
        root: the data root; ``None`` takes ``$MPLIB_DATA``, or ``~/.cache/mplib`` where that is not set.
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
    place = data_root(root)
    folder = find_folder(place, name) if isinstance(name, str) else None
    if options:
        _check_options(name, options, folder)
    if folder:
        return read_folder(folder, image_size)
    if name in PROTOCOLS:
        return apply_protocol(name, load(PROTOCOLS[name][0], image_size, place))
    kind = _catalogued(name, place).kind
    if kind == "download":
        return read_download(name, image_size, place)
    if name in _PHOTOS:
        return read_photos(name, image_size, **options)
    return read_digits(name, image_size)


def names(root: str | os.PathLike[str] | None = None) -> list[str]:
    """The names of all data sets that :func:`load` can be asked for: those that need no folder, then the folders
    under the root.

    Example:
        >>> names()[:4]
        ['photos', 'photos-grey', 'mnist5k', 'digits']
    """
    listed = [name for name, about in CATALOGUE.items() if about.kind != "folder"]
    return listed + [name for name in find_folders(data_root(root)) if name not in listed]


def describe(name: str, root: str | os.PathLike[str] | None = None) -> Description:
    """What is known about a data set, without loading it: sizes, origin, protocol, licence, citation.

    For a folder under the root the counts are those of the folder.

    Raises:
        MplibError: an unknown name, or a folder that cannot be read.

    Example:
        >>> print(describe("digits"))  # doctest: +ELLIPSIS
        digits: 1,797 handwritten digits of 8x8 (embedded)
          size      10 classes, 1,000 training, 797 test images; 8x8 grey, 17 levels
          ...
    """
    place = data_root(root)
    folder = find_folder(place, name) if isinstance(name, str) else None
    if folder:
        return describe_folder(folder)
    about = _catalogued(name, place)
    if name in PROTOCOLS and (source := find_folder(place, PROTOCOLS[name][0])):
        found = describe_folder(source)
        return replace(about, test=found.test, pixels=found.pixels, origin=found.origin)
    return about


def data_root(root: str | os.PathLike[str] | None = None) -> Path:
    """The folder that data sets are looked for in and downloaded to.

    Args:
        root: the folder; ``None`` takes ``$MPLIB_DATA``, or ``~/.cache/mplib`` where that is not set.
    """
    return Path(root or os.environ.get("MPLIB_DATA") or "~/.cache/mplib").expanduser()


def _catalogued(name: str, place: Path) -> Description:
    """The catalogue's row of a name that is no folder under the root."""
    if not isinstance(name, str) or name not in CATALOGUE:
        raise unknown("data set", name, names(place))
    about = CATALOGUE[name]
    if about.kind == "folder":
        raise MplibError(
            f"data set {name!r} is not under {place}, expected a folder {place / name} with parquet shards and "
            "classes.json, or with image files in train/<class>/ and test/<class>/; $MPLIB_DATA names the folder above"
        )
    return about


def _check_options(name: str, options: dict[str, Any], folder: Path | None) -> None:
    if folder or name not in _PHOTOS:
        raise MplibError(f"data set {name!r} takes no options, but was given {', '.join(options)}")
    for option in options:
        if option not in _PHOTO_OPTIONS:
            raise unknown("option", option, _PHOTO_OPTIONS)
