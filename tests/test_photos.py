"""photos: patches where the docstring says they are, none of them twice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from mplib.data import Dataset, load, split_tasks
from mplib.data.sources import photos as module
from mplib.data.sources.wheels import wheel_file
from mplib.errors import MplibError


@pytest.fixture(autouse=True)
def _no_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPLIB_DATA", raising=False)


@pytest.fixture(scope="module")
def photos() -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MPLIB_DATA", raising=False)
        return load("photos")


def test_sizes(photos: Dataset) -> None:
    assert photos.num_classes == 17
    assert torch.bincount(photos.train.labels).tolist() == [40] * 17
    assert torch.bincount(photos.test.labels).tolist() == [12] * 17
    assert photos.flip
    assert photos.train.labels[:17].tolist() == list(range(17))


def test_every_patch_lies_on_the_grid_in_its_own_region(photos: Dataset) -> None:
    for title in ("astronaut", "text"):
        label = photos.classes.index(title)
        with Image.open(wheel_file("skimage", "scikit-image", f"data/{title}.png")) as image:
            pixels = np.asarray(image.convert("RGB"))
        places = {}
        for i in range(pixels.shape[0] // 32):
            for j in range(pixels.shape[1] // 32):
                places[pixels[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32].tobytes()] = (i, j)
        for split, mine in ((photos.train, (0, 1, 2)), (photos.test, (3,))):
            patches = split.images[split.labels == label].permute(0, 2, 3, 1)
            found = [places[patch.contiguous().numpy().tobytes()] for patch in patches]
            assert len(set(found)) == len(found)
            assert all(j % 4 in mine for _, j in found)


def test_no_two_patches_are_alike_and_none_is_empty(photos: Dataset) -> None:
    images = torch.cat([photos.train.images, photos.test.images])
    assert len({image.numpy().tobytes() for image in images}) == len(images)
    assert images.flatten(2).float().std(2).max(1).values.min() >= 2


def test_grey_has_the_same_patches_without_colour(photos: Dataset) -> None:
    grey = load("photos-grey")
    assert grey.name == "photos-grey" == load("photos", grey=True).name
    assert torch.equal(grey.train.images[:, 0], grey.train.images[:, 2])
    expected = Image.fromarray(photos.train.images[0].permute(1, 2, 0).numpy()).convert("L")
    assert np.array_equal(grey.train.images[0, 0].numpy(), np.asarray(expected))
    assert torch.equal(grey.train.labels, photos.train.labels)


def test_options_show_in_the_name() -> None:
    data = load("photos", image_size=16, patch=16, per_photo=100)
    assert data.name == "photos[patch=16,per_photo=100]"
    assert (data.train.n, data.test.n, data.image_size) == (1700, 510, 16)


def test_the_pixels_are_fixed(photos: Dataset) -> None:
    # Of the photographs that come as PNG; JPEG decoders may differ by a grey level.
    keep = [k for k, photo in enumerate(module._PHOTOS.values()) if photo.file.endswith("png")]
    rows = torch.isin(photos.train.labels, torch.tensor(keep))
    assert int(photos.train.images[rows].long().sum()) == 202902556


def test_makes_overlapping_tasks(photos: Dataset) -> None:
    tasks = split_tasks(photos, n_tasks=10, classes_per_group=10)
    assert [task.num_classes for task in tasks] == [10] * 10
    assert {task.train.n for task in tasks} == {200}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"per_photo": 45}, "'page' has only 44 train patches of 32 px where 45 are needed; expected fewer"),
        ({"per_photo": 3}, "per_photo is 3, expected a whole number of at least 4"),
        ({"patch": 3}, "patch is 3, expected a whole number from 4 to 64"),
        ({"grey": 1}, "grey is 1, expected True or False"),
        ({"size": 3}, "unknown option 'size'"),
    ],
)
def test_refuses(options: dict[str, int], message: str) -> None:
    with pytest.raises(MplibError, match=message):
        load("photos", **options)


def test_a_changed_photograph_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module._PHOTOS, "astronaut", module._PHOTOS["astronaut"]._replace(known=("0" * 64,)))
    with pytest.raises(MplibError, match="astronaut.png of scikit-image has checksum d913"):
        load("photos")
