"""Where the time of a training step goes: its phases, with and without the perturbation, and the pieces of a site."""

from __future__ import annotations

import statistics

import torch
from torch.nn import functional as F

from mplib import devices
from mplib.batches import Batches
from mplib.benchmark.turns import LEAST_TURNS, WARM_UP, Row, compared, take_turns, timed
from mplib.benchmark.work import CLASSES, Setting, Step, make_step
from mplib.data import Split
from mplib.errors import MplibError
from mplib.perturb import MetaPerturb, noise_location, perturb, scale_features, standard_normal
from mplib.seeding import private_randomness
from mplib.steps import frozen_perturbation

PARTS = (
    "batch",
    "network, forward",
    "perturbation, forward",
    "network, backward",
    "perturbation, backward",
    "Adam",
)


def time_parts(setting: Setting, turns: int = 15) -> list[Row]:
    """Split a perturbed step into its phases; the perturbation is what a plain step takes less.

    Args:
        setting: the network and its batch.
        turns: counted rounds, at least 3.

    Returns:
        One row for each of :data:`PARTS`, with ``milliseconds`` (median over the turns of the difference within a turn,
        which a busy machine can bring below 0), and ``share`` of their sum.

    Raises:
        MplibError: fewer than 3 turns.

    Example:
        >>> rows = time_parts(Setting("conv4", 4, 16, 4, "cpu"), turns=3)
        >>> [row["part"] for row in rows][:2], round(sum(row["share"] for row in rows), 6)
        (['batch', 'network, forward'], 1.0)
    """
    if turns < LEAST_TURNS:
        raise MplibError(f"turns is {turns}, expected at least {LEAST_TURNS}")
    place = devices.resolve(setting.device)
    plain, perturbed = make_step("plain", setting), make_step("perturbed", setting)
    seen: dict[str, list[float]] = {part: [] for part in PARTS}
    with private_randomness(place):
        batches = _batches(setting, place)
        for turn in range(-WARM_UP, turns):
            step = turn + WARM_UP
            batch = timed(lambda step=step: batches[step], place)  # type: ignore[misc]
            forward, backward, update = _phases(plain, place)
            both_forward, both_backward, _ = _phases(perturbed, place)
            taken = (batch, forward, both_forward - forward, backward, both_backward - backward, update)
            if turn >= 0:
                for part, seconds in zip(PARTS, taken, strict=True):
                    seen[part].append(seconds)
    medians = {part: 1000 * statistics.median(values) for part, values in seen.items()}
    total = sum(medians.values())
    return [
        {**setting.describe(), "part": part, "milliseconds": ms, "share": ms / total, "turns": turns}
        for part, ms in medians.items()
    ]


def time_pieces(batch_size: int, channels: int, height: int, device: str | torch.device, turns: int = 15) -> list[Row]:
    """Time the pieces of the readable version at one site, forward only; each is a function of the chapter.

    Args:
        batch_size, channels, height: shape of the map, (B, C, H, H).
        device: where to run.
        turns: counted rounds, at least 3.

    Returns:
        One row for each piece, with ``milliseconds``, and ``share`` of their sum.
    """
    place = devices.resolve(device)
    with private_randomness(place), torch.no_grad():
        torch.manual_seed(0)
        x = torch.randn(batch_size, channels, height, height, device=place)
        weights = MetaPerturb().to(place).weights
        works = {
            "four filters of the scale": lambda: scale_features(x, weights.kernels),
            "two layers of the noise": lambda: noise_location(x, weights),
            "normal draw": lambda: standard_normal(x),
            "softplus": lambda: F.softplus(x),
            "product and clip": lambda: perturb(x, x, 1.0, 100.0),
        }
        times = compared(take_turns(works, place, turns))
    total = sum(row["milliseconds"] for row in times.values())
    shape = {"batch_size": batch_size, "channels": channels, "height": height}
    return [
        {**shape, "piece": piece, "milliseconds": row["milliseconds"], "share": row["milliseconds"] / total}
        for piece, row in times.items()
    ]


def _phases(step: Step, device: torch.device) -> tuple[float, float, float]:
    """Seconds of forward, backward and update of one step."""
    loss: list[torch.Tensor] = []
    with frozen_perturbation(step.net):
        forward = timed(lambda: loss.append(step.loss()), device)
        step.optimiser.zero_grad(set_to_none=True)
        backward = timed(loss[0].backward, device)
        return forward, backward, timed(step.optimiser.step, device)


def _batches(setting: Setting, device: torch.device) -> Batches:
    n, size = 4 * setting.batch_size, setting.image_size
    images = torch.randint(256, (n, 3, size, size), dtype=torch.uint8)
    return Batches(Split(images, torch.arange(n) % CLASSES), setting.batch_size, seed=0, device=device)
