r"""The perturbation function: 82 numbers that turn a feature map into a noisier one.

Let :math:`x` be a feature map of shape (B, C, H, W) at one site of a network. One :math:`\phi` serves every site,
every channel, and every network:

.. math::

    \mathrm{ChEq}_{w,v}(x)_k &= w * x_k + v * \tfrac1C \textstyle\sum_j x_j \\
    \alpha &= \mathrm{ChEq}_2(\mathrm{relu}(\mathrm{ChEq}_1(x))) \\
    z &= \mathrm{softplus}(\alpha + \varepsilon), \qquad \varepsilon \sim \mathcal N(0, 1) \text{ per element} \\
    u_{ik} &= \mathrm{mean}_{\text{space}}\ \mathrm{relu}(K * x_{ik}) \in \mathbb R^4 \\
    s_k &= \sigma\big(f \cdot [\mathrm{mean}_i u_{ik},\ \mathrm{var}_i u_{ik},\ C/C_{\mathrm{ref}},
    \ H/H_{\mathrm{ref}}]\big) \\
    \mathrm{out} &= \min\big(x\,(1 + c\,(s_k z - 1)),\ \mathrm{clip}\big)

:math:`*` is a 3x3 convolution with zero padding 1 and no bias, and :math:`c` is the strength of the perturbation.

Read from top to bottom, this file is these six lines. It is the only place in the code where they are written down for
reading; :mod:`mplib.fused`, which runs in its place where it can, is compared with it. Source: the authors'
``models/perturb.py`` (the paper's own equations could not be read). What differs from it is said at the line where it
does.
"""

from __future__ import annotations

from importlib import resources
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mplib import fused
from mplib.checkpoints import PathLike, read_state, read_tensors, write_tensors
from mplib.errors import MplibError, unknown

Statistics = tuple[Tensor, Tensor]
"""Mean and variance of the scale features over a batch, each (C, 4)."""

SCALE_FEATURES = 4
INITIAL_SPREAD = 0.01


def channel_equivariant(x: Tensor, own: Tensor, pooled: Tensor) -> Tensor:
    r"""Convolve every channel with one kernel and the mean of all channels with another, and add the two.

    .. math:: \mathrm{ChEq}_{w,v}(x)_k = w * x_k + v * \tfrac1C \textstyle\sum_j x_j

    Permuting the channels of ``x`` permutes the channels of the result in the same way, and nothing in it depends on
    how many channels there are.

    Args:
        x: feature map, (B, C, H, W).
        own: :math:`w`, applied to each channel by itself, (1, 1, 3, 3).
        pooled: :math:`v`, applied to the mean over channels, (1, 1, 3, 3).

    Returns:
        (B, C, H, W).

    Example:
        >>> x = torch.ones(1, 2, 1, 1)
        >>> own, pooled = torch.full((1, 1, 3, 3), 2.0), torch.full((1, 1, 3, 3), 3.0)
        >>> channel_equivariant(x, own, pooled).flatten().tolist()   # only the kernels' centres meet a 1x1 map
        [5.0, 5.0]
    """
    return _each_channel(x, own) + F.conv2d(x.mean(dim=1, keepdim=True), pooled, padding=1)


def noise_location(x: Tensor, weights: Weights) -> Tensor:
    r""":math:`\alpha`, where the Gaussian under the noise is centred: two equivariant layers with a ReLU between.

    Args:
        x: feature map, (B, C, H, W).
        weights: the numbers of phi.

    Returns:
        (B, C, H, W).
    """
    hidden = F.relu(channel_equivariant(x, weights.own_1, weights.pooled_1))
    return channel_equivariant(hidden, weights.own_2, weights.pooled_2)


def expected_softplus(alpha: Tensor) -> Tensor:
    r"""The mean of the noise, by Gauss-Hermite quadrature with five nodes.

    .. math:: \mathbb E\, z = \mathbb E_{\varepsilon \sim \mathcal N(0, 1)} \mathrm{softplus}(\alpha + \varepsilon)
        \approx \textstyle\sum_n w_n\, \mathrm{softplus}(\alpha + t_n)

    Args:
        alpha: any shape.

    Returns:
        Numbers of the same shape, within 5e-5 of the integral, and within a part in 10,000.

    Example:
        >>> round(expected_softplus(torch.tensor(0.0)).item(), 3)   # softplus(0) itself is 0.693
        0.806
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    total = torch.zeros_like(alpha)
    for node, weight in zip(nodes.tolist(), (weights / weights.sum()).tolist(), strict=True):
        total = total + weight * F.softplus(alpha + node)
    return total


def scale_features(x: Tensor, kernels: Tensor) -> Tensor:
    r""":math:`u_{ik}`: how strongly each channel of each image answers to four small filters.

    Args:
        x: feature map, (B, C, H, W).
        kernels: :math:`K`, (4, 1, 3, 3).

    Returns:
        (B, C, 4), in single precision at least, since a variance follows.
    """
    # One filter at a time over all channels is the same as the authors' grouped convolution with four outputs per
    # channel, and faster.
    answers = [F.relu(_each_channel(x, kernel[None])).mean(dim=(2, 3)) for kernel in kernels]
    features = torch.stack(answers, dim=-1)
    return features.to(torch.promote_types(features.dtype, torch.float32))


def batch_statistics(features: Tensor) -> Statistics:
    """Mean and unbiased variance over the images of a batch.

    Args:
        features: (B, C, 4), B at least 2.

    Returns:
        Mean and variance, each (C, 4).

    Raises:
        MplibError: the batch has one image; one image has no variance.
    """
    if features.shape[0] < 2:
        raise _no_variance(features.shape[0])
    return features.mean(dim=0), features.var(dim=0)


def scale(statistics: Statistics, head: Tensor, channel_ratio: float, spatial_ratio: float) -> Tensor:
    r""":math:`s_k`: one number in (0, 1) for each channel, from what the batch looks like.

    Args:
        statistics: mean and variance of the scale features, each (C, 4).
        head: :math:`f`, (10,).
        channel_ratio: :math:`C/C_{\mathrm{ref}}`, positive.
        spatial_ratio: :math:`H/H_{\mathrm{ref}}`, positive; the width of the map plays no part.

    Returns:
        (C,).
    """
    mean, variance = statistics
    evidence = torch.cat([mean, variance], dim=-1)
    shape = channel_ratio * head[-2] + spatial_ratio * head[-1]
    return torch.sigmoid(evidence @ head[:-2].to(evidence.dtype) + shape)


def perturb(x: Tensor, factor: Tensor, strength: float | Tensor = 1.0, clip: float | None = None) -> Tensor:
    r"""The perturbed map, :math:`\min(x\,(1 + c\,(m - 1)),\ \mathrm{clip})` for a factor :math:`m`.

    Args:
        x: feature map, (B, C, H, W).
        factor: what full strength multiplies each element by, :math:`m = s_k z`; broadcast to x's shape.
        strength: :math:`c`; 0 gives back ``x``, 1 is the full perturbation.
        clip: upper bound of the result; none if None.

    Returns:
        (B, C, H, W).
    """
    out = x * (1 + strength * (factor - 1))
    return out if clip is None else out.clamp(max=clip)


def standard_normal(x: Tensor, eps: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
    """A standard normal draw for each element of ``x``, or ``eps`` if it is given and has x's shape.

    Raises:
        MplibError: ``eps`` has another shape.
    """
    if eps is None:
        if generator is None:
            return torch.randn_like(x)
        return torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)
    _check_noise(x, eps)
    return eps


class Weights(NamedTuple):
    """The 82 numbers of phi, by what they do.

    Attributes:
        own_1: w of the noise's first layer, which meets each channel, (1, 1, 3, 3).
        pooled_1: v of the noise's first layer, which meets the mean of the channels, (1, 1, 3, 3).
        own_2: w of the noise's second layer, (1, 1, 3, 3).
        pooled_2: v of the noise's second layer, (1, 1, 3, 3).
        kernels: K, the four kernels whose maps the scale looks at, (4, 1, 3, 3).
        head: f, from the features and the shape to the scale, (10,).
    """

    own_1: Tensor
    pooled_1: Tensor
    own_2: Tensor
    pooled_2: Tensor
    kernels: Tensor
    head: Tensor


_SHAPES: dict[str, tuple[int, ...]] = {
    "own_1": (1, 1, 3, 3),
    "pooled_1": (1, 1, 3, 3),
    "own_2": (1, 1, 3, 3),
    "pooled_2": (1, 1, 3, 3),
    "kernels": (SCALE_FEATURES, 1, 3, 3),
    "head": (2 * SCALE_FEATURES + 2,),
}

# The names in the authors' checkpoint, in the order of Weights.
_OFFICIAL_NAMES = {
    "phi_1.w_identity": "own_1",
    "phi_1.w_all": "pooled_1",
    "phi_2.w_identity": "own_2",
    "phi_2.w_all": "pooled_2",
    "kernel": "kernels",
    "fc.weight": "head",
}


_PRETRAINED, _SUFFIX = resources.files("mplib") / "pretrained", ".safetensors"


def pretrained_names() -> list[str]:
    """The names that :meth:`MetaPerturb.from_pretrained` knows.

    Example:
        >>> "photos" in pretrained_names()
        True
    """
    return sorted(file.name.removesuffix(_SUFFIX) for file in _PRETRAINED.iterdir() if file.name.endswith(_SUFFIX))


class MetaPerturb(nn.Module):
    r"""The perturbation function as a module with its 82 parameters, drawn from Normal(0, 0.01).

    It holds no statistics and no site: the same object is applied at every site of a network, and at those of many
    networks at once. :func:`mplib.attach` does that; call the module yourself to look at what it does.

    Args:
        generator: source of the initial draw; torch's default generator if None.

    Attributes:
        provenance: where the numbers come from, as a dictionary that is saved with them.

    Example:
        >>> phi = MetaPerturb(generator=torch.Generator().manual_seed(0))
        >>> sum(parameter.numel() for parameter in phi.parameters())
        82
        >>> x = torch.randn(8, 16, 5, 5)
        >>> phi(x, channel_ratio=16 / 64, spatial_ratio=5 / 32).shape
        torch.Size([8, 16, 5, 5])
        >>> torch.equal(phi(x, channel_ratio=1.0, spatial_ratio=1.0, strength=0.0), x)
        True

    Differs from the authors' code: it runs on any device; running statistics are the caller's (buffers of the
    network, see :mod:`mplib.attachment`); the draw can be passed or repeated.
    """

    def __init__(self, generator: torch.Generator | None = None) -> None:
        super().__init__()
        for name, shape in _SHAPES.items():
            draw = INITIAL_SPREAD * torch.randn(shape, generator=generator)
            self.register_parameter(name, nn.Parameter(draw))
        self.provenance: dict[str, Any] = {"source": "untrained, Normal(0, 0.01)"}

    @property
    def weights(self) -> Weights:
        """The parameters as the functions of this file take them."""
        return Weights(*(cast(Tensor, getattr(self, name)) for name in Weights._fields))

    def statistics(self, x: Tensor) -> Statistics:
        """Mean and variance of the scale features over the batch ``x`` of shape (B, C, H, W), each (C, 4)."""
        _check_map(x)
        return batch_statistics(scale_features(x, self.weights.kernels))

    def forward(
        self,
        x: Tensor,
        channel_ratio: float,
        spatial_ratio: float,
        stats: Statistics | None = None,
        strength: float | Tensor = 1.0,
        clip: float | None = None,
        eps: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        r"""Perturb a feature map.

        Args:
            x: feature map, (B, C, H, W), any C, H, W of at least 1; B at least 2 unless ``stats`` is given.
            channel_ratio: :math:`C/C_{\mathrm{ref}}`, positive.
            spatial_ratio: :math:`H/H_{\mathrm{ref}}`, positive.
            stats: mean and variance of the scale features, each (C, 4); those of the batch if None.
            strength: :math:`c` in [0, 1].
            clip: upper bound of the result; none if None. The authors clip at 100, in training only.
            eps: the noise, a standard normal draw of x's shape; drawn here if None.
            generator: where the draw comes from; torch's default generator of the device if None.

        Returns:
            The perturbed map, of x's shape and type.

        Raises:
            MplibError: a shape that does not fit, or a batch of one image without ``stats``.
        """
        return self.visit(x, channel_ratio, spatial_ratio, stats, strength, clip, eps, generator)[0]

    def visit(
        self,
        x: Tensor,
        channel_ratio: float,
        spatial_ratio: float,
        stats: Statistics | None = None,
        strength: float | Tensor = 1.0,
        clip: float | None = None,
        eps: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Statistics]:
        """Perturb a feature map as :meth:`forward` does, and give the statistics that were used as well."""
        _check_map(x)
        if stats is None and x.shape[0] < 2:
            raise _no_variance(x.shape[0])
        if stats is not None:
            _check_statistics(stats, x.shape[1])
        weights = self.weights
        constants = [part for part in (*(stats or ()), strength, eps) if isinstance(part, Tensor)]
        if fused.supports(x, weights) and not any(part.requires_grad for part in constants):
            _check_noise(x, eps)
            return fused.perturb(x, weights, channel_ratio, spatial_ratio, stats, strength, clip, eps, generator)
        if stats is None:
            stats = self.statistics(x)
        factor = self.factor(x, channel_ratio, spatial_ratio, stats, eps, generator)
        return perturb(x, factor, strength, clip).to(x.dtype), stats

    def factor(
        self,
        x: Tensor,
        channel_ratio: float,
        spatial_ratio: float,
        stats: Statistics | None = None,
        eps: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        r"""What full strength multiplies each element by, :math:`s_k\,\mathrm{softplus}(\alpha + \varepsilon)`.

        The arguments are those of :meth:`forward`; the result has x's shape.
        """
        _check_map(x)
        if stats is None:
            stats = self.statistics(x)
        _check_statistics(stats, x.shape[1])
        weights = self.weights
        noise = F.softplus(noise_location(x, weights) + standard_normal(x, eps, generator))
        return scale(stats, weights.head, channel_ratio, spatial_ratio)[:, None, None] * noise

    def mean_factor(
        self, x: Tensor, channel_ratio: float, spatial_ratio: float, stats: Statistics | None = None
    ) -> Tensor:
        r"""The mean of :meth:`factor` over the noise, :math:`s_k\,\mathbb E\,\mathrm{softplus}(\alpha + \varepsilon)`.

        The arguments are those of :meth:`forward`; the result has x's shape.
        """
        _check_map(x)
        if stats is None:
            stats = self.statistics(x)
        _check_statistics(stats, x.shape[1])
        noise = expected_softplus(noise_location(x, self.weights))
        return scale(stats, self.weights.head, channel_ratio, spatial_ratio)[:, None, None] * noise

    def save(self, path: PathLike) -> None:
        """Write the 82 numbers and their provenance to a safetensors file.

        Raises:
            MplibError: the folder cannot be written to.
        """
        write_tensors(path, self.state_dict(), {"kind": "phi", "provenance": self.provenance})

    @classmethod
    def load(cls, path: PathLike) -> MetaPerturb:
        """Read what :meth:`save` wrote.

        Raises:
            MplibError: the file is missing, damaged, or not a phi.

        Example:
            >>> import tempfile, pathlib
            >>> file = pathlib.Path(tempfile.mkdtemp()) / "phi.safetensors"
            >>> MetaPerturb().save(file)
            >>> MetaPerturb.load(file).provenance["source"]
            'untrained, Normal(0, 0.01)'
        """
        tensors, metadata = read_tensors(path, "phi")
        return cls._from_tensors(tensors, metadata.get("provenance", {}), path)

    @classmethod
    def from_pretrained(cls, name: str = "photos") -> MetaPerturb:
        """The weights that come with the package.

        Args:
            name: one of :func:`pretrained_names`. ``"photos"``: meta-trained on patches of photographs; ``"photos-9"``,
                ``"photos-5"``, ``"photos-1"``: the same in so many numbers (:mod:`mplib.compression`);
                ``"tiny_imagenet-0"`` and so on: runs that differ in their seed. The provenance is the model card.

        Returns:
            A phi whose ``provenance`` says on what, how and when it was meta-trained.

        Raises:
            MplibError: no such weights.
        """
        if name not in pretrained_names():
            raise unknown("pretrained phi", name, pretrained_names())
        with resources.as_file(_PRETRAINED / f"{name}{_SUFFIX}") as path:
            return cls.load(path)

    @classmethod
    def from_official(cls, path: PathLike) -> MetaPerturb:
        """Read a checkpoint in the layout of the authors' code (``perturb_750.pth``), old or zip torch format.

        The file is opened with the restricted unpickler: code in it does not run.

        Args:
            path: the authors' file.

        Raises:
            MplibError: the file is missing, damaged, unsafe, or has another layout.
        """
        state = read_state(path)
        if set(state) != set(_OFFICIAL_NAMES):
            raise MplibError(
                f"{path} holds {sorted(map(str, state))[:8]}, expected the authors' layout {sorted(_OFFICIAL_NAMES)}"
            )
        tensors = {ours: state[theirs] for theirs, ours in _OFFICIAL_NAMES.items()}
        if isinstance(tensors["head"], Tensor):
            tensors["head"] = tensors["head"].flatten()
        return cls._from_tensors(tensors, {"source": "the authors' checkpoint"}, path)

    @classmethod
    def _from_tensors(cls, tensors: dict[str, Any], provenance: dict[str, Any], path: PathLike) -> MetaPerturb:
        given = {name: tuple(value.shape) for name, value in tensors.items() if isinstance(value, Tensor)}
        if given != _SHAPES:
            raise MplibError(f"{path} holds tensors of the shapes {given}, expected those of a phi, {_SHAPES}")
        if not all(value.is_floating_point() and value.isfinite().all() for value in tensors.values()):
            raise MplibError(f"{path} holds numbers that are not finite, expected 82 finite ones")
        phi = cls()
        phi.load_state_dict({name: value.float() for name, value in tensors.items()})
        phi.provenance = dict(provenance)
        return phi


def _each_channel(x: Tensor, kernel: Tensor) -> Tensor:
    """Convolve every channel of x by itself with one kernel of shape (1, 1, 3, 3)."""
    channels = x.shape[1]
    return F.conv2d(x, kernel.expand(channels, 1, 3, 3), padding=1, groups=channels)


def _check_map(x: Tensor) -> None:
    if x.dim() != 4 or not x.is_floating_point() or 0 in x.shape:
        raise MplibError(
            f"the feature map has the shape {tuple(x.shape)} and type {x.dtype}, expected (B, C, H, W), none of them "
            "0, and floating-point numbers"
        )


def _check_statistics(stats: Statistics, channels: int) -> None:
    expected = (channels, SCALE_FEATURES)
    given = [tuple(part.shape) for part in stats]
    if given != [expected, expected]:
        raise MplibError(f"stats have the shapes {given}, expected a mean and a variance of shape {expected}")


def _check_noise(x: Tensor, eps: Tensor | None) -> None:
    if eps is not None and eps.shape != x.shape:
        raise MplibError(f"eps has the shape {tuple(eps.shape)}, expected that of the map, {tuple(x.shape)}")


def _no_variance(images: int) -> MplibError:
    return MplibError(
        f"the batch has {images} image, expected at least 2: the scale needs the variance over a batch "
        "(in eval mode running statistics take its place)"
    )
