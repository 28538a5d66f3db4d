"""Files by name, in folders and archives alike."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from mplib.data.sources.trees import Tree
from mplib.errors import MplibError


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """The file a lies loose, b in a tar archive, c in a zip archive; a is in the zip archive, too."""
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "a").write_bytes(b"loose a")
    with tarfile.open(tmp_path / "one.tgz", "w:gz") as target:
        for name, content in (("./top/b", b"packed b"), ("other", b"o")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            target.addfile(member, io.BytesIO(content))
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as target_zip:
        target_zip.writestr("top/a", "packed a")
        target_zip.writestr("top/in/c", "packed c")
    return Tree(tmp_path, "top", ["one.tgz", "none.tar", "two.zip"])


def test_finds_each_file_once_and_loose_ones_first(tree: Tree) -> None:
    found = {}
    for place, content in tree.stream(["in/c", "a", "b"]):
        found[place] = content.read_bytes() if isinstance(content, Path) else content
    assert found == {0: b"packed c", 1: b"loose a", 2: b"packed b"}
    assert {"a", "b", "in/c"} <= set(tree.names())
    assert tree.first("none", "b") == b"packed b"
    assert [path.name for path in tree.archives] == ["one.tgz", "two.zip"]


def test_names_what_is_missing(tree: Tree) -> None:
    with pytest.raises(MplibError, match=r"lacks x and 1 more, expected the files as"):
        list(tree.stream(["a", "y", "x"]))
    with pytest.raises(MplibError, match="lacks x or y, expected"):
        tree.first("x", "y")
    with pytest.raises(MplibError, match="lists a file twice"):
        list(tree.stream(["a", "a"]))


@pytest.mark.parametrize(("name", "keep"), [("one.tgz", 40), ("two.zip", 100), ("two.zip", 0)])
def test_a_broken_archive_is_named(tree: Tree, tmp_path: Path, name: str, keep: int) -> None:
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:keep])
    with pytest.raises(MplibError, match=rf"{name} cannot be read \(.*\), expected a whole archive"):
        list(tree.stream(["a", "b", "in/c"]))
