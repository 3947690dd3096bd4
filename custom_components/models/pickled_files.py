"""Trained models as PyTorch files, which hold a pickle: read as tensors and plain values alone."""

from __future__ import annotations

import io
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from custom_components.errors import InputError
from custom_components.models.digests import read_checked
from torch import Tensor

_DTYPES = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
)
_PLAIN = (str, int, float, bool, Tensor, type(None))


def read_pickled(path: Path) -> tuple[Any, str]:
    """Content of a PyTorch file, loaded without running any of it, and its SHA-256.

    Raises:
        InputError: the file is missing, damaged, or would call what weights need not.
    """
    if not path.is_file():
        raise InputError(f"checkpoint {path} must be a file, got none; train first or correct the path")
    data, digest = read_checked(path)
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a foreign file fails in torch, zipfile or pickle, with many kinds of errors
        if calls := _find_calls(data):
            rule = f"checkpoint {path} must hold tensors and plain values alone, got one that would call {calls}"
            raise InputError(f"{rule}, as harmful files do; do not open it otherwise, ask its maker") from error
        reason = "damaged or foreign content" if isinstance(error, UnpicklingError) else str(error).partition("\n")[0]
        reason = reason or type(error).__name__
        raise InputError(f"checkpoint {path} must be a readable PyTorch file, got {reason}; copy it again") from error
    return content, digest


def _find_calls(data: bytes) -> str:
    """Names of what the pickle in a PyTorch file would call but may not; "" if that cannot be told."""
    try:
        return ", ".join(sorted(torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(data)))[:5])
    except Exception:  # no zip file, or a pickle that cannot be read
        return ""


def find_foreign(content: Any) -> str:
    """Name of a type in `content` that is neither a plain tensor nor plain; "" if there is none."""
    waiting, seen = [content], set[int]()
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict | list | tuple):
            if id(value) not in seen:  # a file can hold a list that holds itself
                waiting += [*value, *value.values()] if isinstance(value, dict) else value
                seen.add(id(value))
        elif not isinstance(value, _PLAIN):
            return type(value).__name__
        elif isinstance(value, Tensor) and (kind := _strange_kind(value)):
            return f"a tensor that is {kind}"
    return ""


def _strange_kind(tensor: Tensor) -> str:
    """What a tensor is that no training saves and few operators take; "" for plain numbers in memory."""
    if tensor.is_nested or tensor.layout != torch.strided:
        return "nested" if tensor.is_nested else "sparse"
    if tensor.is_quantized or tensor.dtype not in _DTYPES:
        return "quantised" if tensor.is_quantized else f"of {str(tensor.dtype).removeprefix('torch.')}"
    if tensor.device.type != "cpu":
        return f"without numbers (device {tensor.device.type})"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return f"expanded to {tuple(tensor.shape)} from fewer numbers"
    return ""
