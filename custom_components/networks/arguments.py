"""Checks of the arguments of the multi-domain U-Net."""

from __future__ import annotations

from collections.abc import Sequence

from custom_components.errors import InputError


def check_arguments(
    num_classes: Sequence[int], widths: Sequence[int], norm: str, embedding: str, in_channels: int | Sequence[int]
) -> None:
    """Raise an `InputError` that names the first argument of `MultiDomainUNet` that does not fit the others."""
    choices = {"norm": ("domain", "shared", "folded"), "embedding": ("bottleneck", "convolution")}
    for (name, allowed), value in zip(choices.items(), (norm, embedding), strict=True):
        if value not in allowed:
            raise InputError(f"{name} must be {' or '.join(map(repr, allowed))}, got {value!r}")
    if len(widths) < 2:
        raise InputError(f"widths must name at least two resolutions, got {list(widths)}")
    if len(num_classes) < 1 or min(num_classes) < 2:
        raise InputError(f"num_classes must be at least 2 for each of one or more domains, got {list(num_classes)}")
    if norm == "folded" and len(num_classes) != 1:
        raise InputError(f"norm 'folded' must have one domain, got {len(num_classes)}; fold each by itself")
    if not isinstance(in_channels, int):
        if norm == "shared":
            rule = "norm must be 'domain' for domains with different channels, got 'shared'"
            raise InputError(f"{rule}; train with norm: domain, or give all domains the same channels")
        if len(in_channels) != len(num_classes):
            raise InputError(
                f"in_channels must be one number for each of {len(num_classes)} domains, got {in_channels}"
            )


def check_parts(
    num_classes: Sequence[int],
    widths: Sequence[int],
    head: str,
    embedding_scales: int,
    deep_supervision: int,
    label_names: Sequence[Sequence[str] | None] | None,
) -> None:
    """The same of the arguments that the paper does not have."""
    if not 1 <= embedding_scales <= len(widths):
        raise InputError(f"embedding_scales must be from 1 to {len(widths)} (widths), got {embedding_scales}")
    if not 0 <= deep_supervision <= len(widths) - 2:
        raise InputError(f"deep_supervision must be from 0 to {len(widths) - 2}, got {deep_supervision}")
    if label_names is None:
        return
    counts = [own and len(own) + 1 for own in label_names]
    named = len(counts) == len(num_classes) and all(a in {None, b} for a, b in zip(counts, num_classes, strict=True))
    if head == "shared" or not named:
        raise InputError(
            f"label_names must name the bones of each domain's own head (classes {list(num_classes)}), "
            f"got {[own and list(own) for own in label_names]} with head {head!r}"
        )
