"""Run a kernel over the samples of a feature map, on the threads that torch has already.

``GOMP_parallel`` of the OpenMP library that torch itself has loaded calls the kernels' entry once for each thread. A
second pool of threads, Python's or Numba's, would have to share the cores with torch's workers, which spin for
milliseconds after each operation: it gains nothing. Where torch has no such library, a pool is what there is.
"""

from __future__ import annotations

import ctypes
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mplib.fused.cpu.arithmetic import Floats
from mplib.fused.cpu.kernels import JOB, entry, geometry

_OWN = threading.local()  # the scratch of each Python thread
_PROCESS = os.getpid()


@cache
def openmp() -> Any:
    """GOMP_parallel of the OpenMP library that torch uses, or None where it has another (Windows, some Macs)."""
    for name in ("libtorch_cpu.so", "libtorch_cpu.dylib"):
        path = Path(torch.__file__).parent / "lib" / name
        try:
            function = ctypes.CDLL(str(path)).GOMP_parallel  # looks through the libraries that this one needs, too
        except (OSError, AttributeError):
            continue
        function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
        return function
    return None


@cache
def pool(threads: int) -> ThreadPoolExecutor:
    """Threads of our own, for want of OpenMP's."""
    return ThreadPoolExecutor(threads, "mplib")


@cache
def mask_of(H: int, W: int) -> Floats:
    """1 at the positions of a plane that are pixels, 0 at the others."""
    mask = np.zeros((H * (W + 1) + 63) // 64 * 64, np.float32)
    mask[: H * (W + 1)].reshape(H, W + 1)[:, :W] = 1
    return mask


def launch(
    kind: int, x: Tensor, w: Floats, *, y: Tensor | None = None, g: Tensor | None = None, eps: Tensor | None = None,
    s: Floats | None = None, per_map: Floats | None = None, dw: Floats | None = None, seed: int = 0,
) -> None:  # fmt: skip
    """Run a kernel over the samples of x."""
    B, C, H, W = x.shape
    # A forked process has lost torch's threads: waiting for them would last for ever.
    threads = min(B, torch.get_num_threads()) if os.getpid() == _PROCESS else 1
    pitch, _, n, _, size = geometry.py_func(C, H, W)  # type: ignore[attr-defined]
    block = min(C, max(1, 512 // n))  # channels whose noise is drawn at once: small maps make short loops
    planes = 4 * (n + 2 * pitch + 2)
    need = (3 * size + planes + n + 2 * block * n + 64 + 15) // 16 * 16  # as `split` cuts it, and slack
    if getattr(_OWN, "scratch", np.empty(0)).size < threads * need:
        _OWN.scratch = np.empty(threads * need, np.float32)
    mask = mask_of(H, W)

    def address(data: Tensor | Floats | None) -> int:
        if data is None:
            return 0
        return data.data_ptr() if isinstance(data, Tensor) else data.ctypes.data

    fields = {
        "kind": kind, "B": B, "C": C, "H": H, "W": W, "block": block, "key": seed & 0xFFFFFFFF, "offset": seed >> 32,
        "x": address(x), "y": address(y), "g": address(g), "eps": address(eps), "s": address(s), "w": address(w),
        "per map": address(per_map), "size of eps": 0 if eps is None else eps.numel(), "mask": address(mask),
        "size of mask": mask.size, "scratch": address(_OWN.scratch), "scratch per thread": need,
        "dw": address(dw), "size of dw": 0 if dw is None else dw.size,
    }  # fmt: skip
    job = np.array([fields.get(name, 0) for name in JOB], np.int64)
    if threads == 1:
        entry.ctypes(job.ctypes.data)
    elif (parallel := openmp()) is not None:
        parallel(entry.address, job.ctypes.data, threads, 0)
    else:
        list(pool(threads).map(entry.ctypes, [job.ctypes.data] * threads))
