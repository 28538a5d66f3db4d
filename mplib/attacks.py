"""Adversarial accuracy: how many images stay right when somebody is against us?

What is scored is the prediction that counts, the mean over Monte-Carlo samples, however the attack averaged. A low
number is a fact about the network; a high one may be a fact about the attack. So no number stands alone: more steps,
more restarts, more draws, attacks of another kind and the gradients of another network belong beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, overload

import torch
from torch import Tensor, nn

from mplib.adversaries import Attack, adversarial, at_least_one
from mplib.data import Split
from mplib.errors import MplibError
from mplib.evaluation import is_noisy, log_probabilities
from mplib.seeding import derive, stream
from mplib.stats import wilson


@dataclass(frozen=True)
class AttackMetrics:
    """What is left of a network's accuracy under attack, with its interval and the attack itself.

    Attributes:
        accuracy: fraction of the images that are right before the attack and after it, in [0, 1].
        accuracy_low, accuracy_high: 95 % Wilson interval of ``accuracy`` for the choice of the images.
        clean: accuracy on the same images, untouched.
        norm, eps, steps, eot, average, method, step_size: the :class:`mplib.adversaries.Attack`.
        restarts: attempts at each image.
        transferred: whether another network was attacked, and this one had to look at the result.
        n: number of images.
        samples: Monte-Carlo samples behind each prediction; 1 where the network has no noise.
    """

    accuracy: float
    accuracy_low: float
    accuracy_high: float
    clean: float
    norm: str
    eps: float
    steps: int
    eot: int
    average: str
    method: str
    step_size: float | None
    restarts: int
    transferred: bool
    n: int
    samples: int

    def row(self) -> dict[str, Any]:
        """The scores as a dictionary."""
        return asdict(self)


@overload
def attack(net: nn.Module, split: Split, *, eps: float = ..., **options: Any) -> AttackMetrics: ...
@overload
def attack(net: nn.Module, split: Split, *, eps: Sequence[float], **options: Any) -> list[AttackMetrics]: ...


def attack(  # type: ignore[misc]  # the two lines above only tie the kind of the result to that of eps
    net: nn.Module,
    split: Split,
    *,
    norm: str = "linf",
    eps: float | Sequence[float] = 8 / 255,
    steps: int = 200,
    eot: int = 10,
    average: str = "gradients",
    method: str = "pgd",
    step_size: float | None = None,
    restarts: int = 1,
    images: int | None = None,
    samples: int = 20,
    surrogate: nn.Module | None = None,
    batch_size: int = 250,
    seed: int = 0,
) -> AttackMetrics | list[AttackMetrics]:
    """Attack a network and score what is left; the defaults are the paper's protocol.

    An image counts as right if it is right untouched, and right after every restart. Networks with the same ``seed``
    and ``images`` face the same images.

    Args:
        net: a network; its prediction is the mean over ``samples`` draws where it is noisy.
        split: test images and labels.
        norm, steps, average, method, step_size: see :class:`mplib.adversaries.Attack`.
        eps: radius of the ball, above 0, for pixels in [0, 1]; or several.
        eot: draws of the noise that a step averages over; always 1 for a network without noise.
        restarts: independent attempts from random starts, at least 1.
        images: how many images to attack, a random choice that is always the same; all of them if None.
        samples: Monte-Carlo samples of a prediction, at least 1.
        surrogate: attack this network, and see whether ``net`` is fooled as well (a transfer attack).
        batch_size: images at a time, at least 1.
        seed: of starts and noise, at least 0.

    Returns:
        The :class:`AttackMetrics`; a list of them for several radii.

    Raises:
        MplibError: an unknown norm, method or average, a number out of range, or a package that is not installed.

    Example:
        >>> import mplib
        >>> net = mplib.nets.build("conv4", num_classes=3, image_size=16, width=4)
        >>> split = Split(torch.zeros(4, 3, 16, 16, dtype=torch.uint8), torch.tensor([0, 1, 2, 0]))
        >>> small, large = attack(net, split, eps=[0.01, 0.1], steps=2)
        >>> small.clean == large.clean, small.n, small.eot
        (True, 4, 1)
    """
    at_least_one(samples=samples, restarts=restarts)
    if images is not None:
        at_least_one(images=images)
        split = split.take(torch.randperm(split.n, generator=stream(0, "attacked images"))[:images])
    attacked = net if surrogate is None else surrogate
    labels = split.labels.to(next(net.parameters()).device)

    def right(pictures: Tensor) -> Tensor:
        # The same noise for every version of an image, so that luck does not look like an attack.
        answers = log_probabilities(net, pictures, samples, batch_size, derive(seed, "score"))
        return answers.argmax(dim=1) == labels

    def against(radius: float) -> AttackMetrics:
        plan = Attack(norm, radius, steps, eot if is_noisy(attacked) else 1, average, method, step_size)
        standing = clean.clone()
        for restart in range(restarts):
            own_seed = derive(seed, "restart", restart)
            standing &= right(2 * adversarial(attacked, split, plan, batch_size=batch_size, seed=own_seed) - 1)
        hits = int(standing.sum())
        return AttackMetrics(
            hits / split.n,
            *wilson(hits, split.n),
            int(clean.sum()) / split.n,
            **asdict(plan),
            restarts=restarts,
            transferred=surrogate is not None,
            n=split.n,
            samples=samples if is_noisy(net) else 1,
        )

    radii = [eps] if isinstance(eps, int | float) else list(eps)
    if not radii:
        raise MplibError("there are no radii, expected at least one eps")
    for radius in radii:
        Attack(norm, radius, steps, eot, average, method, step_size).validate()  # before the first minute of work
    clean = right(split.images)
    found = [against(radius) for radius in radii]
    return found[0] if isinstance(eps, int | float) else found
