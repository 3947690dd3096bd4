"""Trained models as safetensors files: numbers and JSON, which no reader can be made to run.

In a package one lies next to each file of weights, `model.safetensors` next to `model.pt`, with the same weights.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from custom_components.errors import InputError, show_path
from custom_components.models.digests import read_checked
from custom_components.models.trained_model import FORMAT
from custom_components.system.files import file_digest
from torch import Tensor

SUFFIX = ".safetensors"
DESCRIPTION = "model"
"""Entry of a file's metadata: JSON of all that a checkpoint holds but its weights."""

PICKLED = "pt_sha256"
"""Entry of a file's metadata: SHA-256 of the `.pt` file next to it, from which results tell one model from another."""

MOST_HEADER = 4 * 2**20
"""Bytes of a file's header, names and shapes of its tensors and the metadata."""


def tensor_bytes(weights: Mapping[str, Tensor], *, described: Mapping[str, Any], pickled: str) -> bytes:
    """Content of a safetensors file; equal arguments give equal bytes.

    Args:
        weights: state dict of the network.
        described: arguments of `describe_model` in plain types, without weights and digest.
        pickled: SHA-256 of the `.pt` file with the same weights.
    """
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    description = json.dumps({"format": FORMAT, **described}, ensure_ascii=False)
    data = save(tensors, metadata={DESCRIPTION: description, PICKLED: pickled})
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])  # its metadata come in another order each time
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the numbers are aligned
    return len(text).to_bytes(8, "little") + text + data[end:]


def tensors_name(name: str) -> str:
    """Name of the safetensors file next to a `.pt` file, in a bundle.

    Example:
        >>> tensors_name("models/member_2.pt")
        'models/member_2.safetensors'
    """
    return f"{name.removesuffix('.pt')}{SUFFIX}"


def tensor_file(path: Path) -> Path | None:
    """The safetensors file of a model: `path` itself, or the one next to a `.pt` file; None without one.

    A `.pt` file is taken where the package `safetensors` is not installed, as in other tools that run a bundle.
    """
    if path.suffix == SUFFIX:
        return path
    beside = path.with_suffix(SUFFIX)
    return beside if beside.is_file() and importlib.util.find_spec("safetensors") else None


def read_tensor_file(path: Path) -> tuple[dict[str, Any], str]:
    """Read a file of `tensor_bytes`; nothing in it, and nothing of the `.pt` file next to it, is unpickled.

    Returns:
        What `load_checkpoint` returns for a checkpoint, with `PICKLED` besides; weights are on the CPU. And the SHA-256
        of the `.pt` file next to it, or of the file itself where there is none.

    Raises:
        InputError: the file is missing, damaged or of another project, or the `.pt` file next to it is another one than
            stated.
    """
    data, digest = _read(path)
    content, stated = _describe(path, data)
    try:
        from safetensors.torch import load

        weights = load(data)
    except Exception as error:  # of the library, which reads strictly; KeyError for a type that PyTorch does not have
        raise _damaged(path, error) from error
    pickled = path.with_suffix(".pt")
    if pickled.is_file() and (digest := file_digest(pickled)) != stated:
        raise InputError(
            f"{show_path(pickled)} must hold the weights of {show_path(path)} next to it (SHA-256 {stated[:12]}...), "
            f"got another file ({digest[:12]}...); remove the one of the two that is not meant"
        )
    return content | {"model": weights, PICKLED: stated}, digest


def read_description(path: Path) -> dict[str, Any]:
    """The description of a model in its safetensors file, without weights.

    Raises:
        InputError: see `read_tensor_file`.
    """
    return _describe(path, _read(path)[0])[0]


def _read(path: Path) -> tuple[bytes, str]:
    if not path.is_file():
        raise InputError(f"model {show_path(path)} must be a file, got none; correct the path")
    return read_checked(path)


def _describe(path: Path, data: bytes) -> tuple[dict[str, Any], str]:
    """Description and digest in a file's metadata."""
    length = int.from_bytes(data[:8], "little")
    if length > MOST_HEADER:
        rule = f"header of {show_path(path)} must have at most {MOST_HEADER} bytes"
        raise InputError(f"{rule}, got {length}; the file is damaged or hostile, ask its maker")
    try:
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    except (ValueError, AttributeError, RecursionError) as error:
        raise _damaged(path, error) from error
    try:
        return dict(json.loads(metadata[DESCRIPTION])), str(metadata[PICKLED])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        rule = f"metadata of {show_path(path)} must describe a model of this project"
        raise InputError(f"{rule}, got {type(error).__name__}; give a file that multijoint package made") from error


def _damaged(path: Path, error: Exception) -> InputError:
    reason = str(error).partition("\n")[0] or type(error).__name__
    return InputError(f"model {show_path(path)} must be a safetensors file, got {reason}; copy it again")
