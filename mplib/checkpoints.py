"""Reading and writing tensors on disk, safely.

Two formats. *safetensors* holds tensors and a few strings, and nothing that could run: every file that is meant
to be kept or shared has it. torch's own format holds the state of an interrupted run (optimisers, random number
generators) and the authors' checkpoint; it is a pickle, so it is only ever opened with the restricted unpickler.
"""

from __future__ import annotations

import json
import os
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from mplib.errors import MplibError
from mplib.files import atomic_path

PathLike = str | os.PathLike[str]

_METADATA_KEY = "mplib"


def write_tensors(path: PathLike, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors with their provenance to a safetensors file, whole or not at all.

    Args:
        path: the file to write.
        tensors: name to tensor, on any device.
        metadata: anything that JSON can hold; kept under the key ``mplib`` of the file's metadata.

    Raises:
        MplibError: the folder cannot be written to.
    """
    content = safetensors_bytes(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        metadata={_METADATA_KEY: json.dumps(dict(metadata), sort_keys=True)},
    )
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def read_tensors(path: PathLike, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file of :func:`write_tensors`.

    Args:
        path: the file to read.
        kind: what the file should hold, as its metadata says it (``"phi"``, ``"network"``).

    Returns:
        The tensors, on the CPU, and the metadata.

    Raises:
        MplibError: the file is missing, damaged, in another format, or holds something else.
    """
    _must_exist(path)
    try:
        with safe_open(os.fspath(path), framework="pt") as stream:
            strings = stream.metadata() or {}
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise MplibError(
            f"{path} is not a whole safetensors file ({error}), expected one that holds a {kind}"
        ) from error
    try:
        metadata = json.loads(strings.get(_METADATA_KEY, "{}"))
    except ValueError:
        metadata = {}
    given = metadata.get("kind") if isinstance(metadata, dict) else None
    if given != kind:
        raise MplibError(f"{path} holds {given or 'tensors without a description'}, expected a {kind} saved by mplib")
    return tensors, metadata


def write_state(path: PathLike, state: Mapping[str, Any]) -> None:
    """Write the state of a run (tensors, numbers, strings, and containers of these), whole or not at all."""
    with atomic_path(path) as temporary:
        torch.save(dict(state), temporary)


def read_state(path: PathLike) -> dict[str, Any]:
    """Read a file in torch's format, old or new, without running any code that it may carry.

    Raises:
        MplibError: the file is missing, damaged, or holds more than tensors and plain values.
    """
    _must_exist(path)
    try:
        with warnings.catch_warnings():
            # The restricted unpickler warns of pickles that it may not understand; what it cannot read it refuses.
            warnings.simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise MplibError(
            f"{path} was not opened, because it is damaged or holds more than tensors and plain values, "
            "expected a checkpoint in torch's format"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise MplibError(f"{path} is not a whole file in torch's format ({_first_line(error)})") from error
    if not isinstance(state, dict):
        raise MplibError(f"{path} holds a {type(state).__name__}, expected a dictionary of tensors")
    return state


def _must_exist(path: PathLike) -> None:
    if not Path(path).is_file():
        raise MplibError(f"there is no file {path}, expected a checkpoint")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
