r"""Images that a network gets wrong: attacks from other packages, on noisy networks.

An attack looks for :math:`x'` with :math:`\lVert x' - x \rVert_p \le \epsilon` and pixels in [0, 1] that the network
gets wrong. Against noise a single gradient says little, so it is averaged over draws (expectation over transformation,
EoT). Averaging and attack know nothing of each other: an :class:`Averaged` network is a network like any other.
Projected gradient descent (PGD) is foolbox's; two others, one stronger and one without gradients, are AutoAttack's,
from the package pyautoattack.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mplib.data import Split
from mplib.errors import MplibError, unknown
from mplib.evaluation import eval_mode
from mplib.seeding import derive, private_randomness

METHODS = {
    "pgd": "projected gradient descent (foolbox)",
    "apgd": "APGD on the cross-entropy and on the margin (DLR), AutoAttack's choice for random networks (pyautoattack)",
    "square": "random search with squares, without gradients (pyautoattack)",
}
"""The attacks ``pgd``, ``apgd`` and ``square``, each with what it does."""

AVERAGES = {
    "gradients": "the gradients of the loss, as in the paper",
    "probabilities": "the predicted probabilities, which is what a prediction averages",
    "logits": "the logits, as foolbox's own wrapper does",
}
"""What a step averages over draws, ``gradients``, ``probabilities`` or ``logits``."""

NORMS = {"linf": ("Linf", 0.025), "l2": ("L2", 0.025), "l1": ("L1", 0.033)}
"""Each norm's name in the other packages, and the paper's step size as a part of eps."""


@dataclass(frozen=True)
class Attack:
    """How images are attacked; the defaults are the paper's protocol.

    Attributes:
        norm: ``"linf"``, ``"l2"`` or ``"l1"``.
        eps: radius of the ball that an image may move in, above 0; its pixels are in [0, 1].
        steps: of the attack, at least 1; queries for each image where the method is ``"square"``.
        eot: draws of the noise that a step averages over, at least 1.
        average: what is averaged over these draws, ``"gradients"``, ``"probabilities"`` or ``"logits"``.
        method: ``"pgd"``, ``"apgd"`` or ``"square"``.
        step_size: of PGD, as a part of eps; the paper's 0.025 (0.033 for l1) if None.
    """

    norm: str = "linf"
    eps: float = 8 / 255
    steps: int = 200
    eot: int = 10
    average: str = "gradients"
    method: str = "pgd"
    step_size: float | None = None

    def validate(self) -> None:
        """Refuse what no attack can have.

        Raises:
            MplibError: naming the value and what was expected.
        """
        words: dict[str, Collection[str]] = {"norm": NORMS, "method": METHODS, "average": AVERAGES}
        for name, known in words.items():
            if getattr(self, name) not in known:
                raise unknown(name, getattr(self, name), known)
        at_least_one(steps=self.steps, eot=self.eot)
        for name in ("eps", "step_size"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and 0 < value < math.inf):
                raise MplibError(f"{name} is {value!r}, expected a number above 0")


class Averaged(nn.Module):
    r"""A noisy network seen from pixels in [0, 1], as the mean over several draws.

    .. math::
        \text{probabilities: } & \log \tfrac1k \textstyle\sum_d \mathrm{softmax}(f(2x - 1; \varepsilon_d)) \\
        \text{logits: } & \tfrac1k \textstyle\sum_d f(2x - 1; \varepsilon_d)

    Args:
        net: a network of images in [-1, 1].
        draws: k, at least 1.
        average: ``"probabilities"`` or ``"logits"``.

    Shape:
        (B, 3, H, W) to (B, classes).

    Example:
        >>> import mplib
        >>> net = mplib.nets.build("conv4", num_classes=3, image_size=16, width=4)
        >>> Averaged(net, draws=2, average="probabilities")(torch.zeros(1, 3, 16, 16)).exp().sum().round().item()
        1.0
    """

    def __init__(self, net: nn.Module, draws: int, average: str) -> None:
        super().__init__()
        self.net, self.draws, self.average = net, draws, average

    def forward(self, x: Tensor) -> Tensor:
        """Averaged logits, or logarithms of averaged probabilities."""
        each = torch.stack([self.net(2 * x - 1) for _ in range(self.draws)])
        if self.average == "logits":
            return each.mean(dim=0)
        return each.log_softmax(dim=2).logsumexp(dim=0) - math.log(self.draws)


def adversarial(net: nn.Module, split: Split, plan: Attack, *, batch_size: int = 250, seed: int = 0) -> Tensor:
    """The images that an attack makes of a split, one attempt for each.

    The network is left in the mode it was in, its parameters get no gradients, and torch's generators go on as if
    nothing had been drawn.

    Args:
        net: a network.
        split: images and their labels.
        plan: how to attack.
        batch_size: images at a time, at least 1.
        seed: of starts and noise.

    Returns:
        (N, 3, H, W), pixels in [0, 1], on the network's device.

    Raises:
        MplibError: a plan that cannot be, or a package that is not installed.

    Example:
        >>> import mplib
        >>> net = mplib.nets.build("conv4", num_classes=3, image_size=16, width=4)
        >>> split = Split(torch.full((2, 3, 16, 16), 128, dtype=torch.uint8), torch.tensor([0, 1]))
        >>> moved = adversarial(net, split, Attack(eps=0.1, steps=2))
        >>> bool((moved - 128 / 255).abs().max() < 0.1001)
        True
    """
    plan.validate()
    at_least_one(batch_size=batch_size)
    place = next(net.parameters()).device
    chunks = zip(split.images.split(batch_size), split.labels.split(batch_size), strict=True)
    moved = []
    with private_randomness(place), eval_mode(net), _constant_parameters(net):
        for number, (pictures, labels) in enumerate(chunks):
            own_seed = derive(seed, "attack", number) % 2**31  # the other packages seed with 32 bits
            torch.manual_seed(own_seed)
            x = pictures.to(place).float() / 255
            found = _FINDERS[plan.method](net, x, labels.to(place), plan, own_seed).detach()
            moved.append(_into_ball(found, x, plan.norm, plan.eps))
    return torch.cat(moved)


def _pgd(net: nn.Module, x: Tensor, labels: Tensor, plan: Attack, seed: int) -> Tensor:
    foolbox = _imported("foolbox")
    kinds = {
        "linf": foolbox.attacks.LinfProjectedGradientDescentAttack,
        "l2": foolbox.attacks.L2ProjectedGradientDescentAttack,
        "l1": foolbox.attacks.L1ProjectedGradientDescentAttack,
    }
    draws, passes = (1, plan.eot) if plan.average == "gradients" else (plan.eot, 1)
    kind = type("MeanGradient", (_MeanGradient, kinds[plan.norm]), {"passes": passes})
    model = Averaged(net, draws, "probabilities" if plan.average == "probabilities" else "logits").eval()
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=x.device)
    pgd = kind(steps=plan.steps, rel_stepsize=plan.step_size or NORMS[plan.norm][1], random_start=True)
    found: Tensor = pgd.run(wrapped, x, labels, epsilon=plan.eps)
    return found


class _MeanGradient:
    """To be mixed into an attack of foolbox: each gradient is the mean over passes, whose noise differs."""

    passes: int

    def value_and_grad(self, loss: Callable[[Any], Any], x: Any) -> tuple[Any, Any]:
        pairs = [super(_MeanGradient, self).value_and_grad(loss, x) for _ in range(self.passes)]  # type: ignore[misc]
        return tuple(sum(part) / self.passes for part in zip(*pairs, strict=True))


def _apgd(net: nn.Module, x: Tensor, labels: Tensor, plan: Attack, seed: int) -> Tensor:
    """Of each image, the version that the averaged network likes least: as it was, or after APGD on either loss."""
    package = _imported("pyautoattack.autopgd_base")
    draws, passes = (1, plan.eot) if plan.average == "gradients" else (plan.eot, 1)
    model = Averaged(net, draws, "logits" if plan.average == "logits" else "probabilities").eval()
    judge = Averaged(net, plan.eot, "probabilities").eval()
    best, lowest = x, _margin(judge, x, labels)
    losses = ["ce", "dlr"] if judge(x[:1]).shape[1] > 2 else ["ce"]  # the second one needs a third class
    for loss in losses:
        options = dict(norm=NORMS[plan.norm][0], eps=plan.eps, n_iter=plan.steps, eot_iter=passes, loss=loss, seed=seed)
        attack = package.APGDAttack(model, device=x.device, logger=_Silent(), **options)
        # The points of highest loss: to be wrong once means little for a random network.
        found = _into_ball(attack.perturb(x, labels, best_loss=True).detach(), x, plan.norm, plan.eps)
        margin = _margin(judge, found, labels)
        best = torch.where((margin < lowest)[:, None, None, None], found, best)
        lowest = torch.minimum(margin, lowest)
    return best


@torch.no_grad()
def _square(net: nn.Module, x: Tensor, labels: Tensor, plan: Attack, seed: int) -> Tensor:
    package = _imported("pyautoattack.square")
    model = Averaged(net, plan.eot, "probabilities").eval()
    options = dict(norm=NORMS[plan.norm][0], eps=plan.eps, n_queries=plan.steps, seed=seed, device=x.device)
    found: Tensor = package.SquareAttack(model, **options).perturb(x, labels)
    return found


_FINDERS: dict[str, Callable[[nn.Module, Tensor, Tensor, Attack, int], Tensor]] = {
    "pgd": _pgd,
    "apgd": _apgd,
    "square": _square,
}


@torch.no_grad()
def _margin(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    """Log-probability of the right class minus that of the best wrong one, (B,)."""
    answers = model(x)
    own = answers.gather(1, labels[:, None])[:, 0]
    best_wrong = answers.scatter(1, labels[:, None], -torch.inf).amax(dim=1)
    margin: Tensor = own - best_wrong
    return margin


def _into_ball(moved: Tensor, x: Tensor, norm: str, eps: float) -> Tensor:
    """Whatever an attack returns: within eps of the image, and pixels in [0, 1]."""
    step = moved - x
    if norm == "linf":
        return (x + step.clamp(-eps, eps)).clamp(0, 1)
    size = step.flatten(1).norm(p=1 if norm == "l1" else 2, dim=1).clamp_min(1e-12)
    return (x + step * (eps / size).clamp(max=1)[:, None, None, None]).clamp(0, 1)


class _Silent:
    """A log that nobody reads."""

    def debug(self, *_: Any) -> None:
        pass

    info = warning = debug


@contextmanager
def _constant_parameters(net: nn.Module) -> Iterator[None]:
    """No gradients for any parameter inside, phi's among them, so that the fast path may be taken."""
    before = [(parameter, parameter.requires_grad) for parameter in net.parameters()]
    for parameter, _ in before:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, required in before:
            parameter.requires_grad_(required)


def _imported(module: str) -> Any:
    package = module.partition(".")[0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of what foolbox imports from SciPy
            return importlib.import_module(module)
    except ImportError as error:
        raise MplibError(
            f"{package} cannot be imported ({error}), expected it for this attack: pip install {package}"
        ) from error


def at_least_one(**numbers: int) -> None:
    """Refuse a number of things below 1.

    Raises:
        MplibError: naming it.
    """
    for name, value in numbers.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise MplibError(f"{name} is {value!r}, expected an integer of at least 1")
