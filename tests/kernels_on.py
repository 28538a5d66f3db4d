"""Where the kernels for a GPU are tested: on a GPU, or without one on a CPU, under Triton's interpreter.

To be imported before anything imports triton, which looks at the variable when a kernel is defined.
"""

from __future__ import annotations

import importlib.util
import os
import sys

import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu" and "triton" not in sys.modules:
    os.environ["TRITON_INTERPRET"] = "1"

REASON = ""
if importlib.util.find_spec("triton") is None:
    REASON = "triton is not installed"
elif DEVICE == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
    REASON = "triton was imported before its interpreter could be asked for"
