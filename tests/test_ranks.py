"""Real processes, started by torchrun, talking through gloo."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mplib import MetaPerturb, MplibError
from mplib.checkpoints import read_state
from mplib.cli import main
from mplib.ranks import RankLost, Ranks, joined, speaks
from tests.toys import flat

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
SMALL = ["meta-train", "--data", "digits", "--tasks", "4", "--net", "conv4", "--image-size", "16", "--width", "2",
         "--batch-size", "16", "--device", "cpu", "--quiet"]  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _as_many_threads_as_a_rank() -> Iterator[None]:
    """Another number of threads adds up in another order, and sixty steps of training make much of the difference."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def started(ranks: int, words: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [*TORCHRUN, f"--nproc_per_node={ranks}", "-m", "mplib", *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def phi_in(folder: Path) -> torch.Tensor:
    return flat(MetaPerturb.load(folder / "phi.safetensors"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 steps in one process."""
    folder = tmp_path_factory.mktemp("alone") / "out"
    assert main([*SMALL, "--steps", "20", "--out", str(folder)]) == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3])
def test_any_number_of_ranks_gives_the_same_phi_and_prints_once(ranks: int, alone: Path, tmp_path: Path) -> None:
    job = started(ranks, [*SMALL, "--steps", "20", "--out", str(tmp_path / "out")])
    out, error = job.communicate(timeout=300)
    assert job.returncode == 0, error
    assert out.count("validation loss") == 1
    torch.testing.assert_close(phi_in(tmp_path / "out"), phi_in(alone), rtol=0, atol=1e-5)
    histories = [(folder / "history.csv").read_text().splitlines() for folder in (alone, tmp_path / "out")]
    assert len(histories[0]) == len(histories[1]) == 21
    numbers = [[float(word) for word in lines[-1].split(",")] for lines in histories]
    assert numbers[1] == pytest.approx(numbers[0], rel=1e-3)


@pytest.mark.slow
def test_a_killed_rank_ends_the_job_with_a_message_and_another_number_of_ranks_goes_on(tmp_path: Path) -> None:
    words = [*SMALL, "--tasks", "2", "--steps", "60", "--checkpoint-every", "5", "--out", str(tmp_path / "out")]
    job = started(2, words)
    checkpoint = tmp_path / "out" / "checkpoint.pt"
    deadline = time.monotonic() + 240
    while not checkpoint.exists() and time.monotonic() < deadline and job.poll() is None:
        time.sleep(0.02)
    children = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
    victim = next(pid for pid in children if b"RANK=1\0" in Path(f"/proc/{pid}/environ").read_bytes())
    os.kill(int(victim), signal.SIGKILL)
    killed = time.monotonic()
    _, error = job.communicate(timeout=120)
    assert job.returncode != 0 and time.monotonic() - killed < 60
    assert error.count("mplib: rank 1 of 2 ended before the run did; the same command with --resume goes on") == 1
    assert 5 <= read_state(checkpoint)["step"] < 60

    assert main([*words, "--resume"]) == 0  # one rank now
    whole = tmp_path / "whole"
    assert main([*words[:-1], str(whole)]) == 0
    torch.testing.assert_close(phi_in(tmp_path / "out"), phi_in(whole), rtol=0, atol=1e-5)


def test_more_ranks_than_tasks_are_refused_by_the_one_that_speaks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "5")
    monkeypatch.setenv("RANK", "0")
    assert main([*SMALL, "--steps", "2", "--out", str(tmp_path / "out")]) == 2
    assert "5 ranks for 4 tasks, expected at most one rank for each task" in capsys.readouterr().err
    monkeypatch.setenv("RANK", "3")
    with pytest.raises(SystemExit) as stopped:
        main([*SMALL, "--steps", "2", "--out", str(tmp_path / "out")])
    assert stopped.value.code == 2 and capsys.readouterr().err == ""


def test_alone_without_torchrun() -> None:
    with joined(3, "cpu") as (ranks, place):
        assert ranks.first and ranks.own(3) == [0, 1, 2] and place.type == "cpu"
        assert ranks.gathered({1: "a"}) == {1: "a"}


def test_tasks_are_dealt_once() -> None:
    for size in (1, 2, 3, 7):
        hands = [Ranks(rank, size).own(7) for rank in range(size)]
        assert sorted(task for hand in hands for task in hand) == list(range(7))
        assert all(Ranks(rank, size).owner(task) == rank for rank, hand in enumerate(hands) for task in hand)


def test_one_process_speaks_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    assert speaks() and speaks(MplibError("steps is 0"))
    monkeypatch.setenv("RANK", "1")
    assert not speaks() and not speaks(MplibError("steps is 0"))
    assert speaks(RankLost("rank 0 ended", speaker=True)) and not speaks(RankLost("rank 0 ended", speaker=False))
