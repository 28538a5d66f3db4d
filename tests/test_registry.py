"""The one door: names, precedence, the data root, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mplib.data import describe, load, names
from mplib.data.registry import data_root
from mplib.errors import MplibError


@pytest.fixture(autouse=True)
def _empty_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLIB_DATA", str(tmp_path))


def make_folder(folder: Path) -> None:
    for split in ("train", "test"):
        for k, name in enumerate(("no", "yes")):
            (folder / split / name).mkdir(parents=True)
            Image.fromarray(np.full((8, 8), 200 * k, dtype=np.uint8)).save(folder / split / name / "0.png")


def test_names_and_descriptions_agree(tmp_path: Path) -> None:
    assert set(names()) >= {"photos", "mnist5k", "digits", "cifar10", "cifar100", "stl10", "svhn", "s-cifar100"}
    for name in names():
        about = describe(name)
        assert about.name == name
        assert all((about.title, about.origin, about.protocol, about.licence, about.citation))


@pytest.mark.parametrize("name", ["photos", "photos-grey", "mnist5k", "digits", "s-mnist5k"])
def test_the_description_holds(name: str) -> None:
    data, about = load(name, image_size=8), describe(name)
    assert (data.name, data.num_classes, data.train.n, data.test.n) == (name, about.classes, about.train, about.test)
    assert (data.flip, data.licence, data.citation) == (about.flip, about.licence, about.citation)


def test_a_description_reads_well() -> None:
    text = str(describe("mnist5k"))
    assert text.startswith("mnist5k: 5,000 handwritten digits of MNIST (embedded)\n  size      10 classes, 3,000 tr")
    assert "changes the class" in text


@pytest.mark.parametrize("name", ["cifar10", "digits", "s-cifar100", "anything at all"])
def test_a_folder_comes_first(tmp_path: Path, name: str) -> None:
    make_folder(tmp_path / name)
    data = load(name, image_size=8)
    assert data.classes == ["no", "yes"]
    assert data.name == name
    assert name in names()
    assert names().count(name) == 1
    assert describe(name).kind == "folder"


def test_a_protocol_of_a_folder_says_so(tmp_path: Path) -> None:
    make_folder(tmp_path / "cifar100")
    about = describe("s-cifar100")
    assert about.test == 2
    assert "not necessarily the official images" in about.origin
    with pytest.raises(MplibError, match="has 1 training images, but 's-cifar100' expected 50"):
        load("s-cifar100")


def test_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert data_root() == tmp_path
    assert data_root("/elsewhere") == Path("/elsewhere")
    monkeypatch.delenv("MPLIB_DATA")
    assert data_root() == Path.home() / ".cache" / "mplib"


@pytest.mark.parametrize("name", ["mnist", "../mnist5k", "", "digits/", 3, None])
def test_unknown_names(name: str) -> None:
    for function in (load, describe):
        with pytest.raises(MplibError, match="unknown data set"):
            function(name)


def test_the_nearest_name_is_offered() -> None:
    with pytest.raises(MplibError, match="unknown data set 'cifra10', did you mean 'cifar10'"):
        load("cifra10")


def test_a_set_that_only_a_folder_can_bring(tmp_path: Path) -> None:
    with pytest.raises(MplibError, match=r"'tiny_imagenet' is not under .*, expected a folder .*MPLIB_DATA"):
        load("tiny_imagenet")


@pytest.mark.parametrize("size", [3, 513, 0, -32, 32.0, "32", True, None])
def test_image_size(size: int) -> None:
    with pytest.raises(MplibError, match="image_size is .*, expected a whole number from 4 to 512"):
        load("digits", image_size=size)


@pytest.mark.parametrize("size", [4, 33])
def test_unusual_sizes(size: int) -> None:
    assert load("digits", image_size=size).train.images.shape == (1000, 3, size, size)


def test_options_are_for_photos() -> None:
    with pytest.raises(MplibError, match="data set 'digits' takes no options, but was given patch"):
        load("digits", patch=3)
    with pytest.raises(MplibError, match="unknown option 'ptach', did you mean 'patch'"):
        load("photos", ptach=3)
