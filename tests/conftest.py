"""Seeds, marks, and the tiny books that the tests of the book's tooling run."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from mpbook import browser, execution, references, rendering
from mpbook.layout import Book
from tests.tiny import Tiny


@pytest.fixture(autouse=True)
def _seeds() -> Iterator[None]:
    """The same numbers for each test, whatever ran before it; the settings that a test changed are put back."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    dtype = torch.get_default_dtype()
    yield
    torch.set_default_dtype(dtype)


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Decoded images are kept in a folder of this run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLIB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run."""
    reasons = {
        "gpu": "" if torch.cuda.is_available() else "no CUDA device",
        "browser": "" if browser.find() else "no Chromium on this machine",
        "realdata": "" if os.environ.get("MPLIB_DATA") else "MPLIB_DATA is not set",
    }
    for item in items:
        for mark, reason in reasons.items():
            if reason and item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    """A writer of small books in a folder of its own."""
    return Tiny(tmp_path)


@pytest.fixture(scope="session")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Book:
    """A right book after its smoke run, with references; to be copied before anything in it is changed.

    Its folder has braces in its name, which papermill would take for a place to put parameters in.
    """
    book = Book(Tiny(tmp_path_factory.mktemp("tiny {steps}"))(presets={"smoke": {"one": {"steps": 2}}}))
    execution.run(book, "smoke")
    references.record(book)
    return book


@pytest.fixture(scope="session")
def rendered(executed: Book) -> Book:
    """The same book with its pages."""
    rendering.render(executed, "smoke")
    return executed
