"""Manifests: what belongs to a set, where it is, and whether it is what was packed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mplib.data.sources.pieces import checksum, is_piece, join, verify, write_manifest
from mplib.errors import MplibError


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Two pieces of the set ``big``: a file of the training split in each, one of the test split in the second."""
    held = [{"train": ["a"]}, {"train": ["b"], "test": ["c"]}]
    folders = [tmp_path / f"big-{k}of2" / "big" for k in (1, 2)]
    shards: dict[str, list[dict[str, Any]]] = {}
    for folder, splits in zip(folders, held, strict=True):
        folder.mkdir(parents=True)
        for split, names in splits.items():
            for name in names:
                path = folder / name
                path.write_text(f"content of {name}")
                entry = {"file": name, "bytes": path.stat().st_size, "sha256": checksum(path)}
                shards.setdefault(split, []).append({"piece": folder.parent.name, **entry})
    for folder in folders:
        for split, listed in shards.items():
            write_manifest(folder, split, listed, 2)
    return folders


def test_pieces_are_joined_in_the_order_of_the_manifest(folders: list[Path], tmp_path: Path) -> None:
    expected = {"train": [folders[0] / "a", folders[1] / "b"], "test": [folders[1] / "c"]}
    assert join(folders) == join(folders[::-1]) == expected
    verify(folders)
    assert is_piece(folders[0]) and not is_piece(tmp_path)
    assert join([tmp_path]) == {}


def test_pieces_copied_into_one_folder_are_whole(folders: list[Path]) -> None:
    (folders[1] / "b").rename(folders[0] / "b")
    (folders[1] / "c").rename(folders[0] / "c")
    assert len(join(folders[:1])["train"]) == 2


def test_a_missing_piece_is_named(folders: list[Path]) -> None:
    with pytest.raises(
        MplibError, match=r"big lacks [bc], which is in the piece big-2of2, expected .*MPLIB_DATA names"
    ):
        join(folders[:1])


def test_a_damaged_file_is_named(folders: list[Path]) -> None:
    path = folders[1] / "b"
    path.write_text("content of B")
    join(folders)
    with pytest.raises(MplibError, match="b has another checksum than its manifest says, expected the file as packed"):
        verify(folders)
    path.write_text("content")
    with pytest.raises(MplibError, match="b has 7 bytes, expected 12 as its manifest says"):
        join(folders)


def test_pieces_of_two_divisions_do_not_mix(folders: list[Path]) -> None:
    write_manifest(folders[1], "train", [{"file": "a", "piece": "big-1of1", "bytes": 12, "sha256": ""}], 1)
    with pytest.raises(MplibError, match="train.pieces.json is of another division than the pieces before it"):
        join(folders)


@pytest.mark.parametrize("content", [{}, {"split": "train", "shards": 3}, {"split": "train", "shards": [{}]}, [1]])
def test_other_files_of_that_name_are_refused(folders: list[Path], content: Any) -> None:
    (folders[0] / "train.pieces.json").write_text(json.dumps(content))
    with pytest.raises(MplibError, match="train.pieces.json is no manifest of pieces, expected one that mplib data"):
        join(folders)
