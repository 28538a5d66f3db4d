from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mplib.errors import MplibError
from mplib.files import atomic_path, read_json, write_json, write_new, write_text


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    write_text(file, "old")
    with pytest.raises(RuntimeError), atomic_path(file) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_makes_parent_folders_and_ordinary_permissions(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "b.json", {"x": [1, 2]})
    (tmp_path / "plain").touch()
    assert read_json(tmp_path / "a" / "b.json") == {"x": [1, 2]}
    assert (tmp_path / "a" / "b.json").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_says_in_one_sentence_what_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MplibError, match=r"cannot write .*, expected a folder that can be written to"):
        write_text(tmp_path / "file" / "a.txt", "x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_refuses_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(MplibError, match="cannot write"):
        write_text(tmp_path / "a.txt", "x")


def test_refuses_what_is_not_json(tmp_path: Path) -> None:
    (tmp_path / "half.json").write_text('{"x": ')
    with pytest.raises(MplibError, match="not valid JSON"):
        read_json(tmp_path / "half.json")
    with pytest.raises(MplibError, match="cannot read"):
        read_json(tmp_path / "absent.json")


def test_of_many_writers_exactly_one_writes(tmp_path: Path) -> None:
    texts = [str(number) * 10_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        wrote = list(pool.map(lambda text: write_new(tmp_path / "a.txt", text), texts))
    assert sum(wrote) == 1
    assert (tmp_path / "a.txt").read_text() == texts[wrote.index(True)]
    assert len(list(tmp_path.iterdir())) == 1


def test_says_where_a_file_cannot_have_two_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*names: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(MplibError, match="expected a file system on which a file may have two names"):
        write_new(tmp_path / "a.txt", "x")
    assert list(tmp_path.iterdir()) == []
