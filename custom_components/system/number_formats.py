"""Number formats that a device computes in quickly."""

from __future__ import annotations

import os

import torch

_FAST = ("amx_bf16", "avx512_bf16")  # processors with them convolve in bfloat16 1.2 to 4 times as fast

_WITHOUT = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")  # names of oneDNN


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16: a GPU of compute capability 8.0, a processor with AMX, say.

    PyTorch before 2.10 cannot tell for a processor, which then counts as one without. So does one whose instructions
    `ONEDNN_MAX_CPU_ISA` withholds from the convolutions, which then take ten times as long in bfloat16 as in float32.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in _WITHOUT:
        return False
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in _FAST)
