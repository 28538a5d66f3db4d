"""``python -m mpbook``: each command, and a non-zero status for whatever goes wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mpbook import cli, execution
from mpbook.layout import Book
from tests.tiny import Tiny, chapter


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for command in ("parameters", "run", "reference", "compare", "render", "book", "clean"):
        assert f"\n  {command} " in text


def test_lists_parameters(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    root = tiny(presets={"full": {"one": {"steps": 900}}})
    assert cli.main(["--root", str(root), "parameters", "one"]) == 0
    out = capsys.readouterr().out
    assert "steps: int = 3    steps\n      smoke: 3  fast: 3  full: 900\n" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "on"], "unknown chapter 'on', did you mean 'one'"),
        (["run", "one", "-p", "step=3"], "one, preset fast: unknown parameter 'step', did you mean 'steps'"),
        (["run", "one", "-p", "steps=1e3"], "steps is 1000.0 of type float, expected int"),
        (["parameters", "none"], "unknown chapter 'none'"),
        (["compare"], "no up-to-date smoke run of one"),
        (["render"], "no up-to-date outputs of one"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_status_2(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    root = tiny()
    assert cli.main(["--root", str(root), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mpbook: ")
    assert message in error
    assert "Traceback" not in error


def test_an_unknown_preset_is_refused(tiny: Tiny) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--root", str(tiny()), "run", "--preset", "fats"])
    assert stop.value.code == 2


def test_a_failing_chapter_gives_status_2(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    cells = chapter()
    cells[2]["source"] = "print(steps)\nassert steps == 0, 'not zero'"
    root = tiny({"one": cells})
    assert cli.main(["--root", str(root), "book", "--preset", "smoke"]) == 2
    assert "one, cell double: AssertionError: not zero" in capsys.readouterr().err
    assert not (root / "_build").exists()


def test_a_stray_reference_gives_status_2(executed: Book, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "copy"
    shutil.copytree(executed.root, root)
    (root / "book" / "reference" / "gone.json").write_text("{}")
    assert cli.main(["--root", str(root), "compare"]) == 2
    assert "gone.json in book/reference belongs to no chapter" in capsys.readouterr().err


def test_an_interrupt_gives_status_130(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(execution, "run", interrupt)
    assert cli.main(["--root", str(tiny()), "run"]) == 130
    assert "goes on from here" in capsys.readouterr().err


def test_clean_is_a_command(tiny: Tiny) -> None:
    root = tiny()
    (root / "build" / "smoke").mkdir(parents=True)
    assert cli.main(["--root", str(root), "clean"]) == 0
    assert not (root / "build").exists()
