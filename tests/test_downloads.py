"""torchvision's data sets, read from small files in their original layouts; nothing is downloaded."""

from __future__ import annotations

import hashlib
import pickle
import struct
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mplib.data  # noqa: F401  (torchvision may need its guard)
from mplib.data import describe, load
from mplib.data.sources import downloads
from mplib.errors import MplibError

datasets = pytest.importorskip("torchvision.datasets", exc_type=ImportError)
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection fails at once, as on a machine without network."""
    import urllib.error
    import urllib.request

    def refuse(*arguments: Any, **keywords: Any) -> None:
        raise urllib.error.URLError("no network in tests")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def noise(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


@pytest.mark.parametrize(("name", "key", "count"), [("cifar10", "labels", 10), ("cifar100", "fine_labels", 100)])
def test_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, key: str, count: int) -> None:
    maker = getattr(datasets, name.upper())
    folder = tmp_path / maker.base_folder
    folder.mkdir()
    rows, labels = {}, {}
    for kind in ("train_list", "test_list"):
        files = []
        for file, _ in getattr(maker, kind):
            rows[file], labels[file] = noise(4, 3072), [0, count - 1, 1, 2]
            (folder / file).write_bytes(pickle.dumps({"data": rows[file], key: labels[file]}))
            files.append([file, md5(folder / file)])
        monkeypatch.setattr(maker, kind, files)
    meta = folder / maker.meta["filename"]
    meta.write_bytes(pickle.dumps({maker.meta["key"]: [f"class {k}" for k in range(count)]}))
    monkeypatch.setattr(maker, "meta", maker.meta | {"md5": md5(meta)})

    data = load(name, root=tmp_path)
    first = maker.train_list[0][0]
    assert np.array_equal(data.train.images[:4].numpy(), rows[first].reshape(4, 3, 32, 32))
    assert data.train.labels[:4].tolist() == labels[first]
    assert (data.train.n, data.test.n, data.num_classes) == (4 * len(maker.train_list), 4, count)
    assert data.classes[1] == "class 1"
    assert data.source == f"torchvision's {name.upper()}"

    (folder / first).write_bytes(b"cut short")  # and there is no network to repair it
    with pytest.raises(MplibError, match="is not whole under .*, expected a network connection"):
        load(name, root=tmp_path)


def test_stl10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    pixels = noise(6, 3, 96, 96)
    for split, count in (("train", 6), ("test", 2)):
        # column by column, and labels from 1
        (folder / f"{split}_X.bin").write_bytes(pixels[:count].transpose(0, 1, 3, 2).tobytes())
        (folder / f"{split}_y.bin").write_bytes(bytes(range(1, count + 1)))
    (folder / "fold_indices.txt").write_text("")
    for kind, split in (("train_list", "train"), ("test_list", "test")):
        files = [[f"{split}_{part}.bin", md5(folder / f"{split}_{part}.bin")] for part in "Xy"]
        monkeypatch.setattr(datasets.STL10, kind, files)
    data = load("stl10", image_size=96, root=tmp_path)
    assert np.array_equal(data.train.images.numpy(), pixels)
    assert data.train.labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert (data.test.n, data.classes[0], data.num_classes) == (2, "airplane", 10)
    small = load("stl10", root=tmp_path)
    expected = Image.fromarray(pixels[0].transpose(1, 2, 0)).resize((32, 32), Image.Resampling.BICUBIC)
    assert np.array_equal(small.train.images[0].permute(1, 2, 0).numpy(), np.asarray(expected))


def test_svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.io import savemat

    pixels, listed = noise(32, 32, 3, 5), dict(datasets.SVHN.split_list)
    for split in ("train", "test"):
        path = tmp_path / f"{split}_32x32.mat"
        savemat(path, {"X": pixels, "y": np.array([[1], [10], [3], [9], [2]], dtype=np.uint8)})
        listed[split] = [listed[split][0], path.name, md5(path)]
    monkeypatch.setattr(datasets.SVHN, "split_list", listed)
    data = load("svhn", root=tmp_path)
    assert np.array_equal(data.train.images.numpy(), pixels.transpose(3, 2, 0, 1))
    assert data.train.labels.tolist() == [1, 0, 3, 9, 2]  # the digit 0 is labelled 10 in the file
    assert data.classes == list("0123456789")
    assert not data.flip


def test_fashion_mnist(tmp_path: Path) -> None:
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    pixels = noise(4, 28, 28)
    for split in ("train", "t10k"):
        (folder / f"{split}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, 4, 28, 28) + pixels.tobytes())
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, 4) + bytes([0, 9, 5, 3]))
    data = load("fashion-mnist", image_size=28, root=tmp_path)
    assert np.array_equal(data.test.images[:, 1].numpy(), pixels)
    assert data.train.labels.tolist() == [0, 9, 5, 3]
    assert data.classes[9] == "Ankle boot"
    (folder / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03 cut short")
    with pytest.raises(MplibError, match="is not whole under"):
        load("fashion-mnist", root=tmp_path)


def test_aircraft(tmp_path: Path) -> None:
    folder = tmp_path / "fgvc-aircraft-2013b" / "data"
    (folder / "images").mkdir(parents=True)
    (folder / "variants.txt").write_text("707-320\nA300B4\n")
    (folder / "images_variant_trainval.txt").write_text("0000001 A300B4\n0000002 707-320\n")
    (folder / "images_variant_test.txt").write_text("0000003 A300B4\n")
    for k in (1, 2, 3):
        image = Image.fromarray(np.full((30, 40, 3), 50 * k, dtype=np.uint8))
        image.save(folder / "images" / f"{k:07d}.jpg")
    data = load("aircraft", image_size=16, root=tmp_path)
    assert data.classes == ["707-320", "A300B4"]
    assert data.train.labels.tolist() == [1, 0]
    assert data.train.images[:, 0, 8, 8].tolist() == [50, 100]
    assert data.test.images.shape == (1, 3, 16, 16)
    (folder / "images" / "0000003.jpg").write_bytes(b"cut short")
    with pytest.raises(MplibError, match="image 0 of 'aircraft' cannot be read"):
        load("aircraft", image_size=16, root=tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "stl10", "svhn", "fashion-mnist", "aircraft"])
def test_offline(tmp_path: Path, name: str) -> None:
    message = r"could not be downloaded from http.* to .*new.* \(.*no network in tests.*put the files of torchvision's"
    with pytest.raises(MplibError, match=message) as e:
        load(name, root=tmp_path / "new")
    assert "\n" not in str(e.value)


def test_what_is_missing_is_fetched_and_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maker = datasets.STL10
    made = tmp_path / "made"
    made.mkdir()
    for split in ("train", "test"):
        (made / f"{split}_X.bin").write_bytes(noise(3, 3, 96, 96).tobytes())
        (made / f"{split}_y.bin").write_bytes(bytes([1, 2, 3]))
        files = [[f"{split}_{part}.bin", md5(made / f"{split}_{part}.bin")] for part in "Xy"]
        monkeypatch.setattr(maker, f"{split}_list", files)
    (made / "fold_indices.txt").write_text("")
    (made / "class_names.txt").write_text("")
    asked = []

    def fetch(url: str, path: Path, md5: str, otherwise: str) -> None:
        asked.append((url, path.name, md5))
        with tarfile.open(path, "w:gz") as target:
            target.add(made, "stl10_binary")
        monkeypatch.setattr(maker, "tgz_md5", hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest())

    official = (maker.url, maker.filename, maker.tgz_md5)
    monkeypatch.setattr(downloads, "fetch", fetch)
    data = load("stl10", image_size=16, root=tmp_path)
    assert asked == [official]
    assert data.train.labels.tolist() == data.test.labels.tolist() == [0, 1, 2]
    load("stl10", image_size=20, root=tmp_path)
    assert len(asked) == 1


def test_addresses_and_checksums_are_torchvisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, str] = {}

    def fetch(url: str, path: Path, md5: str, otherwise: str) -> None:
        assert len(md5) == 32
        asked[str(path.relative_to(tmp_path))] = url

    monkeypatch.setattr(downloads, "fetch", fetch)
    for name in ("svhn", "fashion-mnist", "aircraft", "cifar10"):
        with pytest.raises(MplibError):
            load(name, root=tmp_path)  # nothing came
    assert {"train_32x32.mat", "test_32x32.mat", "cifar-10-python.tar.gz"} <= asked.keys()
    assert asked["FashionMNIST/raw/t10k-labels-idx1-ubyte.gz"].endswith("/t10k-labels-idx1-ubyte.gz")
    assert asked["fgvc-aircraft-2013b.tar.gz"] == datasets.FGVCAircraft._URL
    assert all(url.startswith("http") for url in asked.values())


def test_a_root_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MplibError, match="could not be downloaded"):
        load("cifar10", root=tmp_path / "file")


def test_what_was_decoded_once_needs_no_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    for split in ("train", "t10k"):
        (folder / f"{split}-images-idx3-ubyte").write_bytes(
            struct.pack(">4i", 2051, 2, 28, 28) + noise(2, 28, 28).tobytes()
        )
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, 2) + bytes([0, 9]))
    assert not describe("fashion-mnist", tmp_path / "elsewhere").present
    assert describe("fashion-mnist", tmp_path).present
    data = load("fashion-mnist", root=tmp_path)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    again = load("fashion-mnist", root=tmp_path)
    assert np.array_equal(again.train.images.numpy(), data.train.images.numpy())
    assert again.classes == data.classes and again.source == data.source
    with pytest.raises(MplibError, match="needs torchvision"):
        load("fashion-mnist", image_size=16, root=tmp_path)


def test_without_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(MplibError, match=r"'cifar10' needs torchvision .* pip install 'metaperturb-book\[vision\]'"):
        load("cifar10", root=tmp_path)
