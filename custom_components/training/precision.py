"""Number format in which a training computes its forward passes."""

from __future__ import annotations

import torch
from custom_components.errors import InputError
from custom_components.system.number_formats import computes_bfloat16
from custom_components.training.slice_sizes import AUTO
from custom_components.workflows.begin import select_device

_FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_precision(precision: str, *, device: str | torch.device) -> torch.dtype:
    """The format that convolutions compute in; weights, norms' statistics and losses are float32 in any case.

    Args:
        precision: "auto" for bfloat16 where the device has instructions for it (a GPU of compute capability 8.0 or
            later, a processor with AMX or AVX512-BF16), else float16 on a GPU, float32 on a processor; or a name.
        device: of the training, see `select_device`.

    Raises:
        InputError: no such format, or float16 on a processor, whose gradients would vanish.
    """
    device = select_device(device)
    if precision == AUTO:
        if computes_bfloat16(device):
            return torch.bfloat16
        return torch.float16 if device.type == "cuda" else torch.float32
    if precision not in _FORMATS or (precision == "float16" and device.type != "cuda"):
        allowed = ", ".join([AUTO, *_FORMATS])
        raise InputError(f"precision must be one of {allowed} (float16 on a GPU only), got {precision!r}; use auto")
    return _FORMATS[precision]
