"""``mplib sweep``: what is refused before a kernel starts, and what is run."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from mpbook import engines, sweep_command
from mpbook.attempts import Attempt, Job
from mpbook.cli import main
from tests.test_sweeps import pretend
from tests.tiny import Tiny, swept

ROOT = Path(__file__).parent.parent


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Replaces the kernels; returns what was to be run."""
    made: list[Job] = []

    def attempt(job: Job) -> Attempt:
        made.append(job)
        return pretend(job)

    monkeypatch.setattr(engines, "attempt", attempt)
    return made


@pytest.fixture
def root(tiny: Tiny) -> str:
    return str(tiny({"one": swept()}, presets={"smoke": {"one": {"rate": 0.5}}}))


def sweep(root: str, *words: str) -> int:
    return main(["sweep", "one", "--root", root, *words])


def test_runs_the_product_with_the_preset_s_other_parameters(
    root: str, jobs: list[Job], capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep(root, "-p", "steps=1,2", "--seeds", "2", "--preset", "smoke", "--jobs", "2", "--timeout", "9") == 0
    found = sorted((job.parameters["seeds"], job.parameters["steps"]) for job in jobs)
    assert found == [([0], 1), ([0], 2), ([1], 1), ([1], 2)]
    # one thread each, since there are several; the chapter's own jobs would get in their way
    assert {(job.parameters["rate"], job.parameters["preset"]) for job in jobs} == {(0.5, "smoke")}
    assert {(job.threads, job.timeout, job.parameters["jobs"]) for job in jobs} == {(1, 9.0, 1)}
    out = capsys.readouterr().out
    assert "4 rows, as a table with all parameters and versions: " in out and "double" in out
    assert (Path(root) / "build" / "sweeps" / "one" / "table.csv").is_file()


def test_a_run_alone_may_use_every_thread_and_jobs_can_be_swept(root: str, jobs: list[Job]) -> None:
    assert sweep(root, "-p", "jobs=1,3") == 0
    assert [(job.threads, job.parameters["jobs"]) for job in jobs] == [(None, 1), (None, 3)]


def test_failures_give_status_1_and_a_sentence(
    root: str, jobs: list[Job], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert sweep(root, "-p", "steps=13,1", "--out", str(tmp_path / "out")) == 1
    out = capsys.readouterr().out
    assert "steps=13: FAILED, cell outcome: AssertionError: unlucky" in out
    assert f"1 of 2 runs failed: their notebooks and tracebacks are in {tmp_path / 'out' / 'failures'}" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-p", "steps=abc"], "parameter steps is the string 'abc', expected int; accepted: steps: int, rate: float"),
        (["-p", "stepz=3"], "unknown parameter 'stepz', did you mean 'steps'"),
        (["--grid", "{root}/grid.yml"], "rate is the string '1e-5', expected float: write 1.0e-5"),
        (["-p", "steps="], "has an empty value"),
        (["-p", "seeds=[]"], "seeds is given an empty list"),
        (
            ["-p", "steps=" + ",".join(map(str, range(100))), "--seeds", "100"],
            "these are 10,000 runs, expected at most",
        ),
        (["--seeds", "0"], "--seeds is 0, expected at least 1"),
        (["--jobs", "0"], "--jobs is 0, expected at least 1"),
        (["--threads", "0"], "--threads is 0, expected at least 1"),
        (["--timeout", "-1"], "--timeout is -1.0"),
        (["--preset", "fats"], "unknown preset 'fats'"),
    ],
)
def test_bad_input_is_refused_before_a_kernel_starts(
    root: str, jobs: list[Job], capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    (Path(root) / "grid.yml").write_text("rate: [0.1, 1e-5]")
    assert sweep(root, *(word.format(root=root) for word in words)) == 2
    error = capsys.readouterr().err
    assert error.startswith("mpbook: ") and message in error and error.count("\n") == 1
    assert jobs == [] and not (Path(root) / "build").exists()


def test_an_unknown_chapter_and_no_book(root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", root, "sweep", "on"]) == 2
    assert "unknown chapter 'on', did you mean 'one'" in capsys.readouterr().err
    assert main(["sweep", "one", "--root", str(tmp_path.parent)]) == 2
    assert "no book at or above" in capsys.readouterr().err


def test_says_what_is_missing(root: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import mpbook

    monkeypatch.delattr(mpbook, "grids", raising=False)
    monkeypatch.delitem(sys.modules, "mpbook.grids", raising=False)
    find = sys.meta_path[0].__class__

    class Missing(find):  # type: ignore[misc, valid-type]
        def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
            if name == "mpbook.grids":
                raise ModuleNotFoundError("No module named 'nbformat'", name="nbformat")

    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    assert sweep(root, "-p", "steps=1") == 2
    assert "a sweep needs nbformat, expected what runs the book" in capsys.readouterr().err


def test_the_project_declares_it_as_a_command_of_mplib(tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = project["entry-points"]["mplib.commands"]
    assert declared == {"sweep": sweep_command.__name__}
    # As installed: a distribution beside the checkout that declares the same.
    info = tmp_path / "declared-0.0.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: declared\nVersion: 0.0.0\n")
    (info / "entry_points.txt").write_text(f"[mplib.commands]\nsweep = {declared['sweep']}\n")
    environment = {"PYTHONPATH": f"{ROOT}:{tmp_path}", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-m", "mplib", "sweep", "--help"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 0 and "--scheduler ADDRESS" in done.stdout, done.stderr
