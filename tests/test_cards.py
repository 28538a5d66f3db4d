from __future__ import annotations

from pathlib import Path

import pytest

from mplib import MetaPerturb, MplibError, cards
from mplib.cards import card
from mplib.cli import main
from mplib.files import write_json
from mplib.perturb import pretrained_names


def test_every_phi_in_the_wheel_has_a_card(capsys: pytest.CaptureFixture[str]) -> None:
    for name in pretrained_names():
        text = card(name)
        assert text.startswith(f"{name}: ") and max(map(len, text.splitlines())) <= 120
        whole = ("data", "terms", "limits") if "compressed" in text else ("data", "terms", "seed", "limits", "effect")
        assert all(word in text for word in whole)
        assert main(["info", f"pretrained:{name}"]) == 0
        assert capsys.readouterr().out.strip() == text
    assert main(["info", "pretrained"]) == 0


def test_measured_numbers_are_those_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = pretrained_names()[0]
    (tmp_path / "pretrained").mkdir()
    MetaPerturb.from_pretrained(name).save(tmp_path / "pretrained" / f"{name}.safetensors")
    interval = {"mean": 0.0123, "low": -0.01, "high": 0.05}
    effect = {"data": "digits", "net": "conv4", "image_size": 8, "steps": 7, "n": 3, "against": "none"}
    effect |= {"finetuned": False, "learned": 0.98}
    measured = {
        "selection": {"images": "photos[selection]", "chosen": True, "mean_accuracy": {"0": 0.25}},
        "effects": [{**effect, "accuracy": interval, "nll": interval}],
        "rows": ["0123456789abcdef"],
    }
    write_json(tmp_path / "pretrained" / f"{name}.json", measured)
    monkeypatch.setattr(cards.resources, "files", lambda package: tmp_path)
    monkeypatch.setattr(
        MetaPerturb, "from_pretrained", lambda own: MetaPerturb.load(tmp_path / "pretrained" / f"{own}.safetensors")
    )
    text = card(name)
    assert "digits, 8 px, conv4, 7 steps; training images that its networks had learned: 98 %" in text
    assert "(3 seeds)" in text and "from 1 rows" in text
    assert "+1.2 [-1.0, +5.0]" in text and "+0.01 [-0.01, +0.05]" in text
    assert "seed 0 25.0 %" in " ".join(text.split())


def test_refuses_an_unknown_name() -> None:
    with pytest.raises(MplibError, match="unknown pretrained phi 'photo', did you mean 'photos'"):
        card("photo")
