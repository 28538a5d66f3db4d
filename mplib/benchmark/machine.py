"""What the machine is, and what it can do at its best: bytes a second in a copy, operations a second in a matmul."""

from __future__ import annotations

import importlib.util
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch

from mplib.benchmark.turns import Row, Work, timed
from mplib.seeding import private_randomness


class Rates(NamedTuple):
    """Measured rates: gigabytes (10^9) a second, and gigaflops of float32."""

    copy: float
    matmul: float


class Probe(NamedTuple):
    """Work that does one thing as fast as the machine can, and how much of it: bytes moved, or operations."""

    work: Work
    amount: float


def probes(device: torch.device, size: int | None = None) -> dict[str, Probe]:
    """The two probes, ``copy`` and ``matmul``, in float32 with torch's current settings.

    A copy of n bytes moves 2 n, a product of two n x n matrices takes 2 n^3 operations.

    Args:
        device: the device.
        size: n of the matrices; the copied vector has 8 n^2 numbers. None: 1024 on a CPU, 8192 on a GPU.
    """
    n = size or (8192 if device.type == "cuda" else 1024)
    with private_randomness(device):
        a = torch.rand(n, n, device=device)
        source = torch.rand(8 * n * n, device=device)
    product, target = torch.empty_like(a), torch.empty_like(source)
    return {
        "copy": Probe(lambda: target.copy_(source), 2 * source.nbytes),
        "matmul": Probe(lambda: torch.mm(a, a, out=product), 2 * n**3),
    }


def rates(device: torch.device, size: int | None = None, repeats: int = 7) -> Rates:
    """Measure how fast the device copies memory and multiplies matrices; the best of several tries.

    Args:
        device: the device.
        size: see :func:`probes`.
        repeats: tries.

    Example:
        >>> measured = rates(torch.device("cpu"), size=64, repeats=2)
        >>> measured.copy > 0 and measured.matmul > 0
        True
    """
    best = [
        probe.amount / min(timed(probe.work, device) for _ in range(repeats)) for probe in probes(device, size).values()
    ]
    return Rates(best[0] / 1e9, best[1] / 1e9)


def facts(device: torch.device) -> Row:
    """What a time depends on beyond the environment of a row: processor, load, number format, compilers.

    Example:
        >>> facts(torch.device("cpu"))["dtype"]
        'float32'
    """
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "dtype": str(torch.get_default_dtype()).removeprefix("torch."),
        "tf32": _tf32() if device.type == "cuda" else "not on this device",
        "cuda": torch.version.cuda,
        "numba": _version("numba"),
        "triton": _version("triton"),
    }


def _tf32() -> str:
    try:
        convolutions = torch.backends.cudnn.allow_tf32
    except RuntimeError:  # torch refuses to answer where its old and its new switch were both used
        return f"matmul {torch.get_float32_matmul_precision()}, convolutions unknown"
    return f"matmul {torch.get_float32_matmul_precision()}, convolutions {'on' if convolutions else 'off'}"


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    return version(package) if importlib.util.find_spec(package) else None
