"""A segmentation drawn over its scan, with the legend of bones that meshes and pages share."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from custom_components.io.geometry import canonical_spacing_mm, to_canonical
from custom_components.io.pictures import REFERENCE_COLOR, bone_color, draw_planes, encode, grey_limits, write_text
from custom_components.io.records import read_names
from custom_components.io.volumes import read_label, read_volume
from custom_components.system.files import write_atomically
from PIL import Image, ImageDraw, ImageFont

_WIDTH, _HEIGHT = 1320, 460  # pixels, at most, of the planes
_TITLE, _LEGEND, _TEXT = 32, 46, 18
_HANDLE = 36  # length of a line in the legend


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


def draw_overlay(output: Path, image: Path, segmentation: Path, *, reference: Path | None = None) -> None:
    """Draw axial, coronal and sagittal slices through the centres of the bones, with a contour a bone.

    Letters at the edges say which side of the patient is where: the right is at the left, as radiologists look at it,
    and in sagittal slices the front.
    Names come from the `.json` next to the segmentation, if there is one; the reference is outlined in white.

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
        indices = np.zeros(labels.shape, np.uint8)  # places in the legend, which decide the colours
        for value, index in () if each is None else index_of.items():
            indices[each == value] = index
        maps.append(None if each is None else to_canonical(indices, scan.affine))
    assert maps[0] is not None
    planes = draw_planes(
        maps[0],
        canonical_spacing_mm(scan.affine),
        size=(_WIDTH, _HEIGHT),
        names={index_of[value]: "" for value in found},
        voxels=to_canonical(scan.array, scan.affine),
        limits=grey_limits(scan.array),
        reference=maps[1],
        ground="black",
        title_height=_TITLE,
    )
    picture = Image.new("RGB", (_WIDTH, planes.height + _LEGEND))
    picture.paste(planes, ((_WIDTH - planes.width) // 2, 0))
    entries = [(entry.name, entry.color) for value, entry in legend.items() if value in found]
    _draw_legend(picture, [*entries, *([] if truth is None else [("reference", REFERENCE_COLOR)])])
    write_atomically(Path(output), encode(picture, "PNG"))


def _draw_legend(picture: Image.Image, entries: list[tuple[str, str]]) -> None:
    """Write a line and a name an entry below the planes, in the middle, the letters smaller where many must fit."""
    size, gap = float(_TEXT), 1.2 * _TEXT
    room = _WIDTH - len(entries) * (_HANDLE + 2 * gap)
    text = sum(ImageFont.load_default(size).getlength(name) for name, _ in entries)
    size *= min(1.0, max(room, 0.2 * _WIDTH) / max(text, 1))
    widths = [ImageFont.load_default(size).getlength(name) for name, _ in entries]
    left = (_WIDTH - sum(widths) - len(entries) * (_HANDLE + 2 * gap) + gap) / 2
    draw, middle = ImageDraw.Draw(picture), picture.height - _LEGEND / 2
    for (name, color), width in zip(entries, widths, strict=True):
        draw.line([(left, middle), (left + _HANDLE, middle)], color, 3)
        write_text(draw, (left + _HANDLE + gap / 2, middle), name, "lm", size=size)
        left += _HANDLE + width + 2 * gap
