"""Feature space: what the last linear layer sees, how far the noise throws it, and a plane to look at it in."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mplib.attachment import perturbation_of
from mplib.errors import MplibError
from mplib.evaluation import draws


def penultimate(net: nn.Module, images: Tensor, samples: int = 1, batch_size: int = 500, seed: int = 0) -> Tensor:
    """The features that a network's last linear layer is given, in eval mode, for several draws of the noise.

    Args:
        net: a network with a linear layer.
        images: (N, 3, H, W), uint8 or normalised.
        samples: draws, at least 1; or 0 for the mean of the noise, see :func:`mplib.evaluation.mean_noise`.
        batch_size: images at a time.
        seed: of the noise.

    Returns:
        (draws, N, features); one draw where the network has no noise.

    Raises:
        MplibError: no linear layer.

    Example:
        >>> import mplib
        >>> net = mplib.attach(mplib.nets.build("conv4", 3, 16, width=4), mplib.MetaPerturb(), image_size=16)
        >>> penultimate(net, torch.zeros(2, 3, 16, 16), samples=5).shape
        torch.Size([5, 2, 4])
    """
    attached = perturbation_of(net)
    foreign = set() if attached is None else set(attached.modules())
    layers = [module for module in net.modules() if isinstance(module, nn.Linear) and module not in foreign]
    if not layers:
        raise MplibError(f"{type(net).__name__} has no linear layer, expected one whose inputs are the features")
    seen: list[Tensor] = []
    handle = layers[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().flatten(1)))
    try:
        passes = len(draws(net, images, samples, batch_size, seed))
    finally:
        handle.remove()
    chunks = [torch.stack(seen[first : first + passes]) for first in range(0, len(seen), passes)]
    return torch.cat(chunks, dim=1)


class Spread(NamedTuple):
    """Variances of features, summed over the features, in three parts that add up.

    Attributes:
        noise: of one image between draws of the noise.
        images: of the images of a class, without the noise.
        classes: of the classes' means, without what few images and few draws would put into it.
    """

    noise: float
    images: float
    classes: float

    @property
    def noise_to_classes(self) -> float:
        """How large the cloud of an image is, against how far the classes are apart."""
        return self.noise / self.classes


def spread(features: Tensor, labels: Tensor) -> Spread:
    r"""Split the variance of features into noise, images and classes; each part is unbiased.

    For a feature :math:`x_{dic} = m + C_c + I_{ic} + E_{dic}`, the variances of E, I and C: that of a mean of n things
    holds an n-th of theirs, which is taken off.

    Args:
        features: (draws, N, features).
        labels: (N,); two images of each class at least, and two classes.

    Returns:
        The three variances. One that is small may come out negative, as an unbiased estimate has to.

    Raises:
        MplibError: fewer images or classes than that.

    Example:
        >>> features = torch.tensor([[[0.0], [2.0], [10.0], [12.0]]])
        >>> spread(features, torch.tensor([0, 0, 1, 1]))
        Spread(noise=0.0, images=2.0, classes=49.0)
    """
    classes = labels.unique()
    groups = [features[:, labels == label].double() for label in classes]
    if len(groups) < 2 or min(group.shape[1] for group in groups) < 2:
        raise MplibError(
            f"there are {len(groups)} classes and {min(g.shape[1] for g in groups)} images of the smallest, expected "
            "at least 2 of each"
        )
    count = features.shape[0]
    noise = features.double().var(dim=0).sum(dim=1).mean().item() if count > 1 else 0.0
    means = [group.mean(dim=0) for group in groups]
    degrees = sum(len(mean) - 1 for mean in means)
    observed = sum(mean.var(dim=0).sum().item() * (len(mean) - 1) for mean in means) / degrees
    centres = torch.stack([mean.mean(dim=0) for mean in means])
    luck = sum(observed / len(mean) for mean in means) / len(means)
    return Spread(noise, observed - noise / count, centres.var(dim=0).sum().item() - luck)


class Plane(NamedTuple):
    """The directions in which features vary most.

    Attributes:
        centre: mean of the features, (F,).
        axes: orthonormal, (k, F), the one of most variance first.
        share: part of the variance along each axis, (k,).
    """

    centre: Tensor
    axes: Tensor
    share: Tensor

    def place(self, features: Tensor) -> Tensor:
        """Coordinates of features (..., F) in the plane, (..., k)."""
        return (features.to(self.centre) - self.centre) @ self.axes.T


def principal_plane(features: Tensor, axes: int = 2) -> Plane:
    """Principal components of features, with signs that do not depend on the machine.

    Args:
        features: (N, F).
        axes: k, from 1 to the smaller of N and F.

    Raises:
        MplibError: a k out of range.

    Example:
        >>> plane = principal_plane(torch.tensor([[0.0, 0.0], [2.0, 0.1], [4.0, 0.0]]))
        >>> plane.axes[0].abs().argmax().item(), round(plane.share.sum().item(), 6)
        (0, 1.0)
    """
    if not 1 <= axes <= min(features.shape):
        raise MplibError(f"axes is {axes} for features of shape {tuple(features.shape)}, expected 1 to the smaller")
    x = features.double()
    centre = x.mean(dim=0)
    _, singular, directions = torch.linalg.svd(x - centre, full_matrices=False)
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    variance = singular.square()
    return Plane(centre, (directions * largest.sign())[:axes], (variance / variance.sum())[:axes])
