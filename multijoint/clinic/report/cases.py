"""One case of a report: its bones measured, scored and drawn, with notes for the reader."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from custom_components.domains import Domain
from custom_components.errors import InputError, explain, show_path
from custom_components.io.geometry import canonical_spacing_mm, to_canonical, voxel_volume_ml
from custom_components.io.pictures import draw_panels, encode, grey_limits, panel_sizes
from custom_components.io.planes import bone_areas
from custom_components.io.volumes import Volume, on_grid, read_label, read_volume
from custom_components.metrics.bone_scores import BoneScore, score_case
from custom_components.metrics.score_tables import score_rows
from PIL import Image

from multijoint.clinic.report.glossary import FLAGS_OF_SCANS, measured_by_flag
from multijoint.clinic.report.results import Result, to_number, without_folders

_TRUE = ("true", "1", "yes")
_SHOWN_SIZE = (960, 340)  # pixels, of the three planes side by side
_LARGE = 560  # pixels, of the longer side of a picture that was opened
_QUALITIES = (60, 40, 20, 10)
_MOST_BYTES = 13_000  # a picture, so that 500 cases stay under 30 MB, however noisy the scans


@dataclass(frozen=True)
class Picture:
    """An image as WebP, the size in pixels at which it is shown, which may be smaller than its own, and its title."""

    data: bytes
    width: int
    height: int
    title: str = ""

    @property
    def uri(self) -> str:
        """An address that holds the picture."""
        return f"data:image/webp;base64,{base64.b64encode(self.data).decode()}"


@dataclass(frozen=True)
class Sources:
    """Scans, references and tables, by case or by case and label value; see `report.results`."""

    scans: Mapping[str, Path] = field(default_factory=dict)
    references: Mapping[str, Path] = field(default_factory=dict)
    quality: Mapping[tuple[str, int], Mapping[str, str]] = field(default_factory=dict)
    bones: Mapping[tuple[str, int], Mapping[str, str]] = field(default_factory=dict)

    def reference(self, result: Result) -> Path | None:
        """The reference of a result, if there is one."""
        return self.references.get(f"{result.domain}/{result.case}") or self.references.get(result.case)


@dataclass(frozen=True)
class ReportedBone:
    """One bone of a case.

    Args:
        index: class index, which decides its colour.
        value: label value in the file.
        volume_ml: of its voxels; 0 if it is missing.
        confidence: expected Dice, 0..1; NaN without an estimate.
        calibrated: whether that was calibrated on validation exams.
        surface_mm2: NaN unless it was meshed.
        measured: what flags were raised for, by flag; see `glossary.measured_by_flag`.
    """

    index: int
    value: int
    name: str
    volume_ml: float
    confidence: float = math.nan
    calibrated: bool = True
    surface_mm2: float = math.nan
    flags: tuple[str, ...] = ()
    measured: Mapping[str, str] = field(default_factory=dict)
    score: BoneScore | None = None

    @property
    def named_flags(self) -> list[tuple[str, str]]:
        """Flags with the bone's name."""
        return [(flag, self.name) for flag in self.flags]


@dataclass(frozen=True)
class ReportedCase:
    """One case: its result and its findings.

    Args:
        result: of the scan; "failed" if its label map cannot be used.
        bones: in class order; none without a label map.
        pictures: a slice in each plane, to one scale; none without a label map.
        rows: of the table of scores, see `score_tables.score_rows`.
        side: of the split of the model's training, see `run.SIDES`; empty if unknown.
    """

    result: Result
    bones: tuple[ReportedBone, ...] = ()
    flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    rows: tuple[Mapping[str, Any], ...] = ()
    side: str = ""

    @property
    def case_flags(self) -> list[tuple[str, str]]:
        """Flags of the case as a whole, with an empty name."""
        return [(flag, "") for flag in self.flags]

    @property
    def all_flags(self) -> list[tuple[str, str]]:
        """Flags with the bones that they are of, empty for the case as a whole."""
        return self.case_flags + [flag for bone in self.bones for flag in bone.named_flags]


def examine_result(result: Result, sources: Sources) -> ReportedCase:
    """Read, measure, score and draw one case; notes tell which files cannot be used.

    The volumes are read here and forgotten, so that any number of cases takes the memory of one.
    """
    notes = list(result.notes)
    if result.label_map is None:
        return ReportedCase(result, notes=tuple(notes))
    try:
        volume = read_label(result.label_map)
        labels = result.labels or {int(value): f"label {value}" for value in np.unique(volume.array) if value}
        # measurements here do not depend on the plane
        domain = Domain(result.domain or "unknown", labels or {1: "any bone"}, "axial")
        classes = domain.encode(volume.array, source=show_path(result.label_map))
    except (InputError, OSError, MemoryError) as error:
        failed = replace(result, status="failed", cause=result.cause or _explain(error, result.label_map))
        return ReportedCase(failed, notes=tuple(notes))
    flags = list(result.flags)
    written = result.record.get("label_map_sha256")
    if written and written != volume.digest:
        flags.append("changed-since")
    if not result.record:
        notes.append("the label map has no record next to it: names of bones and what made it are unknown")

    scan = _read_scan(result, volume, sources, notes)
    reference = _read_reference(result, volume, domain, sources, notes)
    spacing_mm = volume.spacing_mm
    scores = [] if reference is None else score_case(classes, reference, domain=domain, spacing_mm=spacing_mm)
    rows = score_rows(scores, case=result.case, subject=result.case, domain=domain.name, spacing_mm=spacing_mm)
    bones = _bones(result, classes, volume, domain, scores, sources)
    flags += [flag for flag in FLAGS_OF_SCANS if any(flag in bone.flags for bone in bones)]
    bones = [replace(bone, flags=tuple(flag for flag in bone.flags if flag not in FLAGS_OF_SCANS)) for bone in bones]
    pictures = _draw(classes, volume, domain, scan, reference)
    return ReportedCase(result, tuple(bones), tuple(flags), tuple(notes), pictures, tuple(rows))


def _draw(
    classes: np.ndarray, volume: Volume, domain: Domain, scan: Volume | None, reference: np.ndarray | None
) -> tuple[Picture, ...]:
    """Slices in the planes, finer than they are shown, for those who open them."""
    canonical = to_canonical(classes, volume.affine)
    sizes = panel_sizes(canonical.shape, canonical_spacing_mm(volume.affine), *_SHOWN_SIZE)
    panels = draw_panels(
        canonical,
        sizes,
        names={index: str(value) for index, value in enumerate(domain.labels, start=1)},
        voxels=None if scan is None else to_canonical(scan.array, scan.affine),
        limits=(0.0, 1.0) if scan is None else grey_limits(scan.array),
        reference=None if reference is None else to_canonical(reference, volume.affine),
        long_side=_LARGE,
    )
    return tuple(Picture(encode_small(panel), *sizes[plane], title=plane) for plane, panel in panels.items())


def _read_scan(result: Result, volume: Volume, sources: Sources, notes: list[str]) -> Volume | None:
    path = sources.scans.get(result.case)
    if path is None:
        notes.append("the scan was not found: the label map alone is drawn")
        return None
    try:
        scan = read_volume(path)
        on_grid(volume, scan)
    except (InputError, OSError, MemoryError) as error:
        notes.append(f"the scan cannot be used, the label map alone is drawn: {_explain(error, path)}")
        return None
    segmented = result.record.get("image_sha256")
    if segmented and scan.digest and segmented != scan.digest:
        notes.append("the scan shown is not byte for byte the one that was segmented")
    return scan


def _read_reference(
    result: Result, volume: Volume, domain: Domain, sources: Sources, notes: list[str]
) -> np.ndarray | None:
    path = sources.reference(result)
    if path is None:
        if sources.references:
            notes.append("no reference was found")
        return None
    try:
        return domain.encode(read_label(path, like=volume).array, source=f"reference {show_path(path)}")
    except (InputError, OSError, MemoryError) as error:
        notes.append(f"the reference cannot be used, so there are no scores: {_explain(error, path)}")
        return None


def _bones(
    result: Result, classes: np.ndarray, volume: Volume, domain: Domain, scores: list[BoneScore], sources: Sources
) -> list[ReportedBone]:
    areas = bone_areas(classes, range(1, domain.num_classes))
    voxel_ml = voxel_volume_ml(volume.affine)
    saved = result.record.get("quality")
    known = {bone.get("label"): bone for bone in saved if isinstance(bone, Mapping)} if isinstance(saved, list) else {}
    bones = []
    for index, (value, name) in enumerate(domain.labels.items(), start=1):
        quality = sources.quality.get((result.case, value), {})
        mesh = sources.bones.get((result.case, value), {})
        score = scores[index - 1] if scores else None
        num_voxels = int(areas[index][0].sum())
        flags = dict.fromkeys(flag.strip() for flag in quality.get("flags", "").split(";") if flag.strip())
        flags.pop("missing", None)  # the label map itself says whether it is, also after a correction
        if not num_voxels:
            flags = {"missing": None, **flags}
        if any(row.get("cut", "").lower() in _TRUE for row in (quality, mesh)):
            flags["cut-by-field-of-view"] = None
        if score is not None and score.status in ("missed", "false_find"):
            flags[score.status.replace("_", "-")] = None
        calibrated = to_number(quality.get("confidence"))
        confidence = to_number(quality.get("expected_dice")) if math.isnan(calibrated) else calibrated
        bones.append(
            ReportedBone(
                index=index,
                value=value,
                name=name,
                volume_ml=num_voxels * voxel_ml,
                confidence=confidence,
                calibrated=not math.isnan(calibrated) or math.isnan(confidence),
                surface_mm2=to_number(mesh.get("surface_mm2")),
                flags=tuple(flags),
                measured=measured_by_flag(
                    quality,
                    confidence=confidence,
                    volume_ml=num_voxels * voxel_ml,
                    training_ml=_range(known.get(value, {}).get("training_volume_ml")),
                ),
                score=score,
            )
        )
    return bones


def _range(value: Any) -> tuple[float, float] | None:
    """Two numbers of a record, which may hold anything."""
    if isinstance(value, list) and len(value) == 2 and all(isinstance(each, int | float) for each in value):
        return value[0], value[1]
    return None


def encode_small(picture: Image.Image) -> bytes:
    """WebP of the first quality that is small enough, of half the size if none is."""
    for quality in _QUALITIES:
        data = encode(picture, "WEBP", quality=quality, method=2)
        if len(data) <= _MOST_BYTES:
            return data
    return encode_small(picture.reduce(2))


def _explain(error: BaseException, path: Path) -> str:
    return without_folders(explain(error), str(path))
