"""A segmentation drawn over its scan, with the legend of bones that meshes and pages share."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from custom_components.domains import COLORS, bone_color
from custom_components.io.geometry import canonical_spacing_mm, to_canonical
from custom_components.io.pictures import REFERENCE_COLOR, draw_planes, encode, grey_limits, write_text
from custom_components.io.records import read_names
from custom_components.io.volumes import read_label, read_volume
from custom_components.metrics.bone_scores import dice_coefficient
from custom_components.system.files import write_atomically
from PIL import Image, ImageDraw, ImageFont

_WIDTH, _HEIGHT = 1320, 460  # pixels, at most, of the planes
_TITLE, _LEGEND, _TEXT = 32, 46, 18
_HANDLE, _SPACE, _ROW = 36, 22, 30  # legend: length of a line, space around a name, height of a further row


class LegendEntry(NamedTuple):
    """How a bone is called and drawn."""

    name: str
    color: str


def read_legend(segmentation: Path, values: Iterable[int] = ()) -> dict[int, LegendEntry]:
    """Names and colours of a label map's bones, by label value.

    A bone keeps its colour whether or not the others are in the map: first come those that the record names, in its
    order, then other values in theirs. The record is the `.json` next to the label map, if there is one; `values` must
    be in the legend, named or not.

    Raises:
        InputError: the `.json` cannot be used.
    """
    names = read_names(segmentation)
    order = [*names, *sorted(set(values) - names.keys())]
    return {
        value: LegendEntry(names.get(value, f"label {value}"), bone_color(place))
        for place, value in enumerate(order, 1)
    }


def draw_overlay(output: Path, image: Path, segmentation: Path, *, reference: Path | None = None) -> dict[str, float]:
    """Draw axial, coronal and sagittal slices through the centres of the bones, with a contour a bone.

    Letters at the edges say which side of the patient is where: the right is at the left, as radiologists look at it,
    and in sagittal slices the front. Names come from the `.json` next to the segmentation, if there is one; the
    reference is outlined in white. More bones than there are colours have numbers, their label values.

    Returns:
        Dice of each bone with the reference, 0..1, by name; empty without a reference.

    Raises:
        InputError: a file cannot be used, or grids differ.
    """
    scan = read_volume(Path(image))
    labels = read_label(Path(segmentation), like=scan).array
    truth = None if reference is None else read_label(Path(reference), like=scan).array
    found = {int(value) for each in (labels, truth) if each is not None for value in np.unique(each)} - {0}
    legend = read_legend(Path(segmentation), found)
    index_of = {value: index for index, value in enumerate(legend, start=1)}
    maps: list[np.ndarray | None] = []
    for each in (labels, truth):
        # Places in the legend, which decide the colours.
        indices = np.zeros(labels.shape, np.min_scalar_type(len(legend)))
        for value, index in () if each is None else index_of.items():
            indices[each == value] = index
        maps.append(None if each is None else to_canonical(indices, scan.affine))
    assert maps[0] is not None
    is_numbered = len(found) > len(COLORS)  # then colours come again, and numbers tell the bones apart
    planes = draw_planes(
        maps[0],
        canonical_spacing_mm(scan.affine),
        size=(_WIDTH, _HEIGHT),
        names={index_of[value]: str(value) if is_numbered else "" for value in found},
        voxels=to_canonical(scan.array, scan.affine),
        limits=grey_limits(scan.array),
        reference=maps[1],
        ground="black",
        title_height=_TITLE,
    )
    entries = [
        (f"{value} {entry.name}" if is_numbered else entry.name, entry.color)
        for value, entry in legend.items()
        if value in found
    ]
    rows = _legend_rows([*entries, *([] if truth is None else [("reference", REFERENCE_COLOR)])])
    picture = Image.new("RGB", (_WIDTH, planes.height + _LEGEND + _ROW * max(0, len(rows) - 1)))
    picture.paste(planes, ((_WIDTH - planes.width) // 2, 0))
    for number, row in enumerate(rows):
        _draw_row(ImageDraw.Draw(picture), row, planes.height + _LEGEND / 2 + number * _ROW)
    write_atomically(Path(output), encode(picture, "PNG"))
    if truth is None:
        return {}
    return {legend[value].name: dice_coefficient(labels == value, truth == value) for value in sorted(found)}


def _legend_rows(entries: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """Names and colours in as many rows as the width asks for."""
    rows: list[list[tuple[str, str]]] = []
    for entry in entries:
        if not rows or _row_width([*rows[-1], entry]) > _WIDTH:
            rows.append([])
        rows[-1].append(entry)
    return rows


def _row_width(row: list[tuple[str, str]]) -> float:
    return sum(_HANDLE + 2 * _SPACE + _text_width(name) for name, _ in row)


def _text_width(name: str) -> float:
    return float(ImageFont.load_default(_TEXT).getlength(name))


def _draw_row(draw: ImageDraw.ImageDraw, row: list[tuple[str, str]], middle: float) -> None:
    """Draw a line and a name an entry, in the middle of the width; a name wider than that is smaller."""
    left = max(0.0, (_WIDTH - _row_width(row) + _SPACE) / 2)
    for name, color in row:
        width = _text_width(name)
        size = _TEXT * min(1.0, (_WIDTH - _HANDLE - 2 * _SPACE) / max(width, 1))
        draw.line([(left, middle), (left + _HANDLE, middle)], color, 3)
        write_text(draw, (left + _HANDLE + _SPACE / 2, middle), name, "lm", size=size)
        left += _HANDLE + width + 2 * _SPACE
