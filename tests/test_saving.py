from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mplib import MplibError, attach, load_network, predict, save_network, sites
from mplib.checkpoints import read_tensors, write_tensors
from mplib.regularizers import matched_noise
from tests.toys import toy_data, toy_net, toy_phi, toy_split


@pytest.mark.parametrize("attached", ["nothing", "phi", "noise"])
def test_a_trained_network_predicts_the_same_after_a_round_trip(tmp_path: Path, attached: str) -> None:
    from mplib import train

    noise = matched_noise([(0.5, 0.1 * (site + 1)) for site in range(4)])
    net = toy_net(phi={"nothing": None, "phi": toy_phi(), "noise": noise}[attached])
    train(net, toy_data(), steps=3, batch_size=8, device="cpu")
    save_network(net, tmp_path / "net.safetensors", {"note": attached})
    again, provenance = load_network(tmp_path / "net.safetensors")
    images = toy_split(n=6).images
    assert torch.equal(predict(again, images, samples=3, seed=0), predict(net, images, samples=3, seed=0))
    assert provenance == {"note": attached}


def test_named_sites_are_named_again(tmp_path: Path) -> None:
    net = attach(toy_net(), toy_phi(), image_size=16, sites=["blocks.1.bn"], channel_ref=64)
    save_network(net, tmp_path / "net.safetensors")
    again, _ = load_network(tmp_path / "net.safetensors")
    assert sites(again) == sites(net) and again.perturbation.channel_ref == 64


def test_refuses_networks_and_files_it_cannot_rebuild(tmp_path: Path) -> None:
    with pytest.raises(MplibError, match=r"expected one of mplib\.nets\.build"):
        save_network(nn.Linear(2, 2), tmp_path / "net.safetensors")
    toy_phi().save(tmp_path / "phi.safetensors")
    with pytest.raises(MplibError, match="holds phi, expected a network"):
        load_network(tmp_path / "phi.safetensors")
    save_network(toy_net(), tmp_path / "net.safetensors")
    tensors, metadata = read_tensors(tmp_path / "net.safetensors", "network")
    tensors.popitem()
    write_tensors(tmp_path / "less.safetensors", tensors, metadata)
    with pytest.raises(MplibError, match="does not describe a network"):
        load_network(tmp_path / "less.safetensors")
