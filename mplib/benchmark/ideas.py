"""The same function of the same 82 numbers, each time with one idea of the fast version left out.

What an idea brings is what its absence costs. Each class here is a :class:`mplib.MetaPerturb` that goes a longer way to
the same result.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mplib import fused
from mplib.perturb import SCALE_FEATURES, MetaPerturb, Statistics, batch_statistics


class Reference(MetaPerturb):
    """The readable version of :mod:`mplib.perturb`: some sixty walks over the map."""

    def visit(self, *arguments: Any, **options: Any) -> tuple[Tensor, Statistics]:
        with fused.plain_only():
            return super().visit(*arguments, **options)


class Grouped(Reference):
    """The readable version, with the four filters of the scale as one grouped convolution.

    One convolution with ``groups=C`` and four outputs a channel, as the authors' ``models/perturb.py`` has it, where
    ours are four depthwise convolutions.
    """

    def statistics(self, x: Tensor) -> Statistics:
        channels = x.shape[1]
        kernels = self.weights.kernels.repeat(channels, 1, 1, 1)
        answers = F.relu(F.conv2d(x, kernels, padding=1, groups=channels)).mean(dim=(2, 3))
        return batch_statistics(answers.view(x.shape[0], channels, SCALE_FEATURES))


class Recomputed(Reference):
    """The readable version, keeping its input alone for backward and computing all else there once more."""

    def visit(self, *arguments: Any, **options: Any) -> tuple[Tensor, Statistics]:
        result: tuple[Tensor, Statistics] = checkpoint(super().visit, *arguments, use_reentrant=False, **options)
        return result


class StoredNoise(MetaPerturb):
    """The fast version, with noise that torch draws and that is kept, in place of one that is a function of a seed."""

    def visit(self, x: Tensor, *arguments: Any, **options: Any) -> tuple[Tensor, Statistics]:
        return super().visit(x, *arguments, **{**options, "eps": torch.randn_like(x)})
