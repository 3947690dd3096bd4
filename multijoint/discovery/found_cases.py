"""Cases of a folder as read: subject, label values, spacing and acquisition plane."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from custom_components.domains import PLANES
from custom_components.errors import InputError, explain
from custom_components.io.formats import case_id
from custom_components.io.geometry import canonical_spacing_mm, orientation_of, voxel_volume_ml
from custom_components.io.volumes import read_grid, read_label
from custom_components.system.terminal import align_columns, count, track

from multijoint.discovery.pairing import Pair

_THICK = 1.2  # times as long along one axis: such a voxel shows the acquisition plane
_AROUND = re.compile(r"(?i)[_\-. ]+(left|right|lt|rt|l|r|ses-?\w+|visit-?\d+|v\d+|tp-?\d+|pre|post|baseline|followup)$")


@dataclass(frozen=True)
class FoundCase:
    """One image with a label, as read.

    Args:
        name: unique in the folder.
        subject: the person, guessed from names.
        image: path.
        label: path of the label in use.
        original: path of the label that a correction replaces, or `label` itself; `None` if there is no such label.
        values: label value -> number of voxels.
        spacing_mm: in RAS+ order.
        normal: axis in RAS+ order along which voxels are longest, or else the last axis of the file.
        thick: whether voxels are clearly longer along `normal`.
        voxel_ml: volume of a voxel.
    """

    name: str
    subject: str
    image: Path
    label: Path
    original: Path | None
    values: Mapping[int, int]
    spacing_mm: tuple[float, float, float]
    normal: int
    thick: bool
    voxel_ml: float


@dataclass(frozen=True)
class FoundDataset:
    """The data set of a folder, as `multijoint init` prints it and writes it to a manifest.

    Args:
        layout: of the folder, in words.
        cases: those that can be used.
        unused: file name -> reason why it belongs to no case.
        names: label value -> name.
        names_from: file that the names come from, or "".
        no_bones: label value that the manifest leaves out -> reason.
        notes: what the file with names says that was not understood as names of bones.
        plane: acquisition plane.
        plane_from: reason for the plane, in words.
    """

    layout: str
    cases: tuple[FoundCase, ...]
    unused: Mapping[str, str]
    names: Mapping[int, str]
    names_from: str
    plane: str
    plane_from: str
    no_bones: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def name_cases(pairs: Sequence[Pair]) -> list[tuple[str, str]]:
    """Name and subject of each pair.

    The name is the file name of the image without its channel, with the folders if file names repeat. The subject is
    that of BIDS, or else the name without a side or a visit at its end.

    Example:
        >>> pairs = [Pair(f"{name}.nii.gz", None, None, (name,)) for name in ("a01_left", "a01_right", "b")]
        >>> name_cases(pairs)
        [('a01_left', 'a01'), ('a01_right', 'a01'), ('b', 'b')]
    """
    stems = [case_id(pair.image).removesuffix("_0000") for pair in pairs]
    counts = Counter(stem.lower() for stem in stems)
    unique = all(number == 1 for number in counts.values())
    names = stems if unique else ["_".join(pair.key) or stem for pair, stem in zip(pairs, stems, strict=True)]
    seen: Counter[str] = Counter()
    found = []
    for pair, name in zip(pairs, names, strict=True):
        seen[name.lower()] += 1
        own = name if seen[name.lower()] == 1 else f"{name}-{seen[name.lower()]}"
        bids = re.search(r"(?:^|/)sub-([A-Za-z0-9]+)", pair.image)
        subject = bids[1] if bids else own
        while not bids and _AROUND.search(subject):
            subject = _AROUND.sub("", subject)
        found.append((own, subject))
    return found


def read_cases(folder: Path, pairs: Sequence[Pair], unused: dict[str, str]) -> list[FoundCase]:
    """The pairs below a folder, with the header of each image and the label map read; `unused` gets those that fail."""
    cases = []
    for pair, (name, subject) in track(list(zip(pairs, name_cases(pairs), strict=True)), "cases"):
        used = pair.correction or pair.label
        original = None if pair.label is None else folder / pair.label
        assert used is not None  # a pair has one or the other
        try:
            cases.append(_read(name, subject, folder / pair.image, folder / used, original))
        except (InputError, OSError) as error:
            unused[pair.image] = explain(error)
    return cases


def _read(name: str, subject: str, image: Path, label: Path, original: Path | None) -> FoundCase:
    affine = read_grid(image)[1]
    values, counts = np.unique(read_label(label).array, return_counts=True)
    spacing = canonical_spacing_mm(affine)
    second, longest = sorted(spacing)[1:]
    thick = longest >= _THICK * second
    normal = int(np.argmax(spacing)) if thick else int(orientation_of(affine)[2, 0])
    found = {int(value): int(number) for value, number in zip(values, counts, strict=True) if value}
    return FoundCase(name, subject, image, label, original, found, spacing, normal, thick, voxel_volume_ml(affine))


def guess_plane(cases: Sequence[FoundCase]) -> tuple[str, str]:
    """The acquisition plane of most cases, and the reason in words."""
    told = [case for case in cases if case.thick] or list(cases)
    [(axis, number)] = Counter(case.normal for case in told).most_common(1)
    name = next(plane for plane, normal in PLANES.items() if normal == axis)
    if told[0].thick:
        return name, f"slices are thickest along its normal in {number} of {count(len(cases), 'case')}"
    return name, "a guess: voxels are nearly as long as wide, so the file's last axis counts; --plane says otherwise"


def format_dataset(found: FoundDataset) -> str:
    """A data set as a short table of plain text."""
    subjects = len({case.subject for case in found.cases})
    corrected = sum(case.label != case.original for case in found.cases)
    rows = [("layout", found.layout)]
    rows += [("cases", f"{len(found.cases)} with a label, {count(subjects, 'subject')}")]
    if corrected:
        rows += [("corrected", f"{corrected} of them: the corrected label map counts")]
    for value, name in found.names.items():
        having = [case for case in found.cases if value in case.values]
        mean = float(np.mean([case.values[value] * case.voxel_ml for case in having]))
        where = f"in {len(having)} of {count(len(found.cases), 'case')}"
        rows += [(f"label {value}", f"{name}, {where}, {mean:.3g} ml on average")]
    rows += [("no bone", f"value {value}: {reason}") for value, reason in found.no_bones.items()]
    rows += [("names", f"from {found.names_from}" if found.names_from else "made up: rename them in the manifest")]
    rows += [("names", note) for note in found.notes]
    spacings = np.array([case.spacing_mm for case in found.cases])
    middle = _sizes(np.median(spacings, axis=0))
    low, high = spacings.min(axis=0), spacings.max(axis=0)
    spread = "all cases" if np.allclose(low, high, rtol=0.01) else f"median; from {_sizes(low)} to {_sizes(high)}"
    rows += [("spacing", f"{middle} mm to the right, to the front, upwards ({spread})")]
    rows += [("plane", f"{found.plane} ({found.plane_from})")]
    reasons: dict[str, list[str]] = {}
    for name, reason in found.unused.items():
        reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
        rows += [("not used", f"{len(names)}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}: {reason}")]
    return "\n".join(align_columns(rows))


def _sizes(spacing: np.ndarray) -> str:
    return " x ".join(f"{size:.3g}" for size in spacing)
