from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mplib.data  # noqa: F401  makes torchvision importable beside a CPU build of torch
from mplib import MplibError
from mplib.regularizers import Mixer, cutmix, manifold_mixup, mixup, smoothed
from mplib.regularizers.mixing import mix, mixed_cross_entropy, pairing, paste
from mplib.steps import Objective
from tests.toys import toy_net

IMAGES, LABELS = torch.rand(6, 3, 16, 16), torch.tensor([0, 1, 2, 0, 1, 2])


class Seen(nn.Module):
    """A network that keeps what it was given, and says nothing."""

    def forward(self, x: Tensor) -> Tensor:
        self.images = x
        return torch.zeros(len(x), 3)


def _mixed(module: nn.Module, args: object, output: Tensor, partner: Tensor, share: float) -> Tensor:
    return mix(output, partner, share)


def rolled(n: int) -> Tensor:
    """The pairing of torchvision."""
    return torch.arange(n).roll(1)


def test_mixed_images_are_those_of_torchvision() -> None:
    v2 = pytest.importorskip("torchvision.transforms.v2")
    for theirs in (v2.MixUp(alpha=1.0, num_classes=3), v2.CutMix(alpha=1.0, num_classes=3)):
        for seed in range(10):
            torch.manual_seed(seed)
            images, targets = theirs(IMAGES, LABELS)
            torch.manual_seed(seed)
            share = float(torch.distributions.Beta(1.0, 1.0).sample(()))
            if isinstance(theirs, v2.MixUp):
                ours = mix(IMAGES, rolled(6), share)
            else:
                ours, share = paste(IMAGES, rolled(6), share)
            torch.testing.assert_close(ours, images)
            # And so is the loss: cross-entropy is linear in the target.
            logits = torch.randn(6, 3)
            torch.testing.assert_close(
                mixed_cross_entropy(logits, LABELS, rolled(6), share), F.cross_entropy(logits, targets)
            )


def test_a_pair_is_drawn_from_a_permutation_and_a_beta() -> None:
    torch.manual_seed(0)
    drawn = [pairing(torch.zeros(6, 1), 0.5) for _ in range(2000)]
    assert all(sorted(partner.tolist()) == list(range(6)) for _, partner in drawn)
    assert len({tuple(partner.tolist()) for _, partner in drawn}) > 500  # not a roll
    shares = torch.tensor([share for share, _ in drawn])
    assert abs(shares.mean() - 0.5) < 0.03 and abs(shares.var() - 1 / 8) < 0.01  # 1 / (4 (2 alpha + 1))


@pytest.mark.parametrize("objective", [mixup(1.0), cutmix(1.0)])
def test_the_loss_is_that_of_the_mixed_images(objective: Objective) -> None:
    net = Seen()
    torch.manual_seed(0)
    loss, logits = objective(net, IMAGES, LABELS)
    assert not torch.equal(net.images, IMAGES) and logits.shape == (6, 3)
    assert loss.item() == pytest.approx(torch.tensor(3.0).log().item(), rel=1e-6)


def test_manifold_mixup_mixes_at_one_place_for_each_batch() -> None:
    net = toy_net(phi=nn.ModuleList(Mixer() for _ in range(4))).eval()  # eval, so that batch norms mix nothing
    plain = toy_net().eval()
    norms = [module for module in plain.modules() if isinstance(module, nn.BatchNorm2d)]
    chosen = dict.fromkeys(range(5), 0)
    for seed in range(60):
        torch.manual_seed(seed)
        place = int(torch.randint(5, ()))
        share, partner = pairing(IMAGES, 2.0)
        torch.manual_seed(seed)
        loss, logits = manifold_mixup(2.0)(net, IMAGES, LABELS)
        handles = (
            [] if place == 4 else [norms[place].register_forward_hook(partial(_mixed, partner=partner, share=share))]
        )
        expected = plain(mix(IMAGES, partner, share) if place == 4 else IMAGES)
        for handle in handles:
            handle.remove()
        torch.testing.assert_close(logits, expected)
        torch.testing.assert_close(loss, mixed_cross_entropy(logits, LABELS, partner, share))
        chosen[place] += 1
    assert min(chosen.values()) > 3
    assert all(part.pending is None for part in net.perturbation.functions)


def test_smoothing_mixes_the_label_with_all_classes() -> None:
    logits = torch.randn(6, 3)
    loss, _ = smoothed(0.3)(lambda images: logits, IMAGES, LABELS)  # type: ignore[arg-type]
    target = 0.7 * F.one_hot(LABELS, 3) + 0.3 / 3
    torch.testing.assert_close(loss, -(target * logits.log_softmax(dim=1)).sum(dim=1).mean())


def test_refuses_a_network_that_cannot_mix() -> None:
    with pytest.raises(MplibError, match="nothing at the sites can mix"):
        manifold_mixup(1.0)(toy_net(), IMAGES, LABELS)
