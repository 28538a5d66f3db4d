"""Every random number as a function of a seed, a purpose and a step.

Nothing here is carried along: the noise of step 412 is drawn from a generator that was seeded for step 412. So a run
that was interrupted and resumed draws what it would have drawn, and a task draws the same numbers whichever process
it runs in.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import torch

from mplib.errors import MplibError


def derive(seed: int, *labels: str | int) -> int:
    """A seed of its own for each purpose, far from those of its neighbours.

    Args:
        seed: the seed of the run, an integer of at least 0.
        labels: what the numbers are for: names, task, step.

    Returns:
        An integer in [0, 2^63).

    Raises:
        MplibError: the seed is not an integer of at least 0.

    Example:
        >>> derive(0, "noise", 1) == derive(0, "noise", 1), derive(0, "noise", 1) == derive(0, "noise", 2)
        (True, False)
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise MplibError(f"seed is {seed!r}, expected an integer of at least 0")
    text = repr((seed, *labels)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def stream(seed: int, *labels: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator on ``device``, seeded with :func:`derive`."""
    return torch.Generator(device).manual_seed(derive(seed, *labels))


@contextlib.contextmanager
def private_randomness(device: torch.device | str = "cpu") -> Iterator[None]:
    """Leave torch's default generators as they were found, whatever is drawn or seeded inside."""
    used = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=used):
        yield
