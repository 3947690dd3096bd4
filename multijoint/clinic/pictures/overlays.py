"""A segmentation drawn over its scan: three planes through the bones, as one picture."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from custom_components.domains import PLANES
from custom_components.io.geometry import canonical_spacing_mm, to_canonical
from custom_components.io.volumes import read_label, read_volume
from custom_components.system.files import write_atomically
from matplotlib import pyplot
from matplotlib.lines import Line2D

from multijoint.clinic.pictures.legend import read_legend
from multijoint.clinic.pictures.planes import bone_areas, find_planes, plane_edges, take_plane

__all__ = ["draw_overlay"]

_EDGES = (
    (0.01, 0.5, "left", "center"),
    (0.99, 0.5, "right", "center"),
    (0.5, 0.99, "center", "top"),
    (0.5, 0.01, "center", "bottom"),
)


def draw_overlay(output: Path, image: Path, segmentation: Path, *, reference: Path | None = None) -> None:
    """Draw axial, coronal and sagittal slices through the centres of the bones, with a contour a bone.

    Letters at the edges say which side of the patient is where: the right is at the left, as radiologists look at it.

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
    maps = [labels] if truth is None else [labels, truth]
    found = {int(value) for each in maps for value in np.unique(each)} - {0}
    legend = read_legend(segmentation, found)
    positions = find_planes(voxels.shape, *(bone_areas(each, found) for each in maps))
    low, high = np.percentile(voxels, [1, 99.5])

    figure, axes = pyplot.subplots(1, 3, figsize=(12, 4.6), facecolor="black")
    for plot, (plane, axis) in zip(axes, reversed(PLANES.items()), strict=True):
        position = positions[axis]
        size_mm = np.delete(spacing * voxels.shape, axis)
        extent = (0, size_mm[0], size_mm[1], 0)
        plot.imshow(take_plane(voxels, axis, position), cmap="gray", vmin=low, vmax=high, extent=extent)
        for value, (_, color) in legend.items():
            if truth is not None:
                _outline(plot, take_plane(truth, axis, position) == value, extent, color="white", width=2.4)
            _outline(plot, take_plane(labels, axis, position) == value, extent, color=color, width=1.3)
        for letter, (x, y, left_right, top_bottom) in zip(plane_edges(axis), _EDGES, strict=True):
            where = {"ha": left_right, "va": top_bottom, "transform": plot.transAxes}
            plot.text(x, y, letter, color="white", fontsize=9, **where)
        plot.set_title(plane, color="white", fontsize=11)
        plot.axis("off")
    handles = [Line2D([], [], color=entry.color, label=entry.name) for value, entry in legend.items() if value in found]
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


def _outline(plot: pyplot.Axes, mask: np.ndarray, extent: tuple[float, ...], *, color: str, width: float) -> None:
    if mask.any():
        # Voxel centres, with a margin so that a bone cut by the field of view is closed at the edge.
        rows, columns = mask.shape
        x = (np.arange(-1, columns + 1) + 0.5) * extent[1] / columns
        y = (np.arange(-1, rows + 1) + 0.5) * extent[2] / rows
        plot.contour(x, y, np.pad(mask, 1).astype(float), levels=[0.5], colors=[color], linewidths=[width])
