"""Folders of image files, and which folder counts as a data set."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mplib.data import describe, load, names
from mplib.data.folders import find_folder
from mplib.errors import MplibError


def save(path: Path, value: int, size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, dtype=np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pets"
    for k, name in enumerate(["dog", "cat"]):
        for i in range(3):
            save(folder / "train" / name / f"{i}.png", 100 * k + i)
        save(folder / "test" / name / "0.PNG", 100 * k + 50)
    return folder


def test_reads_an_image_folder(folder: Path, tmp_path: Path) -> None:
    (folder / "train" / "cat" / "notes.txt").write_text("not an image")
    (folder / "train" / ".hidden").mkdir()
    data = load("pets", image_size=8, root=tmp_path)
    assert data.classes == ["cat", "dog"]
    assert data.train.images[:, 1, 2, 3].tolist() == [100, 101, 102, 0, 1, 2]
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.test.images[:, 0, 0, 0].tolist() == [150, 50]
    assert data.flip
    assert str(tmp_path) not in data.source


def test_images_of_any_size_and_format(folder: Path, tmp_path: Path) -> None:
    save(folder / "train" / "cat" / "9.jpg", 7, (20, 30))
    save(folder / "train" / "cat" / "a.jpeg", 9, (5, 6))
    data = load("pets", image_size=12, root=tmp_path)
    assert data.train.images.shape == (8, 3, 12, 12)
    assert data.train.images[3:5, 0, 5, 5].tolist() == [7, 9]


@pytest.mark.parametrize("other", ["validation", "valid", "val"])
def test_other_names_of_the_test_split(folder: Path, tmp_path: Path, other: str) -> None:
    (folder / "test").rename(folder / other)
    assert load("pets", image_size=8, root=tmp_path).test.n == 2
    assert describe("pets", root=tmp_path).protocol == f"its train and {other} splits"


def test_test_goes_before_validation(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "train", folder / "validation")
    assert load("pets", image_size=8, root=tmp_path).test.n == 2


def test_describe_and_names(folder: Path, tmp_path: Path) -> None:
    about = describe("pets", root=tmp_path)
    assert (about.kind, about.classes, about.train, about.test) == ("folder", 2, 6, 2)
    assert "image files" in about.origin
    assert "pets" in names(tmp_path)
    assert "pets" not in names(tmp_path / "elsewhere")


def test_the_catalogue_knows_the_orientation_of_a_listed_folder(folder: Path, tmp_path: Path) -> None:
    folder.rename(tmp_path / "gtsrb")
    data = load("gtsrb", image_size=8, root=tmp_path)
    assert not data.flip
    assert "Stallkamp" in data.citation
    assert "not necessarily the official images" in data.source


def test_errors(folder: Path, tmp_path: Path) -> None:
    save(folder / "test" / "bird" / "0.png", 1)
    with pytest.raises(MplibError, match="has the classes bird that train lacks"):
        load("pets", root=tmp_path)
    shutil.rmtree(folder / "test")
    with pytest.raises(MplibError, match="has the splits train, expected train and one of test, validation"):
        load("pets", root=tmp_path)
    save(folder / "test" / "cat" / "0.png", 1)
    (folder / "train" / "owl").mkdir()
    with pytest.raises(MplibError, match="owl holds no image, expected .jpeg, .jpg, .png files"):
        load("pets", root=tmp_path)
    (folder / "train" / "owl" / "0.png").write_bytes(b"no picture")
    with pytest.raises(MplibError, match=r"owl/0.png cannot be decoded"):
        load("pets", root=tmp_path)


def test_one_class_and_none(folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(folder / "train" / "dog")
    shutil.rmtree(folder / "test" / "dog")
    with pytest.raises(MplibError, match="has 1 classes, expected at least 2"):
        load("pets", root=tmp_path)


def test_what_counts_as_a_data_set(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "file").write_text("")
    assert find_folder(tmp_path, "pets") == folder
    for name in ("cifar-10-batches-py", "file", "none", "..", ".", "", "pets/train", str(folder)):
        assert find_folder(tmp_path, name) is None
