"""A segmentation drawn over its scan: three planes through the bones, as one picture."""

from __future__ import annotations

import io
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot
from matplotlib.lines import Line2D

from custom_components.containers import case_id
from custom_components.domains import PLANES
from custom_components.files import write_atomically
from custom_components.geometry import canonical_spacing_mm, to_canonical
from custom_components.palette import COLORS
from custom_components.volumes import read_label, read_volume

__all__ = ["COLORS", "draw_overlay"]


def draw_overlay(output: Path, image: Path, segmentation: Path, *, reference: Path | None = None) -> None:
    """Draw axial, coronal and sagittal slices, each where most of the bone is, with a contour a bone.

    Args:
        output: PNG to write.
        image: scan.
        segmentation: label map on the scan's grid; names come from the `.json` beside it, if there is one.
        reference: label map outlined in white.

    Raises:
        InputError: a file cannot be used, or grids differ.
    """
    scan = read_volume(image)
    voxels = to_canonical(scan.array, scan.affine)
    labels = to_canonical(read_label(segmentation, like=scan).array, scan.affine)
    truth = None if reference is None else to_canonical(read_label(reference, like=scan).array, scan.affine)
    spacing = np.asarray(canonical_spacing_mm(scan.affine))
    names = _names(segmentation)
    values = [int(value) for value in np.unique(labels if truth is None else np.stack([labels, truth])) if value]
    low, high = np.percentile(voxels, [1, 99.5])

    figure, axes = pyplot.subplots(1, 3, figsize=(12, 4.6), facecolor="black")
    for plot, (plane, axis) in zip(axes, reversed(PLANES.items()), strict=True):
        occupied = (labels if labels.any() or truth is None else truth) > 0
        position = int(occupied.sum(axis=tuple(k for k in range(3) if k != axis)).argmax())
        size_mm = np.delete(spacing * voxels.shape, axis)
        extent = (0, size_mm[0], 0, size_mm[1])
        plot.imshow(_slice(voxels, axis, position), cmap="gray", vmin=low, vmax=high, origin="lower", extent=extent)
        for index, value in enumerate(values):
            if truth is not None:
                _outline(plot, _slice(truth == value, axis, position), extent, color="white", width=2.4)
            _outline(
                plot, _slice(labels == value, axis, position), extent, color=COLORS[index % len(COLORS)], width=1.3
            )
        plot.set_title(plane, color="white", fontsize=11)
        plot.axis("off")
    handles = [
        Line2D([], [], color=COLORS[index % len(COLORS)], label=names.get(value, f"label {value}"))
        for index, value in enumerate(values)
    ]
    if truth is not None:
        handles.append(Line2D([], [], color="white", label="reference"))
    if handles:
        figure.legend(
            handles=handles, loc="lower center", ncol=len(handles), frameon=False, labelcolor="white", fontsize=11
        )
    figure.subplots_adjust(left=0.01, right=0.99, top=0.92, bottom=0.1, wspace=0.03)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, facecolor="black")
    pyplot.close(figure)
    write_atomically(output, buffer.getvalue())


def _slice(array: np.ndarray, axis: int, position: int) -> np.ndarray:
    """One slice with the first remaining axis to the right and the second upwards."""
    return np.take(array, position, axis=axis).T


def _outline(plot: pyplot.Axes, mask: np.ndarray, extent: tuple[float, ...], *, color: str, width: float) -> None:
    if mask.any():
        # Voxel centres, with a margin so that a bone cut by the field of view is closed at the edge.
        rows, columns = mask.shape
        x = (np.arange(-1, columns + 1) + 0.5) * extent[1] / columns
        y = (np.arange(-1, rows + 1) + 0.5) * extent[3] / rows
        plot.contour(x, y, np.pad(mask, 1).astype(float), levels=[0.5], colors=[color], linewidths=[width])


def _names(segmentation: Path) -> dict[int, str]:
    path = segmentation.with_name(f"{case_id(segmentation)}.json")
    if not path.is_file():
        return {}
    return {int(value): str(name) for value, name in json.loads(path.read_text())["labels"].items()}
