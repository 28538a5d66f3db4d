"""What a data set on the disk can be asked, whatever form it lies there in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from mplib.data.catalogue import Description, known
from mplib.data.dataset import Split

TEST_NAMES = ("test", "validation", "valid", "val")  # what the split to test on may be called, the best first


class Pictures(NamedTuple):
    """A decoded data set before it has a name.

    Attributes:
        train: the training split.
        test: the test split.
        classes: the class names that the labels are indices of.
    """

    train: Split
    test: Split
    classes: list[str]


class Source(ABC):
    """A data set that lies on the disk, not decoded yet.

    Attributes:
        name: what it is called.
        place: the folder it lies in, for people.
    """

    name: str
    place: Path

    @abstractmethod
    def describe(self) -> Description:
        """What is there, without decoding an image."""

    def _found(self, form: str, classes: int, train: int, test: int, tested: str) -> Description:
        """The description of a folder that may hold anything under a known name."""
        about = known(self.name)
        official = f"; the official ones have {about.train:,} and {about.test:,} images" if about.train else ""
        return replace(
            about,
            kind="folder",
            classes=classes,
            train=train,
            test=test,
            pixels=f"originally {about.pixels}" if about.pixels else "size as found",
            origin=f"the folder {self.name} under the data root, {form}; not necessarily the official images",
            protocol=f"its train and {tested} splits{official}",
        )

    @abstractmethod
    def files(self) -> list[Path]:
        """The files that the pictures come from; a folder stands for all that is in it."""

    @abstractmethod
    def read(self, image_size: int) -> Pictures:
        """Decode everything to a square of ``image_size`` pixels."""
