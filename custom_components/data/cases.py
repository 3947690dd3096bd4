"""A case: one image with its label, and whom it shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from custom_components.io.nifti_files import case_id

__all__ = ["Case", "as_case"]


@dataclass(frozen=True)
class Case:
    """One image with its label.

    Args:
        name: unique in its domain; usable as a file name.
        domain: name of the domain.
        image: NIfTI file.
        label: NIfTI file on the same grid, or None when nobody has segmented it.
        subject: the person, unique in the domain; several cases may show one person.
        group: free text, e.g. "healthy".
    """

    name: str
    domain: str
    image: Path
    label: Path | None
    subject: str
    group: str | None = None


def as_case(item: Case | Mapping[str, Any], *, domain: str | None) -> Case:
    """A case from an item such as other tools make: `image` and `label`, and perhaps `name`, `subject`, `domain`.

    Args:
        item: a `Case` is returned as it is.
        domain: name of the domain of an item that does not say.

    Example:
        >>> as_case({"image": "scans/a01.nii.gz", "label": "labels/a01.nii.gz"}, domain="ankle").subject
        'a01'
    """
    if isinstance(item, Case):
        return item
    image, label = Path(item["image"]), item.get("label")
    name = str(item.get("name", case_id(image)))
    return Case(
        name,
        str(item.get("domain", domain)),
        image,
        None if label is None else Path(label),
        str(item.get("subject", name)),
        item.get("group"),
    )
