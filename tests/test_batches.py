from __future__ import annotations

import pytest
import torch

from mplib.batches import Batches, BatchStack
from mplib.data import Split, normalise
from mplib.errors import MplibError
from tests.toys import toy_split


def marked_split(n: int) -> Split:
    """Images that tell their own index: all pixels of image i are i."""
    images = torch.arange(n, dtype=torch.uint8)[:, None, None, None].expand(n, 3, 4, 4).contiguous()
    return Split(images, torch.arange(n))


def test_an_epoch_visits_every_image_once_and_the_next_in_another_order() -> None:
    batches = Batches(marked_split(20), batch_size=5, seed=0, crop=False, flip=False)
    epochs = [torch.cat([batches[step][1] for step in range(4 * e, 4 * e + 4)]) for e in range(2)]
    assert all(sorted(epoch.tolist()) == list(range(20)) for epoch in epochs)
    assert not torch.equal(*epochs)


def test_images_stay_with_their_labels() -> None:
    batches = Batches(marked_split(20), batch_size=8, seed=0, crop=False, flip=False)
    images, labels = batches[1]
    expected = normalise(labels.to(torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4))
    assert torch.equal(images, expected)


def test_a_batch_depends_on_the_seed_and_the_step_only() -> None:
    one, two = (Batches(toy_split(), batch_size=16, seed=3) for _ in range(2))
    expected = [one[step] for step in range(6)]
    for step in (5, 0, 3):  # in any order
        assert all(torch.equal(a, b) for a, b in zip(two[step], expected[step], strict=True))
    other = Batches(toy_split(), batch_size=16, seed=4)
    assert not torch.equal(other[0][0], expected[0][0])


def test_a_small_split_is_one_batch() -> None:
    batches = Batches(toy_split(n=6), batch_size=64, seed=0)
    assert batches.per_epoch == 1 and len(batches[0][1]) == 6


def test_refuses_batches_without_a_variance() -> None:
    with pytest.raises(MplibError, match="expected at least 2"):
        Batches(toy_split(), batch_size=1, seed=0)


def test_made_together_they_are_the_very_batches() -> None:
    """Shared and own splits, other image sizes, batch sizes and numbers of images, with and without augmentation."""
    shared, other = toy_split(), toy_split(n=30, seed=1)

    def make() -> list[Batches]:
        return [
            Batches(shared, 16, seed=0),
            Batches(toy_split(size=8), 16, seed=1),
            Batches(other, 16, seed=2, flip=False),
            Batches(shared, 16, seed=3),
            Batches(shared, 7, seed=4),
            Batches(other, 16, seed=5, crop=False, flip=False),
        ]

    stack = BatchStack(make())
    for step in (0, 4, 1):
        for (images, labels), own in zip(stack[step], make(), strict=True):
            assert torch.equal(images, own[step][0]) and torch.equal(labels, own[step][1])


def test_a_shared_split_is_kept_once() -> None:
    split = toy_split()
    pool = BatchStack([Batches(split, 16, seed=seed) for seed in range(4)])._pools[0]
    assert pool._images.data_ptr() == split.images.data_ptr()


@pytest.mark.gpu
def test_a_batch_is_the_same_on_every_device() -> None:
    here, there = (Batches(toy_split(), 16, seed=0, device=device) for device in ("cpu", "cuda"))
    assert all(torch.equal(a, b.cpu()) for a, b in zip(here[3], there[3], strict=True))
