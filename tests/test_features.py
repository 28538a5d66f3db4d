from __future__ import annotations

import pytest
import torch
from torch import nn

from mplib import MplibError, predict
from mplib.features import penultimate, principal_plane, spread
from tests.toys import toy_net, toy_phi, toy_split


def test_features_are_what_the_last_layer_makes_the_prediction_of() -> None:
    net, images = toy_net(phi=toy_phi()), toy_split(n=10).images
    features = penultimate(net, images, samples=4, batch_size=3, seed=5)
    assert features.shape == (4, 10, 4)
    ours = net.fc(features).softmax(dim=2).mean(dim=0)
    torch.testing.assert_close(ours, predict(net, images, samples=4, batch_size=3, seed=5))
    assert not net.fc._forward_pre_hooks


def test_without_noise_there_is_one_draw_and_the_mean_of_the_noise_is_one_too() -> None:
    images = toy_split(n=4).images
    assert len(penultimate(toy_net(), images, samples=9)) == 1
    net = toy_net(phi=toy_phi())
    assert torch.equal(penultimate(net, images, samples=0), penultimate(net, images, samples=0, seed=1))


def test_the_parts_of_the_variance_are_those_that_were_put_in() -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, 5, generator=generator)

    found = []
    for _ in range(40):  # the estimates are unbiased, so their mean is what counts
        labels = torch.arange(60) % 12
        features = 3 * draw(12)[labels] + 2 * draw(60) + 1.5 * draw(4, 60)
        found.append(torch.tensor(spread(features, labels)))
    mean, error = torch.stack(found).mean(dim=0), torch.stack(found).std(dim=0) / 40**0.5
    expected = 5 * torch.tensor([1.5**2, 2.0**2, 3.0**2])
    assert ((mean - expected).abs() < 3.5 * error).all()


def test_classes_of_different_size_count_alike() -> None:
    labels = torch.tensor([0] * 40 + [1] * 2)
    features = torch.zeros(3, 42, 1)
    features[:, 40:] = 4
    parts = spread(features, labels)
    assert parts == (0, 0, 8) and parts.noise_to_classes == 0


def test_the_plane_is_that_of_the_covariance() -> None:
    features = torch.randn(200, 6, generator=torch.Generator().manual_seed(0)) * torch.tensor([5.0, 3, 1, 1, 1, 1]) + 7
    plane = principal_plane(features)
    values, vectors = torch.linalg.eigh(features.double().T.cov())
    torch.testing.assert_close(plane.share, values.flip(0)[:2] / values.sum())
    assert ((plane.axes @ vectors.flip(1)[:, :2]).abs() - torch.eye(2)).abs().max() < 1e-9
    placed = plane.place(features)
    assert placed.mean(dim=0).abs().max() < 1e-9 and abs(placed.T.cov()[0, 1]) < 1e-9
    mirrored = principal_plane(-features)
    torch.testing.assert_close(mirrored.axes, plane.axes)


def test_refuses_what_cannot_be() -> None:
    with pytest.raises(MplibError, match="Conv2d has no linear layer"):
        penultimate(nn.Conv2d(3, 3, 1), torch.zeros(1, 3, 4, 4))
    with pytest.raises(MplibError, match="1 classes and 2 images"):
        spread(torch.zeros(1, 2, 3), torch.tensor([0, 0]))
    with pytest.raises(MplibError, match="2 classes and 1 images"):
        spread(torch.zeros(1, 3, 3), torch.tensor([0, 0, 1]))
    for axes in (0, 4):
        with pytest.raises(MplibError, match=f"axes is {axes}"):
            principal_plane(torch.zeros(9, 3), axes)
