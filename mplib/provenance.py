"""What a number was made with: versions, device, commit, and a fingerprint of the code."""

from __future__ import annotations

import ast
import hashlib
import platform
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import torch

from mplib import devices

_PACKAGE = Path(__file__).parent

METHOD = (
    "perturb",
    "fused",
    "nets",
    "interception",
    "discovery",
    "attachment",
    "data",
    "seeding",
    "batches",
    "steps",
    "capture",
    "recipe",
    "finetuning",
    "training",
    "learners",
    "ranks",
    "meta",
    "calibration",
    "evaluation",
    "regularizers",
    "mislabelling",
)
"""The parts of the package that decide a result; a change to one of them makes another source hash."""


def environment(device: torch.device) -> dict[str, str]:
    """Versions, device, commit and source hash, as they are recorded with every result.

    Args:
        device: the device that the work ran on.

    Example:
        >>> sorted(environment(torch.device("cpu")))
        ['commit', 'device', 'mplib', 'python', 'source', 'torch']
    """
    return {
        "mplib": version(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": devices.describe(device),
        "commit": commit(),
        "source": loaded_source(),
    }


def version() -> str:
    """The version of the installed package."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("metaperturb-book")
    except PackageNotFoundError:
        return "not installed"


@cache
def commit() -> str:
    """The git commit of a checkout, with ``+changes`` where files of the package differ from it; else ``unknown``."""
    if not (_PACKAGE.parent / ".git").exists():
        return "unknown"
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        return head + ("+changes" if _git("status", "--porcelain", "--", "mplib") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def source_hash(parts: Iterable[str] = METHOD) -> str:
    """A fingerprint of what the code does: comments, docstrings and layout do not change it.

    Args:
        parts: modules or sub-packages of mplib.

    Returns:
        12 hexadecimal digits.

    Example:
        >>> len(source_hash(["perturb"]))
        12
    """
    digest = hashlib.sha256()
    for part in sorted(parts):
        root = _PACKAGE / part
        for file in sorted(root.rglob("*.py")) if root.is_dir() else [root.with_suffix(".py")]:
            digest.update(file.relative_to(_PACKAGE).as_posix().encode())
            digest.update(_meaning(file.read_text(encoding="utf-8")).encode())
    return digest.hexdigest()[:12]


@cache
def loaded_source() -> str:
    """:func:`source_hash` as it was when this process first asked; the files may change while it runs."""
    return source_hash()


def _meaning(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(_PACKAGE.parent), *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
