"""nbval over papermill's outputs: equal passes, and each way of being different fails."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpbook import cli
from mpbook.layout import Book

Change = Callable[[dict[str, Any], dict[str, Any]], Any]


def _checked(notebook: dict[str, Any]) -> dict[str, Any]:
    return next(cell for cell in notebook["cells"] if cell["id"] == "double")


def _error(notebook: dict[str, Any]) -> None:
    error = {"output_type": "error", "ename": "ValueError", "evalue": "x", "traceback": ["ValueError: x"]}
    notebook["cells"][-1]["outputs"] = [error]


# What is done to the executed notebook (n) and to the reference (r), and what pytest has to say.
CHANGES: dict[str, tuple[Change, str]] = {
    "same": (lambda n, r: None, ""),
    "value": (lambda n, r: _checked(n)["outputs"][0].update(text="5\n"), "Cell 2"),
    "more": (
        lambda n, r: _checked(n)["outputs"].append({"output_type": "stream", "name": "stderr", "text": "w"}),
        "Cell 2",
    ),
    "nothing": (lambda n, r: _checked(n)["outputs"].clear(), "Cell 2"),
    "source": (lambda n, r: _checked(n).update(source="print(2 * steps)"), "reference"),
    "untagged": (lambda n, r: _checked(n).update(metadata={}), "reference"),
    "uncovered": (lambda n, r: r.clear(), "reference"),
    "error": (lambda n, r: _error(n), "Cell 3"),
    "missing": (lambda n, r: None, "reference"),
}


@pytest.fixture(scope="module")
def report(executed: Book, tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """One session of pytest over a notebook for each change."""
    folder = tmp_path_factory.mktemp("replay")
    for name, (change, _) in CHANGES.items():
        notebook = json.loads(executed.executed("smoke", "one").read_text())
        reference = json.loads(executed.reference("one").read_text())
        change(notebook, reference)
        (folder / f"{name}.ipynb").write_text(json.dumps(notebook))
        (folder / f"{name}.json").write_text(json.dumps(reference))
    (folder / "missing.json").unlink()
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "-p", "mpbook.replay", "--references", str(folder), "-rA"]
    command += [str(folder / f"{name}.ipynb") for name in CHANGES]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", CHANGES)
def test_only_what_is_the_same_passes(report: subprocess.CompletedProcess[str], name: str) -> None:
    failed = [line.split("::", 1)[1] for line in report.stdout.splitlines() if line.startswith(f"FAILED {name}.ipynb")]
    wanted = CHANGES[name][1]
    assert (wanted in failed[0]) if wanted else not failed
    assert f"PASSED {name}.ipynb::Cell 0" in report.stdout


def test_the_report_is_readable(report: subprocess.CompletedProcess[str]) -> None:
    assert report.returncode == 1
    assert "there is no reference" in report.stdout
    assert "checked cell double has no reference" in report.stdout
    assert "Cell outputs differ" in report.stdout


def test_the_command_fails_too(executed: Book, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "copy"
    shutil.copytree(executed.root, root)
    Book(root).reference("one").unlink()
    assert cli.main(["--root", str(root), "compare"]) == 1
    assert "there is no reference" in capfd.readouterr().out
