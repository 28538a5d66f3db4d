"""What a sweep runs: values of the declared types, and every combination once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpbook.grids import MOST, add_seeds, combinations, read_grid
from mpbook.parameters import parse
from mplib.errors import MplibError

DECLARED = parse(
    'preset: str = "fast"\nsteps: int = 3\nrate: float = 0.1\nnets: list[str] = ["a"]\nplot: bool = True\n'
    'name: str = ""\nseeds: list[int] = [0]'
)


def test_reads_values_of_every_type() -> None:
    texts = ["steps=1,2", "rate=1e-5,1", "nets=['a','b'],['c']", "plot=true,False", "name=x,007", "seeds=[0,1],[2]"]
    assert read_grid(DECLARED, texts) == {
        "steps": [1, 2],
        "rate": [1e-5, 1.0],
        "nets": [["a", "b"], ["c"]],
        "plot": [True, False],
        "name": ["x", "007"],
        "seeds": [[0, 1], [2]],
    }


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["steps=abc"], "steps is the string 'abc', expected int"),
        (["steps=1,1.5"], "steps is 1.5 of type float, expected int"),
        (["stepz=3"], "unknown parameter 'stepz', did you mean 'steps'"),
        (["steps"], "has no '=', expected name=a,b,c"),
        (["steps="], "'steps=' has an empty value"),
        (["name="], "'name=' has an empty value"),
        (["steps=1,,2"], "'steps=1,,2' has an empty value"),
        (["seeds=0,1"], r"seeds is 0, expected list\[int\]"),
        (["seeds=[0],[]"], "seeds is given an empty list"),
        (["steps=1,2,1"], "steps is given a value twice"),
        (["steps=1", "steps=2"], "steps is given twice"),
        (["preset=smoke"], "expected it to be chosen with --preset"),
    ],
)
def test_refuses_with_the_accepted_names_and_types(texts: list[str], message: str) -> None:
    with pytest.raises(MplibError, match=message) as error:
        read_grid(DECLARED, texts)
    assert str(error.value).endswith(
        "accepted: steps: int, rate: float, nets: list[str], plot: bool, name: str, seeds: list[int]"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("rate: [0.1, 1e-5]", "rate is the string '1e-5', expected float: write 1.0e-5"),
        ("steps: []", "steps is given an empty list"),
        ("stepz: [1]", "unknown parameter 'stepz'"),
        ("steps: 3", "does not map names to lists of values"),
        ("- steps", "does not map names to lists of values"),
    ],
)
def test_refuses_a_file_alike(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "grid.yml").write_text(content)
    with pytest.raises(MplibError, match=message):
        read_grid(DECLARED, [], tmp_path / "grid.yml")


def test_reads_a_file_and_the_command_line_together(tmp_path: Path) -> None:
    (tmp_path / "grid.yml").write_text("rate: [1.0e-5, 1]\nseeds: [[0], [1, 2]]\n")
    grid = read_grid(DECLARED, ["steps=5"], tmp_path / "grid.yml")
    assert grid == {"rate": [1e-5, 1.0], "seeds": [[0], [1, 2]], "steps": [5]}
    with pytest.raises(MplibError, match="rate is given twice"):
        read_grid(DECLARED, ["rate=1"], tmp_path / "grid.yml")


def test_seeds_come_first_and_one_at_a_time() -> None:
    grid = add_seeds({"steps": [1, 2]}, DECLARED, 2)
    assert combinations(grid)[:3] == [
        {"seeds": [0], "steps": 1},
        {"seeds": [0], "steps": 2},
        {"seeds": [1], "steps": 1},
    ]
    assert add_seeds({}, parse("seed: int = 5"), 3) == {"seed": [0, 1, 2]}
    for declared, count, message in [
        (DECLARED, 0, "--seeds is 0"),
        (parse("steps: int = 1"), 2, "declares neither"),
        (parse("seeds: int = 1"), 2, "declares neither"),
    ]:
        with pytest.raises(MplibError, match=message):
            add_seeds({}, declared, count)
    with pytest.raises(MplibError, match="both --seeds and values of seeds"):
        add_seeds({"seeds": [[1]]}, DECLARED, 2)


@given(st.dictionaries(st.sampled_from("abcd"), st.lists(st.integers(), min_size=1, max_size=5, unique=True)))
def test_every_combination_occurs_once(grid: dict[str, list[Any]]) -> None:
    made = combinations(grid)
    count = 1
    for values in grid.values():
        count *= len(values)
    assert len(made) == count == len({tuple(sorted(run.items())) for run in made})
    assert all(run[name] in values for run in made for name, values in grid.items())


def test_many_runs_have_to_be_confirmed() -> None:
    many = {name: list(range(10)) for name in "abcd"}
    with pytest.raises(MplibError, match=r"these are 10,000 runs, expected at most 1,000, or --yes"):
        combinations(many)
    assert len(combinations(many, confirmed=True)) == 10_000
    assert len(combinations({"a": list(range(MOST))})) == MOST
    with pytest.raises(MplibError, match="these are 1,000,000,000,000 runs"):  # at once: the product is not made
        combinations({name: list(range(1000)) for name in "abcd"})
