"""The one door: names, precedence, the data root, and what it refuses."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mplib.data import describe, load, names
from mplib.data.dataset import fingerprint
from mplib.data.registry import data_roots
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
    assert data_roots() == [tmp_path]
    assert data_roots("/elsewhere") == data_roots(Path("/elsewhere")) == [Path("/elsewhere")]
    assert data_roots(os.pathsep.join(["/one", "", "/two"])) == [Path("/one"), Path("/two")]
    monkeypatch.delenv("MPLIB_DATA")
    assert data_roots() == [Path.home() / ".cache" / "mplib"]


def test_the_first_root_that_holds_a_set_wins(tmp_path: Path) -> None:
    make_folder(tmp_path / "b" / "pets")
    roots = os.pathsep.join([str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "c")])
    assert load("pets", image_size=8, root=roots).train.n == 2
    assert describe("pets", roots).whereabouts == str(tmp_path / "b" / "pets")
    assert "pets" in names(roots)
    make_folder(tmp_path / "a" / "pets")
    assert describe("pets", roots).whereabouts == str(tmp_path / "a" / "pets")


def test_what_is_at_hand_and_how_to_have_the_rest(tmp_path: Path) -> None:
    assert describe("digits").present and describe("s-mnist5k").present
    for name, way in [
        ("cifar10", f"mplib data get cifar10 downloads it to {tmp_path}"),
        ("s-cifar100", f"mplib data get cifar100 downloads it to {tmp_path}"),
        ("cub200", f"mplib data get cub200 downloads CUB_200_2011.tgz to {tmp_path / 'cub200'}"),
        ("stanford_cars", f"put car_devkit.tgz, cars_train.tgz, .* into {tmp_path / 'stanford_cars'}"),
        ("gtsrb", f"put parquet shards, or image files .* into {tmp_path / 'gtsrb'}"),
    ]:
        about = describe(name)
        assert not about.present and re.match(way, about.whereabouts)
    make_folder(tmp_path / "cifar100")
    assert describe("cifar100").protocol == "its train and test splits; the official ones have 50,000 and 10,000 images"
    assert str(describe("s-cifar100")).endswith(f"\n  at hand   yes: {tmp_path / 'cifar100'}")


def test_the_stored_fingerprint_is_that_of_the_pixels(tmp_path: Path) -> None:
    make_folder(tmp_path / "pets")
    first, again = load("pets", image_size=8), load("pets", image_size=8)
    assert first.fingerprint == again.fingerprint == fingerprint(again.train, again.test)
    subset = again.subset(per_class=1)
    assert subset.fingerprint == fingerprint(subset.train, subset.test) != first.fingerprint


@pytest.mark.parametrize("name", ["mnist", "../mnist5k", "", "digits/", 3, None])
def test_unknown_names(name: str) -> None:
    for function in (load, describe):
        with pytest.raises(MplibError, match="unknown data set"):
            function(name)


def test_the_nearest_name_is_offered() -> None:
    with pytest.raises(MplibError, match="unknown data set 'cifra10', did you mean 'cifar10'"):
        load("cifra10")


def test_a_set_that_only_a_folder_can_bring(tmp_path: Path) -> None:
    with pytest.raises(MplibError, match=r"'gtsrb' is not under .*, expected you to put .*MPLIB_DATA"):
        load("gtsrb")
    with pytest.raises(
        MplibError, match="'stanford_cars' is not in .* page is gone, expected you to put car_devkit.tgz"
    ):
        load("stanford_cars")


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


def test_a_folder_of_classes_without_splits(tmp_path: Path) -> None:
    (tmp_path / "mine" / "cat").mkdir(parents=True)
    with pytest.raises(MplibError, match=r"mine holds no folder train.*expected image files in train/<class>/"):
        load("mine")
