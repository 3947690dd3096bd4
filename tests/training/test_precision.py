"""Number format of a training's convolutions."""

import pytest
import torch
from custom_components.errors import InputError
from custom_components.training import choose_precision


def test_auto_is_bfloat16_only_on_a_processor_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for capabilities, expected in (
        ({"avx512_bf16": False, "amx_bf16": False}, torch.float32),
        ({"avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({}, torch.float32),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=capabilities: found, raising=False)
        assert choose_precision("auto", device="cpu") is expected
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert choose_precision("auto", device="cpu") is torch.float32


def test_a_format_is_taken_by_its_name_and_others_are_refused() -> None:
    assert choose_precision("float32", device="cpu") is torch.float32
    assert choose_precision("bfloat16", device="cpu") is torch.bfloat16
    for wrong in ("half", "float16", 16):
        with pytest.raises(InputError, match=r"precision must be one of auto, .*use auto"):
            choose_precision(wrong, device="cpu")  # type: ignore[arg-type]
