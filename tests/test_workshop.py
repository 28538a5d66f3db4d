from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mplib import MetaPerturb, load_network
from mplib.experiments import fingerprint
from mplib.reproduction.declarations import Unit
from mplib.reproduction.phis import Unfinished
from mplib.reproduction.scales import find_scale
from mplib.reproduction.workshop import Workshop
from tests.toys import toy_phi

TOY = find_scale("toy")


def shop(folder: Path, phi: MetaPerturb | None = None, **change: object) -> Workshop:
    return Workshop(folder, replace(TOY, **change), "cpu", phi)  # type: ignore[arg-type]


def test_test_images_are_few_and_balanced_and_the_name_says_so(tmp_path: Path) -> None:
    data = shop(tmp_path).data("mnist5k")
    assert data.name == "mnist5k[test=30]" and data.train.n == 3000 and data.image_size == 16
    assert data.test.labels.bincount().tolist() == [3] * 10
    assert shop(tmp_path, test_images=None).data("mnist5k").test.n == 2000


def test_the_source_is_what_the_scale_says(tmp_path: Path) -> None:
    assert shop(tmp_path).source.train.n == 680
    assert shop(tmp_path, source_per_class=3).source.name == "photos[per_class=3,seed=0]"
    assert shop(tmp_path, source_per_class=3).selection.name == "photos[selection]"


def test_selection_is_scored_on_images_that_did_not_train(tmp_path: Path) -> None:
    unit = Unit("meta", "selection", "photos", "conv4", "phi", (0,), phi_seed=0)
    (transfer,) = shop(tmp_path).transfers(unit)
    assert (transfer.per_class, transfer.steps, transfer.tuning) == (4, TOY.selection_steps, True)
    assert shop(tmp_path).rows(unit) is None  # its phi is not there
    with pytest.raises(Unfinished, match="expected it to be meta-trained before"):
        shop(tmp_path).make(unit)


def test_the_phi_is_the_one_given_or_the_pretrained_one(tmp_path: Path) -> None:
    unit = Unit("ablation", "transfer", "digits", "conv4", "phi", (0,))
    for given, expected in ((toy_phi(), toy_phi()), (None, MetaPerturb.from_pretrained())):
        (row,) = shop(tmp_path, given).make(unit)
        assert row["config"]["phi"] == fingerprint(expected)
    assert "phi" not in shop(tmp_path).make(replace(unit, method="none"))[0]["config"]


def test_fine_tuning_needs_its_source(tmp_path: Path) -> None:
    tuned = Unit("finetune", "transfer", "digits", "conv4", "none", (0,))
    first = Unit("source", "source", "photos", "conv4", "none")
    assert shop(tmp_path).rows(tuned) is None
    with pytest.raises(Unfinished, match="expected it to be trained before"):
        shop(tmp_path).make(tuned)
    (source,) = shop(tmp_path).make(first)
    network = tmp_path / "networks" / f"{source['key']}.safetensors"
    (row,) = shop(tmp_path).make(tuned)
    assert row["config"]["source_network"] == fingerprint(load_network(network)[0])
    network.unlink()  # the row alone, as from another machine, is not enough to start from
    assert shop(tmp_path).rows(first) is None


@pytest.mark.parametrize("kind", ["calibration", "attack"])
def test_a_network_that_is_not_here_is_trained_once_more(kind: str, tmp_path: Path) -> None:
    unit = Unit("robustness", kind, "digits", "conv4", "phi", (0,))
    (row,) = shop(tmp_path).make(unit)
    alone = shop(tmp_path / "two")
    for trained in shop(tmp_path).store.rows(experiment="transfer"):
        alone.store.add(trained)
    (again,) = alone.make(unit)
    assert again["result"] == row["result"] and alone.rows(unit) == [again]
    if kind == "calibration":
        assert [each["samples"] for each in row["result"]["counts"]] == list(TOY.counts)
        assert row["result"]["samples"] == TOY.draws and len(row["result"]["floor"]) == 3
    else:
        assert row["result"]["n"] == TOY.attack["images"] and row["config"]["net_method"] == "phi"


def test_what_is_not_at_hand_says_how_to_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLIB_DATA", str(tmp_path))
    missing = shop(tmp_path).missing(Unit("datasets", "transfer", "stl10", "conv4"))
    assert missing is not None and "mplib data get stl10" in missing
    assert shop(tmp_path).missing(Unit("datasets", "transfer", "digits", "conv4")) is None
