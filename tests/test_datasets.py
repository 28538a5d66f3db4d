"""The commands about data."""

from __future__ import annotations

from pathlib import Path

import pytest

from mplib.cli import main


@pytest.fixture(autouse=True)
def _empty_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLIB_DATA", str(tmp_path / "data"))


def test_list_marks_what_is_at_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data" / "mine" / "train").mkdir(parents=True)
    assert main(["data", "list"]) == 0
    marks = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert marks["digits"].startswith("at hand") and marks["s-mnist5k"].startswith("at hand")
    assert marks["cifar100"].startswith("-  ") and marks["tiny_imagenet"].startswith("-  ")
    assert marks["mine"].startswith("broken   ") and "expected train and one of" in marks["mine"]


def test_info_tells_terms_sizes_and_whereabouts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "info", "tiny_imagenet"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "200 classes, 100,000 training, 10,000 test images" in lines["size"]
    assert "ImageNet" in lines["licence"] and "CS231N" in lines["citation"] and "validation" in lines["protocol"]
    assert lines["at"].endswith(
        f"no: mplib data get tiny_imagenet downloads tiny-imagenet-200.zip to {tmp_path / 'data' / 'tiny_imagenet'}"
    )
    assert main(["data", "info", "nothing"]) == 2
    assert "unknown data set 'nothing'" in capsys.readouterr().err


def test_pack_tells_how_to_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "get", "digits", "--image-size", "8"]) == 0
    fingerprint = capsys.readouterr().out.splitlines()[-1]
    out = tmp_path / "out"
    assert main(["data", "pack", "digits", "--image-size", "8", "--out", str(out), "--max-mib", "1"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"to load it: MPLIB_DATA={out / 'digits-1of1'}"
    monkeypatch.setenv("MPLIB_DATA", last.partition("=")[2])
    assert main(["data", "get", "digits", "--image-size", "8"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == fingerprint
    assert main(["data", "pack", "digits", "--out", str(out)]) == 2
    assert "holds pieces of digits already" in capsys.readouterr().err
