"""Fine-tuning: which tensors of a trained network another one starts from."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from mplib.errors import MplibError


def transfer_convolutions(source: nn.Module, target: nn.Module) -> list[str]:
    """Start fine-tuning: copy the convolutions of a trained network; batch norms and classifier stay fresh.

    Args:
        source: a trained network.
        target: a network of the same kind, of any number of classes; changed in place.

    Returns:
        The names of the tensors that were copied.

    Raises:
        MplibError: the two networks share no convolution of the same name and shape, or one differs in shape.

    Source: the authors' ``train_tgt.py``, which drops every tensor of a batch norm or a classifier.
    """
    trained = dict(_convolutions(source))
    copied = []
    with torch.no_grad():
        for name, convolution in _convolutions(target):
            if name not in trained or trained[name].weight.shape != convolution.weight.shape:
                raise MplibError(
                    f"the source has no convolution {name} of shape {tuple(convolution.weight.shape)}, "
                    "expected a network of the same kind and width"
                )
            for part in ("weight", "bias"):
                ours, theirs = getattr(convolution, part), getattr(trained[name], part)
                if ours is not None and theirs is not None:
                    ours.copy_(theirs)
                    copied.append(f"{name}.{part}")
    if not copied:
        raise MplibError("the target network has no convolutions, expected at least one to copy")
    return copied


def _convolutions(net: nn.Module) -> Iterator[tuple[str, nn.Conv2d]]:
    return ((name, module) for name, module in net.named_modules() if isinstance(module, nn.Conv2d))
