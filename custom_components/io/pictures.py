"""Slices as pictures: grey values under the contour of each bone, one plane alone or three side by side.

This module lies in the components because the log of a training draws slices, and so do the application's checks,
overlays and reports.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np
from custom_components.domains import PLANES, bone_color
from custom_components.io.planes import bone_areas, find_planes, plane_edges, take_plane
from PIL import Image, ImageColor, ImageDraw, ImageFont
from skimage.measure import find_contours

REFERENCE_COLOR, RIM_COLOR = "#FFFFFF", "#101010"
"""Of the outline of a reference, and of the rim around each outline, which shows it on bright marrow too."""

_FINER = 2  # everything is drawn that many times larger and then reduced, so that lines come out smooth
_LINE, _REFERENCE_LINE, _RIM = 2.0, 4.5, 0.8
_DIMMED = 0.4  # brightness of a bone's area where no scan lies under it
_GAP = 8
_FULL_HEIGHT = 340  # pixels; letters are smaller in lower pictures
_FINEST_TEXT = 2.5  # letters of small planes of tall volumes would else cover the bones
_ENOUGH_VOXELS = 200_000


def grey_limits(voxels: np.ndarray) -> tuple[float, float]:
    """Intensities to show as black and as white: the 1 % and 99.5 % percentiles, of a large array estimated.

    Example:
        >>> grey_limits(np.arange(201.0))
        (2.0, 199.0)
    """
    flat = voxels.ravel(order="K")
    low, high = np.percentile(flat[:: max(1, flat.size // _ENOUGH_VOXELS)], [1, 99.5])
    return float(low), float(high)


def find_outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Closed lines around a mask, through the middle between its voxels and the others.

    Shape:
        mask (rows, columns); each line (N, 2), column and row in voxels from the outer corner of the first voxel.

    Example:
        >>> [line.round(1).tolist() for line in find_outlines(np.ones((1, 1), bool))]
        [[[0.5, 1.0], [0.0, 0.5], [0.5, 0.0], [1.0, 0.5], [0.5, 1.0]]]
    """
    # The margin closes a bone that the field of view cuts. It moves every index by one, and an index is the centre of
    # its voxel, half a voxel from the corner: together half a voxel too much.
    return [line[:, ::-1] - 0.5 for line in find_contours(np.pad(mask, 1).astype(np.float32), 0.5)]


def draw_plane(
    image: np.ndarray | None,
    classes: np.ndarray,
    *,
    size: tuple[int, int],
    limits: tuple[float, float] = (0.0, 1.0),
    reference: np.ndarray | None = None,
    names: Mapping[int, str] | None = None,
    edges: Sequence[str] = (),
    text_scale: float = 1.0,
    line_scale: float = 1.0,
) -> Image.Image:
    """Draw one slice with the outline of each class in its colour, over that of the reference in white, in dark rims.

    Without an image, classes (0 is background) are dimmed areas on black. The size is the picture's width and height in
    pixels and need not have the array's proportions; `limits` are the intensities drawn black and white; `names` are
    letters on a class, `edges` those at the left, right, top and bottom; a `text_scale` and a `line_scale` of 1 suit
    340 pixels.

    Shape:
        image, classes and reference (rows from the top, columns from the left).
    """
    large = (size[0] * _FINER, size[1] * _FINER)
    if image is None:
        palette = np.array([(0, 0, 0), *(ImageColor.getrgb(bone_color(index)) for index in range(1, 256))]) * _DIMMED
        picture = Image.fromarray(palette.astype(np.uint8)[classes]).resize(large, Image.Resampling.NEAREST)
    else:
        low, high = limits
        grey = (np.clip((image - low) / max(high - low, 1e-12), 0, 1) * 255).astype(np.uint8)
        picture = Image.fromarray(grey).resize(large, Image.Resampling.BILINEAR).convert("RGB")
    draw = ImageDraw.Draw(picture)
    step = np.array(large) / classes.shape[::-1]
    outlines: list[tuple[list[tuple[float, ...]], str, float]] = []
    for drawn, width in ((reference, _REFERENCE_LINE), (classes, _LINE)):
        for index in () if drawn is None else np.unique(drawn[drawn > 0]).tolist():
            color = REFERENCE_COLOR if drawn is reference else bone_color(index)
            lines = ([tuple(point) for point in (line * step).tolist()] for line in find_outlines(drawn == index))
            outlines += [(line, color, width) for line in lines]
    for rim in (_RIM, 0.0):  # all rims lie below all lines
        for line, color, width in outlines:
            thickness = round((width + 2 * rim) * _FINER * line_scale)
            draw.line(line, RIM_COLOR if rim else color, max(1, thickness), "curve")
    for index, name in (names or {}).items():
        where = np.argwhere(classes == index)
        if len(where) and name:
            # The voxel nearest to the middle: the middle itself may lie outside a bent bone.
            nearest = where[((where - where.mean(axis=0)) ** 2).sum(axis=1).argmin()]
            x, y = ((nearest[::-1] + 0.5) * step).tolist()
            write_text(draw, (x, y), name, "mm", size=18 * _FINER * text_scale, color=bone_color(index))
    across, down = large
    places = [(6 * _FINER, down / 2), (across - 6 * _FINER, down / 2), (across / 2, 4), (across / 2, down - 4)]
    for letter, place, anchor in zip(edges, places, ("lm", "rm", "ma", "md"), strict=False):
        write_text(draw, place, letter, anchor, size=16 * _FINER * text_scale)
    return picture.reduce(_FINER)


def draw_planes(
    classes: np.ndarray,
    spacing_mm: tuple[float, float, float],
    *,
    size: tuple[int, int],
    names: Mapping[int, str],
    voxels: np.ndarray | None = None,
    limits: tuple[float, float] = (0.0, 1.0),
    reference: np.ndarray | None = None,
    ground: str = "#484848",
    title_height: int = 0,
) -> Image.Image:
    """Draw an axial, a coronal and a sagittal slice through the bones side by side, all to one scale.

    The patient's right, or front, is at the left. The planes go through the bones of `names`, whose letters may be
    empty. The size is the width and height in pixels, at most; `ground` is the colour around the planes, and
    `title_height` the pixels above them for their names, 0 for no names. For the rest see `draw_plane`.

    Shape:
        classes, voxels and reference (X, Y, Z) in RAS+ order.
    """
    sizes = panel_sizes(classes.shape, spacing_mm, size[0], size[1] - title_height)
    panels = draw_panels(
        classes,
        sizes,
        names=names,
        voxels=voxels,
        limits=limits,
        reference=reference,
        text_scale=min(1.0, size[1] / _FULL_HEIGHT),
    )
    width = sum(width for width, _ in sizes.values()) + _GAP * (len(sizes) - 1)
    height = max(height for _, height in sizes.values())
    sheet = Image.new("RGB", (width, height + title_height), ground)
    left = 0
    for plane, panel in panels.items():
        top = title_height + (height - panel.height) // 2
        sheet.paste(panel, (left, top))
        if title_height:
            size_pixels = 0.6 * title_height
            size_pixels *= min(1.0, panel.width / ImageFont.load_default(size_pixels).getlength(plane))
            write_text(ImageDraw.Draw(sheet), (left + panel.width / 2, top - 6), plane, "md", size=size_pixels)
        left += panel.width + _GAP
    return sheet


def draw_panels(
    classes: np.ndarray,
    sizes: Mapping[str, tuple[int, int]],
    *,
    names: Mapping[int, str],
    voxels: np.ndarray | None = None,
    limits: tuple[float, float] = (0.0, 1.0),
    reference: np.ndarray | None = None,
    text_scale: float = 1.0,
    long_side: int | None = None,
) -> dict[str, Image.Image]:
    """Draw a slice in each plane of `sizes`, its width and height in pixels, through the bones of `names`.

    With a `long_side` each is drawn finer, with lines and letters to match, so that its longer side has so many pixels
    at least. For the rest see `draw_planes`.
    """
    maps = [classes] if reference is None else [classes, reference]
    positions = find_planes(classes.shape, *(bone_areas(each, names) for each in maps))
    panels = {}
    for plane, size in sizes.items():
        axis, finer = PLANES[plane], max(1.0, (long_side or 0) / max(size))
        shown, scan, truth = (
            None if each is None else take_plane(each, axis, positions[axis]) for each in (classes, voxels, reference)
        )
        assert shown is not None
        panels[plane] = draw_plane(
            scan,
            shown,
            size=(round(size[0] * finer), round(size[1] * finer)),
            limits=limits,
            reference=truth,
            names=names,
            edges=plane_edges(axis),
            text_scale=text_scale * min(finer, _FINEST_TEXT),
            line_scale=min(finer, _FINEST_TEXT),
        )
    return panels


def write_text(
    draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, anchor: str, *, size: float, color: str = "white"
) -> None:
    """Write text with a dark rim, readable on any ground; place (x, y) and size in pixels, the anchor as Pillow's."""
    font = ImageFont.load_default(size)
    if not text.isascii():  # the font that comes with Pillow has no other letters
        try:
            font = ImageFont.truetype("DejaVuSans.ttf", size)
        except OSError:  # not installed: write them without accents
            text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode() or "?"
    draw.text(place, text, color, font, anchor, stroke_width=max(1, round(size / 18)), stroke_fill="black")


def encode(picture: Image.Image, kind: str, **options: int) -> bytes:
    """The bytes of a picture file; the kind is Pillow's name of a format, such as "PNG", the options are its own."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def panel_sizes(
    shape: tuple[int, ...], spacing_mm: tuple[float, float, float], width: int, height: int
) -> dict[str, tuple[int, int]]:
    """Plane, in the order they are drawn -> its width and height in pixels, side by side to one scale.

    Example:
        >>> panel_sizes((60, 60, 20), (1.0, 1.0, 1.5), 376, 340)
        {'axial': (120, 120), 'coronal': (120, 60), 'sagittal': (120, 60)}
    """
    sides_mm = {
        plane: tuple(shape[k] * spacing_mm[k] for k in range(3) if k != axis)
        for plane, axis in reversed(PLANES.items())
    }
    wide = sum(across for across, _ in sides_mm.values())
    scale = min((width - _GAP * (len(sides_mm) - 1)) / wide, height / max(high for _, high in sides_mm.values()))
    return {plane: (max(8, round(w * scale)), max(8, round(h * scale))) for plane, (w, h) in sides_mm.items()}
