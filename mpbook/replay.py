"""A pytest plugin: nbval compares papermill's run with the committed references, and nothing is run again.

    pytest --nbval-lax -p mpbook.replay --references book/reference build/smoke/book/*.ipynb

nbval executes a notebook and compares what comes back with the outputs stored in it. Here its kernel is replaced
by one that hands out the outputs of the executed notebook, and the stored outputs by those of the reference. What
is collected beside the cells is one item a notebook that fails when a reference is missing or out of date.

This builds on names of nbval 0.11 that are not documented: ``IPyNbFile``, ``IPyNbCell`` and the kernel's methods;
hence the bound on nbval's version in ``pyproject.toml`` and the tests that break each thing once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from nbval.plugin import IPyNbCell, IPyNbFile

from mpbook import notebooks, references
from mplib.errors import MplibError


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--references``, the folder of the committed outputs."""
    parser.addoption("--references", default="book/reference", help="folder of the reference outputs of checked cells")


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> Generator[None, Any, Any]:
    """Put a :class:`ReplayedFile` in the place of each file that nbval collects."""
    collected = yield
    return [
        ReplayedFile.from_parent(parent, path=file_path) if isinstance(found, IPyNbFile) else found
        for found in collected
    ]


class ReplayedFile(IPyNbFile):
    """An executed notebook whose outputs are played to nbval."""

    def setup(self) -> None:
        """Start the substitute for nbval's kernel."""
        self.kernel = Player()
        self.setup_sanitize_files()

    def collect(self) -> Iterator[pytest.Item]:
        """Every cell as nbval collects it, with the outputs of the reference, and the check of the reference."""
        self.reference: dict[str, Any] = {}
        self.missing = ""
        path = Path(self.config.getoption("references")) / f"{self.path.stem}.json"
        try:
            self.reference = references.load(path)
        except MplibError as error:
            self.missing = str(error)
        cells = list(super().collect())
        yield ReferenceItem.from_parent(self, name="reference")
        for cell in cells:
            yield ReplayedCell.from_parent(
                self, name=cell.name, cell_num=cell.cell_num, cell=cell.cell, options=cell.options
            )


class ReferenceItem(pytest.Item):
    """Fails when a chapter's reference is missing, incomplete, or made from other code."""

    def runtest(self) -> None:
        """Compare the reference's list of cells with the notebook's."""
        assert isinstance(self.parent, ReplayedFile)
        problems = [self.parent.missing] if self.parent.missing else []
        problems = problems or references.problems(self.parent.nb, self.parent.reference)
        if problems:
            raise MplibError("\n".join(problems))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The sentences alone."""
        return str(excinfo.value) if isinstance(excinfo.value, MplibError) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Name the notebook in reports."""
        return self.path, 0, f"{self.path.name}::reference"


class ReplayedCell(IPyNbCell):
    """A code cell: what it gave in the run is played, what the reference holds is compared with it."""

    def runtest(self) -> None:
        """Let nbval compare."""
        checked = notebooks.CHECKED in notebooks.tags(self.cell)
        outputs = self.cell.outputs
        if checked:
            outputs = references.comparable(outputs)
            expected = self.parent.reference.get(self.cell.id, {}).get("outputs", [])
            self.cell.outputs = references.comparable(expected)
        self.parent.kernel.load(outputs)
        super().runtest()


class Player:
    """Speaks the part of nbval's kernel protocol that a cell needs, from stored outputs."""

    def __init__(self) -> None:
        self.messages: deque[dict[str, Any]] = deque()

    def load(self, outputs: list[Any]) -> None:
        """Queue the messages that a kernel would send for these outputs."""
        self.messages = deque(
            {
                "msg_type": o["output_type"],
                "content": {"execution_count": None, **o},
                "parent_header": {"msg_id": "cell"},
            }
            for o in outputs
        )
        idle = {"msg_type": "status", "content": {"execution_state": "idle"}, "parent_header": {"msg_id": "cell"}}
        self.messages.append(idle)

    def execute_cell_input(self, source: str, allow_stdin: bool | None = None) -> str:
        """Nothing is executed; the id ties the messages to the cell."""
        return "cell"

    def await_reply(self, msg_id: str, timeout: float | None = None) -> None:
        """The reply is there at once."""

    def await_idle(self, parent_id: str, timeout: float | None = None) -> None:
        """The stored run is always idle."""

    def get_message(self, stream: str, timeout: float | None = None) -> dict[str, Any]:
        """The next stored message."""
        return self.messages.popleft()

    def is_alive(self) -> bool:
        """True while pytest asks, so that nbval goes on to the next cell."""
        return True

    def stop(self) -> None:
        """Nothing to stop."""
