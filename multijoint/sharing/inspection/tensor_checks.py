"""Foreign safetensors files, inspected as data, and the two files of one model's weights compared."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from custom_components.models.tensor_files import DESCRIPTION, MOST_HEADER, PICKLED

from multijoint.sharing.inspection.archives import open_plain
from multijoint.sharing.inspection.config_reading import ConfigFault, read_config
from multijoint.sharing.inspection.report import Concern
from multijoint.sharing.inspection.state_dicts import StoredTensor
from multijoint.sharing.inspection.weight_checks import MOST_BYTES, find_infinite

OURS = "models/model.safetensors"
_KINDS = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL")


def check_tensors(path: Path, *, name: str) -> tuple[list[StoredTensor], Any, str, list[Concern]]:
    """Look at a safetensors file, whose header the library checks strictly, and at every number in it.

    Returns:
        Its tensors; the model that its metadata describes, as plain data; the SHA-256 that it states for the `.pt` file
        next to it; and concerns. All but the concerns are empty if there are any.
    """

    def refuse(kind: str, message: str, *, level: str = "unsafe") -> tuple[list[StoredTensor], Any, str, list[Concern]]:
        return [], None, "", [Concern(level, kind, name, message)]

    with open_plain(path) as file:
        size = file.seek(0, 2)
        file.seek(0)
        length = int.from_bytes(file.read(8), "little")
    if size > MOST_BYTES:
        return refuse("bomb", f"size bomb: over {MOST_BYTES} bytes")
    if length > MOST_HEADER:
        return refuse("bomb", f"size lie: a header of {length} bytes, over {MOST_HEADER}")
    try:
        from safetensors import safe_open

        with safe_open(path, framework="pt") as content:
            metadata = content.metadata() or {}
            tensors = []
            for key in content.keys():  # noqa: SIM118
                part = content.get_slice(key)
                shape, kind = tuple(part.get_shape()), str(part.get_dtype())
                if kind not in _KINDS:
                    return refuse("weights", f"tensor {key!r} is of {kind}, which no weights here are")
                if find_infinite(content.get_tensor(key)):
                    return refuse("weights", f"tensor {key!r} must be finite, got NaN or infinity")
                tensors.append(StoredTensor(key, key, kind, shape, math.prod(shape)))
    except Exception as error:  # of the library
        return refuse("weights", f"no safetensors file: {str(error).partition(chr(10))[0] or type(error).__name__}")
    if DESCRIPTION not in metadata or PICKLED not in metadata:
        is_read = name == OURS or path.with_suffix(".pt").is_file()
        rule = "metadata must describe a model of this project, got none"
        return refuse("model", rule, level="unsafe" if is_read else "warning")
    try:
        described = read_config(metadata[DESCRIPTION].encode(errors="replace"), kind="json")
    except ConfigFault as fault:
        return refuse("bomb" if fault.kind == "bomb" else "model", f"metadata must describe a model: {fault}")
    return tensors, described, metadata[PICKLED], []


def compare_weights(
    tensors: Path, pickled: Path | None, *, name: str, stated: str, digests: Mapping[str, str]
) -> Iterator[Concern]:
    """Concerns about a `.pt` file, inspected before, that is not the one of the safetensors file next to it.

    Args:
        tensors: the safetensors file.
        pickled: the other; None if it is missing or has its own concerns.
        name: of the other in the bundle.
        stated: SHA-256 of the other in the metadata of the first.
        digests: SHA-256 of the files of the bundle.
    """
    beside = tensors.name
    if digests.get(name, stated) != stated:
        yield Concern("unsafe", "weights", name, f"is not the file that {beside}, which is read instead, was made with")
    if pickled is None:
        return
    from safetensors import safe_open

    own = torch.load(pickled, map_location="cpu", weights_only=True, mmap=True)
    with safe_open(tensors, framework="pt") as content:
        names = set(content.keys())
        other = [key for key in sorted({*names, *own}) if key not in names or key not in own]
        if not other:
            other = [key for key in sorted(names) if not _are_equal(content.get_tensor(key), own[key])]
    if other:
        yield Concern("unsafe", "weights", name, f"weights differ from those of {beside}, first {other[0]!r}")


def _are_equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)
