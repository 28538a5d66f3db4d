from __future__ import annotations

from mplib.recipe import Recipe


def test_strength_and_rate_follow_the_paper() -> None:
    recipe = Recipe(steps=10_000)
    assert [recipe.strength(step) for step in (0, 1000, 4000, 9999)] == [0, 0.25, 1, 1]
    assert [round(recipe.rate(step) / 1e-3, 6) for step in (0, 3999, 4000, 7000, 9000)] == [1, 1, 0.3, 0.09, 0.027]
    assert Recipe(steps=2).strength(0) == 1  # int(0.4 * 2) is 0: no warm-up
