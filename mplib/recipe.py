"""How a network is trained: the numbers of a run, and what follows from them at each step."""

from __future__ import annotations

from dataclasses import dataclass

from mplib.errors import MplibError


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; the defaults are the paper's protocol on a target data set.

    Attributes:
        steps: optimiser steps, at least 1.
        batch_size: images a step, at least 2; a smaller split is one batch.
        learning_rate: of Adam, above 0.
        weight_decay: L2 penalty inside Adam, at least 0.
        milestones: fractions of the run after which the learning rate is multiplied by ``gamma``.
        gamma: factor of the learning rate at a milestone.
        warmup: fraction of the run over which the strength of a perturbation rises from 0 to 1.
        augment: whether to crop at random, and to flip where the data set allows it.
    """

    steps: int = 10_000
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 5e-4
    milestones: tuple[float, ...] = (0.4, 0.7, 0.9)
    gamma: float = 0.3
    warmup: float = 0.4
    augment: bool = True

    def validate(self) -> None:
        """Refuse values that no run can have.

        Raises:
            MplibError: naming the value and its range.
        """
        for name, low in {"steps": 1, "batch_size": 2}.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise MplibError(f"{name} is {value!r}, expected an integer of at least {low}")
        if not self.learning_rate > 0 or not self.weight_decay >= 0 or not self.gamma > 0:
            raise MplibError(
                f"learning_rate is {self.learning_rate}, weight_decay {self.weight_decay} and gamma {self.gamma}, "
                "expected them positive (weight_decay may be 0)"
            )
        if any(not 0 <= part <= 1 for part in (self.warmup, *self.milestones)):
            raise MplibError(f"warmup is {self.warmup} and milestones {self.milestones}, expected fractions in [0, 1]")

    def strength(self, step: int) -> float:
        """Strength of the perturbation at step ``step`` of the run: min(1, step / int(warmup * steps)).

        Example:
            >>> [Recipe(steps=10).strength(step) for step in (0, 2, 4, 9)]
            [0.0, 0.5, 1.0, 1.0]
        """
        ramp = int(self.warmup * self.steps)
        return min(1.0, step / ramp) if ramp else 1.0

    def rate(self, step: int) -> float:
        """Learning rate at step ``step`` of the run."""
        passed = sum(step >= int(part * self.steps) for part in self.milestones)
        return self.learning_rate * self.gamma**passed
