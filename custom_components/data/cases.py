"""A case: one image with its label and subject."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from custom_components.domains import Domain
from custom_components.errors import InputError, show_path
from custom_components.io.formats import case_id, is_volume


@dataclass(frozen=True)
class Case:
    """One image with its label.

    Args:
        name: unique in its domain; usable as a file name.
        domain: name of the domain.
        image: NIfTI file; of several channels the first.
        label: NIfTI file on the same grid, or None if there is none.
        subject: the person, unique in the domain; several cases may show one person.
        group: free text, e.g. "healthy".
        further: files of the other channels of the image, in the order of `Domain.channels`.
    """

    name: str
    domain: str
    image: Path
    label: Path | None
    subject: str
    group: str | None = None
    further: tuple[Path, ...] = ()

    @property
    def images(self) -> tuple[Path, ...]:
        """The file of each channel."""
        return self.image, *self.further

    @property
    def scan(self) -> dict[str, Any]:
        """Its `image`, and `further` files if there are any, as an item of an inference data set has them."""
        return {"image": self.image} | ({"further": list(self.further)} if self.further else {})

    def absolute(self) -> Case:
        """The same with absolute paths."""
        image, *further = (path.absolute() for path in self.images)
        return replace(self, image=image, label=self.label and self.label.absolute(), further=tuple(further))


def as_case(item: Case | Mapping[str, Any], *, domain: str | None) -> Case:
    """A case from an item such as other tools make: `image` and `label`, and perhaps `name`, `subject`, `domain`.

    Of several channels, `image` is the list of their files. A `Case` is returned as it is; `domain` is that of an item
    that does not say.

    Example:
        >>> as_case({"image": "scans/a01.nii.gz", "label": "labels/a01.nii.gz"}, domain="ankle").subject
        'a01'
    """
    if isinstance(item, Case):
        return item
    given, label = item["image"], item.get("label")
    image, *further = map(Path, [given] if isinstance(given, str | Path) else given)
    name = str(item.get("name", case_id(image)))
    subject, domain = str(item.get("subject", name)), str(item.get("domain", domain))
    label = None if label is None else Path(label)
    return Case(name, domain, image, label, subject, item.get("group"), tuple(further))


def check_shows_bone(label: Path, *, found: bool) -> None:
    """Refuse a label map in which no bone of its domain was `found`: it would teach the network to find nothing.

    Raises:
        InputError: naming the file.
    """
    if not found:
        raise InputError(
            f"label map {show_path(label)} must show a bone, got none; draw it, or leave the label out of the manifest"
        )


def take_corrections(cases: Sequence[Case], folder: Path, *, where: str, strict: bool = True) -> tuple[Case, ...]:
    """The cases, each with its corrected label map if there is one; a case without a label gets one by it.

    A corrected label map is called as the case, as the case with `_seg` behind (as `multijoint segment` calls it) or as
    the label that it corrects; hidden files are left out. The folder may be missing.

    Raises:
        InputError: a file of `folder` belongs to no case, or two to one; unless `strict`, it is left out instead.
    """
    if not folder.is_dir():
        return tuple(cases)
    cases_of: dict[str, set[int]] = {}
    for index, case in enumerate(cases):
        for name in {case.name, f"{case.name}_seg", *([] if case.label is None else [case_id(case.label)])}:
            cases_of.setdefault(name, set()).add(index)
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if not is_volume(path):
            continue
        fits = cases_of.get(case_id(path), set())
        if len(fits) == 1 and next(iter(fits)) not in found:
            found[next(iter(fits))] = path
        elif strict:
            taken = "two files of one case" if len(fits) == 1 else f"{len(fits)} cases"
            raise InputError(
                f"corrected label map {show_path(path)} of {where} must belong to one case, got {taken}; "
                "name it <case>.nii.gz after the case, once"
            )
    return tuple(replace(case, label=found.get(index, case.label)) for index, case in enumerate(cases))


def in_planes(cases: Iterable[Case], domains: Sequence[Domain]) -> list[Case]:
    """The cases, and behind them each case again for every further plane of its data set."""
    own = list(cases)
    return own + [replace(case, domain=each.name) for each in domains for case in own if each.plane_of == case.domain]
