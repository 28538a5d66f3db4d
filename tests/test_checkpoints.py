from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mplib.checkpoints import read_state, read_tensors, write_state, write_tensors
from mplib.errors import MplibError


def test_tensors_and_metadata_come_back(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6).reshape(2, 3), "b": torch.randn(4).to(torch.bfloat16)}
    write_tensors(tmp_path / "x.safetensors", tensors, {"kind": "phi", "note": "ü"})
    read, metadata = read_tensors(tmp_path / "x.safetensors", "phi")
    assert all(torch.equal(read[name], tensors[name]) for name in tensors) and read.keys() == tensors.keys()
    assert metadata == {"kind": "phi", "note": "ü"}


def test_a_transposed_view_is_written_as_it_looks(tmp_path: Path) -> None:
    view = torch.arange(6).reshape(2, 3).t()
    write_tensors(tmp_path / "x.safetensors", {"a": view}, {"kind": "phi"})
    assert torch.equal(read_tensors(tmp_path / "x.safetensors", "phi")[0]["a"], view)


def test_refuses_the_wrong_kind(tmp_path: Path) -> None:
    write_tensors(tmp_path / "x.safetensors", {"a": torch.zeros(1)}, {"kind": "network"})
    with pytest.raises(MplibError, match="holds network, expected a phi"):
        read_tensors(tmp_path / "x.safetensors", "phi")


def test_state_comes_back(tmp_path: Path) -> None:
    write_state(tmp_path / "s.pt", {"step": 3, "rows": [{"loss": 0.5}], "network": {"w": torch.ones(2)}})
    state = read_state(tmp_path / "s.pt")
    assert state["step"] == 3 and torch.equal(state["network"]["w"], torch.ones(2))


def test_refuses_damaged_states(tmp_path: Path) -> None:
    write_state(tmp_path / "s.pt", {"network": torch.ones(1000)})
    whole = (tmp_path / "s.pt").read_bytes()
    for part in (0, 10, len(whole) // 2, len(whole) - 20):
        (tmp_path / "cut.pt").write_bytes(whole[:part])
        with pytest.raises(MplibError, match=r"cut\.pt"):
            read_state(tmp_path / "cut.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(MplibError, match="holds a list"):
        read_state(tmp_path / "list.pt")
