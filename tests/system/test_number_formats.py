"""Which processors compute in bfloat16."""

import pytest
import torch
from custom_components.system.number_formats import computes_bfloat16


@pytest.mark.parametrize(
    ("capabilities", "most", "expected"),
    [
        ({"avx512_bf16": True}, None, True),
        ({"amx_bf16": True, "avx512_bf16": False}, "ALL", True),
        ({"avx512_bf16": True}, "AVX512_CORE_BF16", True),
        ({"avx512_bf16": True}, "avx2", False),
        ({"avx512_bf16": True, "amx_bf16": True}, "AVX512_CORE_VNNI", False),
        ({"avx512_bf16": False, "avx2": True}, None, False),
        ({}, None, False),
    ],
)
def test_a_processor_needs_the_instructions_and_the_leave_to_use_them(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], most: str | None, expected: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    if most is not None:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", most)
    assert computes_bfloat16(torch.device("cpu")) is expected
