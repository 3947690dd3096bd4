"""Read and measure one case."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
from custom_components.data.cases import Case
from custom_components.domains import PLANES, Domain
from custom_components.errors import failure_of, show_path
from custom_components.io.geometry import canonical_spacing_mm, to_canonical, voxel_volume_ml
from custom_components.io.pictures import draw_planes, encode
from custom_components.io.volumes import Volume, on_grid, read_label, read_volume
from custom_components.system.terminal import count
from nibabel.affines import apply_affine
from scipy import ndimage

from multijoint.checks.checked_case import BoneMeasure, CheckedCase, Digests, no_array
from multijoint.checks.fingerprints import fingerprint
from multijoint.checks.measures import (
    count_values,
    edge_fits,
    find_quantum,
    hash_array,
    measure_bone,
    roughness,
    sample,
    shrink,
    slabs,
    unit,
)
from multijoint.checks.outlines import measure_outline
from multijoint.checks.placement import layer_sums

_THUMBNAIL = 24  # voxels a side of the small copy that near duplicates are found with
_PICTURE_SIZE = (640, 170)
_MOST_VALUES = 1000  # label values told apart
_LEAST_LABELLED = 100  # voxels; smaller label maps may be equal by chance


def examine(case: Case, domain: Domain) -> CheckedCase:
    """Read a case and measure it; errors become its `problems`."""
    with _collected_warnings() as remarks:
        try:
            image = read_volume(case.image)
        except Exception as error:
            label = () if case.label is None else _read_label(case.label)[1]
            return CheckedCase(case, ((_rule_of(case.image), failure_of(error)), *label))
        try:
            return _measure(case, domain, image, remarks)
        except Exception as error:
            text = f"{show_path(case.image)} could not be measured: {failure_of(error)}"
            return CheckedCase(case, (("unreadable", text),))


def _rule_of(path: Path) -> str:
    try:
        return "unreadable" if path.exists() else "missing-file"
    except (OSError, ValueError):  # a name that no file can have
        return "missing-file"


def _read_label(path: Path) -> tuple[Volume | None, list[tuple[str, str]]]:
    """The label map, or None and the problem that it has."""
    try:
        return read_label(path), []
    except Exception as error:
        return None, [(_rule_of(path), failure_of(error))]


@contextlib.contextmanager
def _collected_warnings() -> Iterator[list[str]]:
    """Collect the warnings of the reader, which otherwise reach the terminal."""
    found: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger(read_volume.__module__)
    propagated, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagated


def _measure(case: Case, domain: Domain, image: Volume, remarks: list[str]) -> CheckedCase:
    voxels, spacing = to_canonical(image.array, image.affine), canonical_spacing_mm(image.affine)
    classes, label_file, problems = (None, "", []) if case.label is None else _read_classes(case.label, domain, image)
    problems += _further_problems(case, image)
    _, between, thick = np.argsort(spacing).tolist()
    is_thick = spacing[thick] >= 1.5 * spacing[between]
    low, high = float(voxels.min()), float(voxels.max())
    some, steps = sample(voxels), roughness(voxels)
    levels = np.unique(some)
    first, middle, last = np.percentile(some, [1, 50, 99]).tolist()
    limits = (first, max(first, last))
    box = None if classes is None else ndimage.find_objects(classes > 0, max_label=1)[0]
    bones = None if classes is None or box is None else classes[box]
    labelled = bones is not None and int(np.count_nonzero(bones)) >= _LEAST_LABELLED
    return CheckedCase(
        case,
        tuple(problems),
        remarks=tuple(remarks),
        shape=image.array.shape,
        sizes=voxels.shape,
        spacing_mm=spacing,
        axes="".join(nib.aff2axcodes(image.affine)),
        centre_mm=tuple(apply_affine(image.affine, (np.array(image.array.shape) - 1) / 2).tolist()),
        thick_plane=next(plane for plane, axis in PLANES.items() if axis == thick) if is_thick else None,
        digests=Digests(
            image.digest,
            label_file,
            hash_array(voxels),
            hash_array(classes) if labelled and classes is not None else "",
            hash_array(bones) if labelled and bones is not None else "",
        ),
        thumbnail=unit(shrink(voxels, _THUMBNAIL)),
        bone_thumbnail=unit(shrink(voxels[box], _THUMBNAIL // 2)) if box is not None else no_array(),
        layout=no_array() if classes is None or box is None else _layout(classes, domain),
        percentiles=(low, first, middle, last, high),
        num_levels=min(len(levels), 1000),
        quantum=find_quantum(levels),
        lowest_share=float((some == low).mean()),
        contrast=_contrast(voxels, classes, first),
        roughness=float(steps.min(where=np.array(voxels.shape) > 1, initial=2.0)),
        fits=() if classes is None else edge_fits(voxels, classes, steps=steps, limits=limits),
        layers=no_array()
        if classes is None or box is None
        else layer_sums(voxels, classes, np.asarray(spacing), num_bones=len(domain.labels), limits=limits),
        peaks=fingerprint(voxels),
        bones={} if classes is None else _bones(voxels, classes, domain, np.asarray(spacing)),
        picture=_picture(voxels, classes, domain, spacing, limits=(first, last if last > first else high)),
    )


def _further_problems(case: Case, image: Volume) -> list[tuple[str, str]]:
    """What is wrong with the second and later channels of a case."""
    problems: list[tuple[str, str]] = []
    for path in case.further:
        try:
            channel = read_volume(path)
        except Exception as error:
            problems.append((_rule_of(path), failure_of(error)))
            continue
        try:
            on_grid(channel, image, kind="channel")
        except Exception as error:
            problems.append(("grid", failure_of(error)))
    return problems


def _read_classes(path: Path, domain: Domain, image: Volume) -> tuple[np.ndarray | None, str, list[tuple[str, str]]]:
    """Class indices in RAS+ order, or None; the digest of the file; and its problems."""
    label, problems = _read_label(path)
    if label is None:
        return None, "", problems
    try:
        label = on_grid(label, image)
    except Exception as error:
        return None, label.digest, [("grid", failure_of(error))]
    known, extra, shown = {0, *domain.labels}, dict[int, int](), show_path(path)
    table = np.zeros(257, np.uint8)
    table[list(domain.labels)] = range(1, domain.num_classes)
    classes = np.empty(label.array.shape, np.uint8)
    for part in slabs(label.array):
        values = label.array[part]
        classes[part] = table[np.where((values >= 0) & (values <= 255), values, 256)]
        for value, number in count_values(values):
            if value not in known and (value in extra or len(extra) < _MOST_VALUES):
                extra[value] = extra.get(value, 0) + number
    if extra:
        listed = ", ".join(f"{value} ({count(number, 'voxel')})" for value, number in sorted(extra.items())[:5])
        more = f" and {len(extra) - 5} more" if len(extra) > 5 else ""
        rule = f"label values of {shown} must be among {', '.join(map(str, sorted(known)))}"
        problems.append(("label-values", f"{rule}, got {listed}{more}; correct the labels or the manifest"))
    if not classes.any():
        text = f"label map {shown} must show a bone, got none; draw it, or leave the label out of the manifest"
        problems.append(("empty-label", text))
    return to_canonical(classes, label.affine), label.digest, problems


def _bones(voxels: np.ndarray, classes: np.ndarray, domain: Domain, spacing: np.ndarray) -> dict[str, BoneMeasure]:
    voxel_ml = voxel_volume_ml(np.diag(spacing))
    bones = {}
    boxes = ndimage.find_objects(classes, max_label=len(domain.labels))
    for index, (name, box) in enumerate(zip(domain.labels.values(), boxes, strict=True), start=1):
        if box is None:
            continue
        total, large, count, num_far, centre = measure_bone(classes[box] == index, spacing)
        x, y, z = ((centre + [side.start for side in box]) * spacing).tolist()
        at_edge = any(side.start == 0 or side.stop == size for side, size in zip(box, classes.shape, strict=True))
        large_ml = tuple(size * voxel_ml for size in large)
        outline = measure_outline(voxels, classes, index, box, spacing)
        bones[name] = BoneMeasure(index, total * voxel_ml, large_ml, count, num_far, total, (x, y, z), outline, at_edge)
    return bones


def _picture(
    voxels: np.ndarray,
    classes: np.ndarray | None,
    domain: Domain,
    spacing: tuple[float, float, float],
    *,
    limits: tuple[float, float],
) -> bytes:
    picture = draw_planes(
        np.zeros(voxels.shape, np.uint8) if classes is None else classes,
        spacing,
        size=_PICTURE_SIZE,
        names=dict.fromkeys(range(1, domain.num_classes), ""),
        voxels=voxels,
        limits=limits,
        ground="black",
    )
    return encode(picture, "JPEG", quality=80)


def _layout(classes: np.ndarray, domain: Domain) -> np.ndarray:
    return unit(np.stack([shrink(classes, _THUMBNAIL // 2, index=index) for index in range(1, domain.num_classes)]))


def _contrast(voxels: np.ndarray, classes: np.ndarray | None, low: float) -> float:
    if classes is None or not classes.any():
        return float("nan")
    overall = float(voxels.mean(dtype=np.float64)) - low
    return (float(voxels[classes > 0].mean(dtype=np.float64)) - low) / overall if overall > 0 else float("nan")
