"""Decoded images are kept: whole or not at all, never out of date, for two processes at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mplib.data import Dataset, cache, load
from mplib.data.cache import cache_folder
from mplib.data.sources.folders import ImageFolder
from mplib.errors import MplibError


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's folder."""
    monkeypatch.setenv("MPLIB_CACHE", str(tmp_path / "kept"))
    monkeypatch.setenv("MPLIB_DATA", str(tmp_path / "data"))
    return tmp_path / "kept"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "pets"
    for split in ("train", "test"):
        for k, name in enumerate(("cat", "dog")):
            (folder / split / name).mkdir(parents=True)
            for i in range(3):
                save(folder / split / name / f"{i}.png", 100 * k + i)
    return folder


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The image sizes that folders of images were decoded at."""
    sizes: list[int] = []
    read = ImageFolder.read

    def counted(self: ImageFolder, image_size: int) -> object:
        sizes.append(image_size)
        return read(self, image_size)

    monkeypatch.setattr(ImageFolder, "read", counted)
    return sizes


def save(path: Path, value: int) -> None:
    Image.fromarray(np.full((8, 8, 3), value, dtype=np.uint8)).save(path)


def same(one: Dataset, other: Dataset) -> bool:
    pairs = zip((*one.train, *one.test), (*other.train, *other.test), strict=True)
    return all(torch.equal(a, b) for a, b in pairs) and one.classes == other.classes


def test_decodes_once_a_size(folder: Path, kept: Path, decoded: list[int]) -> None:
    first, again = load("pets", image_size=8), load("pets", image_size=8)
    assert same(first, again) and first.fingerprint == again.fingerprint
    load("pets", image_size=12)
    assert decoded == [8, 12]
    assert len(list(kept.glob("pets-8px-*.safetensors"))) == len(list(kept.glob("pets-12px-*.safetensors"))) == 1


def test_writing_into_the_tensors_does_not_reach_the_file(folder: Path, decoded: list[int]) -> None:
    load("pets", image_size=8)
    data = load("pets", image_size=8)
    data.train.images.zero_()
    data.train.labels.zero_()
    assert load("pets", image_size=8).train.images[:, 0, 0, 0].tolist() == [0, 1, 2, 100, 101, 102]
    assert decoded == [8]


def test_any_change_of_the_source_is_seen(folder: Path, decoded: list[int]) -> None:
    before = load("pets", image_size=8)
    save(folder / "train" / "cat" / "0.png", 77)
    assert load("pets", image_size=8).train.images[0, 0, 0, 0] == 77
    save(folder / "test" / "dog" / "9.png", 5)
    assert load("pets", image_size=8).test.n == 7
    (folder / "test" / "dog" / "9.png").unlink()
    save(folder / "train" / "cat" / "0.png", 0)
    assert same(load("pets", image_size=8), before)
    assert len(decoded) == 4


def test_another_decoder_decodes_again(folder: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    load("pets", image_size=8)
    monkeypatch.setattr(cache, "decoder", lambda: "another")
    load("pets", image_size=8)
    assert decoded == [8, 8]


@pytest.mark.parametrize("damage", [b"", b"short", None])
def test_a_damaged_file_is_written_anew(folder: Path, kept: Path, decoded: list[int], damage: bytes | None) -> None:
    first = load("pets", image_size=8)
    [path] = kept.glob("*.safetensors")
    content = path.read_bytes()[:-1] if damage is None else damage
    path.unlink()  # the first is still mapped
    path.write_bytes(content)
    assert same(load("pets", image_size=8), first)
    assert same(load("pets", image_size=8), first)
    assert decoded == [8, 8]


def test_can_be_switched_off(folder: Path, kept: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLIB_CACHE", "off")
    load("pets", image_size=8), load("pets", image_size=8)
    assert decoded == [8, 8] and not kept.exists()
    monkeypatch.delenv("MPLIB_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "mplib" / "decoded"


def test_a_folder_that_cannot_be_written_to_is_told(folder: Path, kept: Path, decoded: list[int]) -> None:
    kept.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="could not be kept in .*, expected a folder that can be written to: set"):
        data = load("pets", image_size=8)
    assert data.train.n == 6


def test_a_full_disk_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise MplibError("cannot write: no space left on device")

    monkeypatch.setattr(cache, "_write", full)
    with pytest.warns(UserWarning, match="no space left"):
        assert load("pets", image_size=8).train.n == 6


def test_the_source_is_only_read(folder: Path) -> None:
    before = sorted(folder.parent.rglob("*"))
    load("pets", image_size=8)
    assert sorted(folder.parent.rglob("*")) == before


LOAD = """
import sys, time
from mplib.data import load
from mplib.data.sources.folders import ImageFolder
read = ImageFolder.read
def told(self, size):
    print("decodes", flush=True)
    time.sleep(float(sys.argv[1]))
    return read(self, size)
ImageFolder.read = told
data = load("pets", image_size=64)
print(data.fingerprint, flush=True)
"""


def start(seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", LOAD, str(seconds)], stdout=subprocess.PIPE, text=True)


def test_two_processes_decode_once(folder: Path) -> None:
    outputs = [process.communicate()[0].split() for process in [start(0.5), start(0.5)]]
    assert sorted(len(words) for words in outputs) == [1, 2]
    assert outputs[0][-1] == outputs[1][-1] == load("pets", image_size=64).fingerprint


KILLED = """
import os, signal, sys
import safetensors.torch
save = safetensors.torch.save_file
def half(tensors, path, metadata):
    save(tensors, path, metadata)
    with open(path, "r+b") as stream:
        stream.truncate(os.path.getsize(path) // 2)
    os.kill(os.getpid(), signal.SIGKILL)
safetensors.torch.save_file = half
from mplib.data import load
load("pets", image_size=64)
"""


def test_a_kill_leaves_no_half_file_and_no_lock(folder: Path, kept: Path) -> None:
    decoding = start(60)
    assert decoding.stdout is not None and decoding.stdout.readline() == "decodes\n"
    decoding.kill()
    decoding.communicate()
    writing = subprocess.run([sys.executable, "-c", KILLED], check=False)
    assert writing.returncode == -signal.SIGKILL
    assert len(list(kept.glob(".*.part"))) == 1 and not list(kept.glob("*.safetensors"))
    began = time.monotonic()
    data = load("pets", image_size=64)
    assert time.monotonic() - began < 30  # no lock is left to wait for
    assert not list(kept.glob(".*.part")) and len(list(kept.glob("*.safetensors"))) == 1
    assert data.fingerprint == load("pets", image_size=64).fingerprint
