"""The picture of a case in a report: three planes through its bones in one small image."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from custom_components.domains import COLORS, PLANES
from PIL import Image, ImageColor, ImageDraw, ImageFont
from skimage.measure import find_contours

from multijoint.clinic.pictures.planes import bone_areas, find_planes, plane_edges, take_plane

__all__ = ["Picture", "draw_picture"]

_WIDTH, _HEIGHT = 960, 340  # pixels, at most
_GAP = 8
_GREY = (72, 72, 72)  # around the planes
_FINER = 2  # drawn that many times larger, so that lines come out smooth
_LINE, _REFERENCE_LINE = 2, 4.5
_DIMMED = 0.4  # brightness of a bone's area where no scan lies under it
_QUALITIES = (72, 50, 30, 10)
_MOST_BYTES = 40_000  # so that 500 cases stay under 30 MB, however noisy the scans


@dataclass(frozen=True)
class Picture:
    """An image as WebP.

    Args:
        data: the file.
        width: in pixels.
        height: in pixels.
    """

    data: bytes
    width: int
    height: int


def draw_picture(
    classes: np.ndarray,
    spacing_mm: tuple[float, float, float],
    *,
    names: Mapping[int, str],
    voxels: np.ndarray | None = None,
    limits: tuple[float, float] = (0.0, 1.0),
    reference: np.ndarray | None = None,
) -> Picture:
    """Draw axial, coronal and sagittal slices side by side, all to one scale, a contour and a number a bone.

    Without voxels the bones are areas on black. The patient's right is at the left.

    Args:
        classes: class indices in RAS+ order, (X, Y, Z).
        spacing_mm: voxel size along the axes.
        names: class index -> what stands beside the bone, a few letters.
        voxels: the scan, likewise.
        limits: intensities drawn black and white.
        reference: class indices that are outlined in white.
    """
    maps = [classes] if reference is None else [classes, reference]
    positions = find_planes(classes.shape, *(bone_areas(each, names) for each in maps))
    sizes = _sizes(classes.shape, spacing_mm)
    width = sum(width for width, _ in sizes.values()) + _GAP * (len(sizes) - 1)
    height = max(height for _, height in sizes.values())
    sheet = Image.new("RGB", (width * _FINER, height * _FINER), _GREY)
    left = 0
    for axis, size in sizes.items():
        plane = _Plane(axis, positions[axis], (size[0] * _FINER, size[1] * _FINER))
        panel = plane.background(voxels, classes, limits)
        draw = ImageDraw.Draw(panel)
        if reference is not None:
            for index in names:
                plane.outline(draw, reference, index, "white", _REFERENCE_LINE)
        for index in names:
            plane.outline(draw, classes, index, _color(index), _LINE)
        for index, name in names.items():
            plane.name(draw, classes, index, name)
        plane.letters(draw)
        sheet.paste(panel, (left * _FINER, (height - size[1]) * _FINER // 2))
        left += size[0] + _GAP
    return Picture(_encode(sheet.reduce(_FINER)), width, height)


def _encode(picture: Image.Image) -> bytes:
    """WebP of the first quality that is small enough, or of the last."""
    data = b""
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        picture.save(buffer, "WEBP", quality=quality, method=4)
        data = buffer.getvalue()
        if len(data) <= _MOST_BYTES:
            break
    return data


def _sizes(shape: tuple[int, ...], spacing_mm: tuple[float, float, float]) -> dict[int, tuple[int, int]]:
    """Axis of each plane, in the order they are drawn -> its width and height in pixels."""
    sides_mm = {
        axis: tuple(shape[k] * spacing_mm[k] for k in range(3) if k != axis) for axis in reversed(PLANES.values())
    }
    wide = sum(width for width, _ in sides_mm.values())
    scale = min((_WIDTH - _GAP * (len(sides_mm) - 1)) / wide, _HEIGHT / max(height for _, height in sides_mm.values()))
    return {axis: (max(8, round(w * scale)), max(8, round(h * scale))) for axis, (w, h) in sides_mm.items()}


@dataclass(frozen=True)
class _Plane:
    """One slice and how large it is drawn."""

    axis: int
    position: int
    size: tuple[int, int]

    def background(self, voxels: np.ndarray | None, classes: np.ndarray, limits: tuple[float, float]) -> Image.Image:
        if voxels is None:
            palette = np.array([(0, 0, 0), *(ImageColor.getrgb(_color(k)) for k in range(1, 256))]) * _DIMMED
            areas = palette.astype(np.uint8)[take_plane(classes, self.axis, self.position)]
            return Image.fromarray(areas).resize(self.size, Image.Resampling.NEAREST)
        low, high = limits
        plane = take_plane(voxels, self.axis, self.position)
        grey = (np.clip((plane - low) / max(high - low, 1e-12), 0, 1) * 255).astype(np.uint8)
        return Image.fromarray(grey).resize(self.size, Image.Resampling.BILINEAR).convert("RGB")

    def outline(self, draw: ImageDraw.ImageDraw, classes: np.ndarray, index: int, color: str, width: float) -> None:
        plane = take_plane(classes, self.axis, self.position)
        mask = np.pad(plane == index, 1).astype(np.float32)  # a margin closes what the field of view cuts
        step = np.array(self.size) / plane.shape[::-1]
        for contour in find_contours(mask, 0.5):
            points = (contour[:, ::-1] - 0.5) * step  # of voxel centres: the first one's is half a voxel from the edge
            draw.line([tuple(point) for point in points.tolist()], color, round(width * _FINER), "curve")

    def name(self, draw: ImageDraw.ImageDraw, classes: np.ndarray, index: int, name: str) -> None:
        """Write the bone's name on that voxel of it that is nearest to its middle."""
        where = np.argwhere(take_plane(classes, self.axis, self.position) == index)
        if not len(where):
            return
        step = np.array(self.size) / take_plane(classes, self.axis, self.position).shape[::-1]
        nearest = where[((where - where.mean(axis=0)) ** 2).sum(axis=1).argmin()]
        x, y = ((nearest[::-1] + 0.5) * step).tolist()
        _write(draw, (x, y), name, "mm", size=18, color=_color(index))

    def letters(self, draw: ImageDraw.ImageDraw) -> None:
        width, height = self.size
        places = [(6, height / 2), (width - 6, height / 2), (width / 2, 4), (width / 2, height - 4)]
        for letter, place, anchor in zip(plane_edges(self.axis), places, ("lm", "rm", "ma", "md"), strict=True):
            _write(draw, place, letter, anchor, size=16, color="white")


def _write(
    draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, anchor: str, *, size: int, color: str
) -> None:
    font = ImageFont.load_default(size * _FINER)
    draw.text(place, text, color, font, anchor, stroke_width=_FINER, stroke_fill="black")


def _color(index: int) -> str:
    return COLORS[(index - 1) % len(COLORS)]
