"""Protocols: the first images of each class, in order, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mplib.data import Dataset, Split, describe, load
from mplib.data.catalogue import CATALOGUE
from mplib.data.protocols import PROTOCOLS, apply_protocol
from mplib.errors import MplibError


def cifar100_like(per_class: int) -> Dataset:
    labels = torch.arange(100 * per_class).flip(0) % 100
    images = torch.zeros(len(labels), 3, 4, 4, dtype=torch.uint8)
    images[:, 0, 0, 0] = (torch.arange(len(labels)) // 100).to(torch.uint8)
    split = Split(images, labels)
    return Dataset("cifar100", split, split, [f"c{k}" for k in range(100)], source="a test")


def test_s_cifar100_is_the_first_fifty_a_class_in_order() -> None:
    source = cifar100_like(60)
    data = apply_protocol("s-cifar100", source)
    assert data.name == "s-cifar100"
    assert torch.bincount(data.train.labels).tolist() == [50] * 100
    assert torch.equal(data.train.labels, source.train.labels[:5000])  # the classes take turns in this source
    assert data.train.images[:, 0, 0, 0].max() == 49
    assert data.test is source.test
    assert "a test" in data.source


def test_too_small_a_source() -> None:
    with pytest.raises(MplibError, match="class 'c0' of 'cifar100' has 49 .* but 's-cifar100' expected 50"):
        apply_protocol("s-cifar100", cifar100_like(49))


def test_order_matters() -> None:
    source = cifar100_like(60)
    turned = replace(source, train=source.train.take(torch.arange(6000).flip(0)))
    assert apply_protocol("s-cifar100", turned).fingerprint != apply_protocol("s-cifar100", source).fingerprint


def test_through_the_door(tmp_path: Path) -> None:
    data, source = load("s-mnist5k", image_size=28, root=tmp_path), load("mnist5k", image_size=28, root=tmp_path)
    assert torch.equal(data.train.images, source.train.images[:100])
    assert not data.flip
    assert describe("s-mnist5k", root=tmp_path).train == data.train.n


def test_every_protocol_is_described_and_starts_from_something_described() -> None:
    assert set(PROTOCOLS) == {name for name, about in CATALOGUE.items() if about.kind == "protocol"}
    assert {source for source, _ in PROTOCOLS.values()} <= set(CATALOGUE)


@pytest.mark.realdata
def test_s_cifar100_of_the_real_set() -> None:
    if describe("cifar100").kind != "folder":
        pytest.skip("no folder cifar100 under MPLIB_DATA")
    data = load("s-cifar100")
    assert torch.bincount(data.train.labels).tolist() == [50] * 100
    assert data.test.n == 10_000
