"""The passes compile for a GPU, also where there is none, and keep what they work with in registers."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.kernels_on import REASON

pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON)

COMPILE = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from mplib.fused.cuda import passes

MAPS = {"x", "y", "h", "g", "dx", "da"}
SIZES = {"B", "C", "H", "W", "GROUP", "blocks"}
OTHERS = {"signs": "*u8", "seed": "*i64", "clip": "fp32", "channel_ratio": "fp32", "spatial_ratio": "fp32"}
SMALL = {"BLOCK_C": 4, "BLOCK_P": 128, "BLOCK_B": 128, "LAST": False}
WIDE = {"BLOCK_C": 64, "BLOCK_P": 8, "BLOCK_B": 128, "LAST": True}
FLAGS = ["FEATURES", "BATCH", "DRAW"]
for name in sys.argv[1:]:
    kernel = getattr(passes, name)
    for tile, type, on, absent in (
        (SMALL, "*bf16", True, ["eps"]), (WIDE, "*fp32", False, ["seed", "features", "u", "signs"])
    ):
        constants = {**tile, **dict.fromkeys(FLAGS, on), **dict.fromkeys(absent)}
        constants = {key: value for key, value in constants.items() if key in kernel.arg_names}
        kinds = {key: "*fp32" for key in kernel.arg_names}
        kinds |= {key: type for key in kinds if key in MAPS} | {key: "i32" for key in kinds if key in SIZES}
        kinds |= {key: kind for key, kind in OTHERS.items() if key in kinds} | dict.fromkeys(constants, "constexpr")
        compiled = triton.compile(
            ASTSource(kernel, kinds, constants), target=GPUTarget("cuda", 90, 32),
            options={"num_warps": 4, "enable_fp_fusion": True},
        )
        text = compiled.asm["ptx"]
        print(name, "ld.global" in text and "st.global" in text, "ld.local" in text or "st.local" in text)
"""


@pytest.mark.slow
def test_every_pass_compiles_for_a_gpu() -> None:
    names = ["collect", "judge", "hide", "perturb", "open_factor", "open_hidden", "open_input"]
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, *names], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:-1] == [f"{name} True False" for name in names for _ in range(2)]
