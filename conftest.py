"""Modules that this machine cannot import have no examples to run: Triton is not there for every system."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("triton") else ["mplib/fused/cuda/*.py"]
