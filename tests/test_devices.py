from __future__ import annotations

import pytest
import torch

from mplib import devices
from mplib.errors import MplibError


def test_auto_takes_a_gpu_where_there_is_one() -> None:
    assert devices.resolve("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:99"])
def test_refuses_devices_that_are_not_there(name: str) -> None:
    with pytest.raises(MplibError, match="expected auto, cpu or a GPU"):
        devices.resolve(name)


@pytest.mark.parametrize("threads, text", [(1, "1 thread)"), (2, "2 threads)")])
def test_the_cpu_is_described_with_its_threads(monkeypatch: pytest.MonkeyPatch, threads: int, text: str) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert devices.describe(torch.device("cpu")).endswith(text)
