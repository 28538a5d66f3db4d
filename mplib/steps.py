"""One step of training: what it minimises, in which precision, and the optimiser that takes it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mplib.attachment import observed_sites, perturbation_of
from mplib.errors import unknown

Objective = Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, Tensor]]
"""What a step minimises: called with the network, a batch of images and its labels; gives the loss, and the logits that
the labels are compared with. It may draw from torch's default generator, which is seeded for each step."""

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""The precisions of the forward pass by name; weights, moments and losses are float32 in each."""


def cross_entropy(net: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The usual objective: cross-entropy of the network's logits."""
    logits = net(images)
    return F.cross_entropy(logits, labels), logits


def training_step(
    net: nn.Module,
    optimiser: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    objective: Objective = cross_entropy,
    precision: str = "float32",
) -> tuple[Tensor, Tensor]:
    """One optimiser step on a batch; gives the loss and the fraction of the images that was right."""
    with forward_precision(images.device, precision):
        loss, logits = objective(net, images, labels)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return loss.detach(), (logits.detach().argmax(dim=1) == labels).float().mean()


def forward_precision(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """A context in which the forward pass runs in ``"float32"``, or, as far as torch thinks it wise, ``"bfloat16"``.

    Raises:
        MplibError: another precision.
    """
    check_precision(precision)
    if PRECISIONS[precision] == torch.float32:
        return nullcontext()
    # Casts of weights must not be kept from one step to the next: a captured step would go on using the first ones.
    return torch.autocast(device.type, dtype=PRECISIONS[precision], cache_enabled=False)


def check_precision(precision: str) -> None:
    """Refuse a precision that is not one of :data:`PRECISIONS`."""
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)


def adam(parameters: list[nn.Parameter], learning_rate: float, weight_decay: float) -> torch.optim.Adam:
    """Adam with its L2 penalty, updating all tensors of a network together.

    On a GPU it is one that a captured step may hold: nothing in it waits for the CPU, and the learning rate is a tensor
    (see :func:`set_rate`).
    """
    if parameters and parameters[0].is_cuda:
        rate = torch.tensor(learning_rate, device=parameters[0].device)
        return torch.optim.Adam(parameters, lr=rate, weight_decay=weight_decay, fused=True, capturable=True)
    return torch.optim.Adam(parameters, lr=learning_rate, weight_decay=weight_decay, foreach=True)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate, in place where it is a tensor."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def state_of(net: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Everything that training changes: the network's tensors, and the moments of its optimiser."""
    return {"network": net.state_dict(), "moments": optimiser.state_dict()["state"]}


def copy_of(net: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """:func:`state_of` as it is now, whatever happens to the network afterwards."""
    return copy.deepcopy(state_of(net, optimiser))


def on_cpu(state: Any) -> Any:
    """The same state with its tensors on the CPU, to be sent to another process."""
    if isinstance(state, Tensor):
        return state.cpu()
    if isinstance(state, Mapping):
        return {key: on_cpu(value) for key, value in state.items()}
    return state


def load_state(net: nn.Module, optimiser: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Put a network and its optimiser into a state of :func:`state_of`, from whichever device.

    The settings of the optimiser stay its own: they are those of its device.
    """
    net.load_state_dict(state["network"])
    load_moments(optimiser, state["moments"])


def load_moments(optimiser: torch.optim.Optimizer, moments: Mapping[Any, Any]) -> None:
    """Give an optimiser the moments of another one."""
    optimiser.load_state_dict({"state": dict(moments), "param_groups": optimiser.state_dict()["param_groups"]})


def own_parameters(net: nn.Module) -> list[nn.Parameter]:
    """What is learned on the network's task: theta, and of a perturbation only what is trained with theta."""
    perturbation = perturbation_of(net)
    foreign = set() if perturbation is None else {id(parameter) for parameter in perturbation.foreign_parameters()}
    return [parameter for parameter in net.parameters() if id(parameter) not in foreign]


@contextmanager
def frozen_perturbation(net: nn.Module) -> Iterator[None]:
    """No gradients for phi inside; afterwards its parameters are as they were."""
    perturbation = perturbation_of(net)
    before = [] if perturbation is None else [(p, p.requires_grad) for p in perturbation.foreign_parameters()]
    for parameter, _ in before:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, required in before:
            parameter.requires_grad_(required)


def finite_weights(net: nn.Module) -> Tensor:
    """Whether every parameter of the network is a finite number, as a tensor, so that nobody has to wait for it."""
    return torch.nn.utils.get_total_norm(net.parameters(), norm_type=math.inf).isfinite()


def failing_site(net: nn.Module, run: Callable[[], object]) -> str:
    """Where a forward pass first makes a number that is not finite, in words; empty where nothing says.

    Args:
        net: the network that ``run`` runs.
        run: what is known, or feared, to give a loss that is not finite.
    """
    if perturbation_of(net) is None:
        return ""
    with observed_sites(net) as calls:
        run()
    for call in calls:
        if not call.x.isfinite().all():
            return f", first in the map that reaches the site {call.site.name!r}"
    return f", first after the last site, {calls[-1].site.name!r}" if calls else ""
