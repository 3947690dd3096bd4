"""The phantom domains, and the scan of one subject: partial volume, bias field, motion ghosts and noise."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter1d
from scipy.ndimage import label as label_components
from scipy.spatial.transform import Rotation

from multijoint.phantoms.ankle import ankle_centre_mm, build_ankle
from multijoint.phantoms.canvas import SUB_SLICES, Canvas, Contrast, joined, noise_on_grid
from multijoint.phantoms.knee import build_knee, knee_centre_mm
from multijoint.phantoms.random_shapes import build_shapes, shapes_centre_mm
from multijoint.phantoms.shapes import Array
from multijoint.phantoms.shoulder import build_shoulder, shoulder_centre_mm
from multijoint.phantoms.subject import Subject, draw_subject

_LEAST_COVER, _BRIDGE_COVER = 0.4, 0.1
_AXES = {"axial": [0, 1, 2], "sagittal": [1, 2, 0]}  # world axes along those of the array


@dataclass(frozen=True)
class Acquisition:
    """What one sequence adds to the signal.

    Args:
        noise: standard deviation of each of the two Gaussian channels behind the Rician noise, in stored units.
        bias: standard deviation of the logarithm of the smooth receive field.
        ghost_chance: share of subjects that move.
        ghost_radians: largest phase error of a k-space line of those who do.
        blur: standard deviation of the point spread in plane, in voxels.
        gamma: power of the signal, relative to 1000 stored units.
    """

    noise: float
    bias: float
    ghost_chance: float = 0.0
    ghost_radians: float = 0.0
    blur: float = 0.0
    gamma: float = 1.0


@dataclass(frozen=True)
class Recipe:
    """How the phantoms of one domain are made.

    Args:
        modality, description: for the manifest.
        extent_mm: field of view along the axes of the array, in plane and then across: x, y and z of an axial one.
        centre_mm: scale of a subject -> middle of the field of view in reference mm.
        build: paints a subject on a canvas, in a `contrast` if one is given, and returns label value -> signed distance
            to the bone in mm. Joint gaps hold whatever the pose, since bones are cut back from one another; growth
            plates belong to their bone.
        acquisition: receive field, ghosts and noise of the sequence.
        warp_mm: how much the bones' shapes vary.
        isocentre_mm: world position of the field of view for a left side; mirrored for a right one.
        plane: of the slices.
        groups: of a subject without and with a deformity.
        slice_voxels: thickness of a slice, in voxels of the plane.
        ranges: what differs from case to case, drawn evenly in its logarithm: `slice_voxels`, numbers of the
            acquisition, and `extent`, a factor of the field of view.
        channels: name -> contrast of each image of one anatomy; none for a single image of the builder's own contrast.
        is_pair: the left and the right one side by side; the labels of the left one, then those of the right one.
    """

    labels: Mapping[int, str]
    modality: str
    description: str
    extent_mm: Sequence[float]
    centre_mm: Callable[[float], np.ndarray]
    build: Callable[..., dict[int, Array]]
    acquisition: Acquisition
    warp_mm: float
    isocentre_mm: Sequence[float]
    plane: str = "axial"
    groups: Sequence[str] = ("healthy", "pathological")
    slice_voxels: float = 3.0
    ranges: Mapping[str, Sequence[float]] = field(default_factory=dict)
    channels: Mapping[str, Contrast] = field(default_factory=dict)
    is_pair: bool = False


@dataclass(frozen=True)
class Phantom:
    """One case in memory: `images`, one a channel, and `label` share `affine` (voxel indices -> world mm, RAS+)."""

    images: Sequence[NDArray[np.int16]]
    label: NDArray[np.uint8]
    affine: np.ndarray
    group: str

    @property
    def image(self) -> NDArray[np.int16]:
        """The first channel."""
        return self.images[0]


_BUILDERS: dict[str, tuple[Callable[[float], np.ndarray], Callable[..., dict[int, Array]]]] = {
    "ankle": (ankle_centre_mm, build_ankle),
    "ankles": (ankle_centre_mm, build_ankle),
    "dixon": (knee_centre_mm, build_knee),
    "shoulder": (shoulder_centre_mm, build_shoulder),
    "knee": (knee_centre_mm, build_knee),
    "shapes": (shapes_centre_mm, build_shapes),
}


def _recipe(
    name: str,
    *,
    acquisition: Mapping[str, float],
    channels: Mapping[str, Mapping[str, float]] | None = None,
    **given: Any,
) -> Recipe:
    centre_mm, build = _BUILDERS[name]
    contrasts = {channel: Contrast(**signals) for channel, signals in (channels or {}).items()}
    return Recipe(centre_mm=centre_mm, build=build, acquisition=Acquisition(**acquisition), channels=contrasts, **given)


PHANTOM_DOMAINS: Mapping[str, Recipe] = {
    name: _recipe(name, **given)
    for name, given in yaml.safe_load(Path(__file__).with_name("domains.yaml").read_text("utf-8")).items()
}
"""Domain name -> how its phantoms are made."""


def make_phantom(recipe: Recipe, *, index: int, size: int, rng: np.random.Generator) -> Phantom:
    """Draw a subject, paint it and scan it.

    The slices are in the plane within about 12 degrees, axial ones stacked upwards along the last axis; in plane the
    array runs to the right and to the front (RAS) or, every other time, to the left and to the back (LPS). Sagittal
    slices are stacked to the right and run to the front and upwards, or to the back and downwards.
    """
    subject = draw_subject(rng, index=index)
    recipe = _drawn(recipe, rng=rng)
    spacing = max(recipe.extent_mm[:2]) / size
    steps = np.array([spacing, spacing, recipe.slice_voxels * spacing])
    shape = [round(extent / step) for extent, step in zip(recipe.extent_mm, steps, strict=True)]
    side = np.array([1.0 if subject.left else -1.0, 1.0, 1.0])
    isocentre = np.zeros(3) if recipe.is_pair else side * recipe.isocentre_mm

    oblique = Rotation.from_euler("xyz", rng.uniform(-7, 7, 3), degrees=True).as_matrix()
    flip = np.array([-1.0, -1.0, 1.0]) if rng.random() < 0.5 else np.ones(3)
    affine = np.eye(4)
    affine[:3, :3] = oblique[:, _AXES[recipe.plane]] @ np.diag(steps * flip)
    affine[:3, 3] = isocentre - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    shape[0] += shape[0] % 2 if recipe.is_pair else 0
    images = []
    for number, contrast in enumerate(recipe.channels.values()):  # the same draws for each channel, but for the noise
        own, build = copy.deepcopy(subject), partial(recipe.build, contrast=contrast)
        canvas, bones = _painted(replace(recipe, build=build), own, shape=shape, affine=affine)
        noise = np.random.default_rng(np.random.SeedSequence([number, int(copy.deepcopy(rng).integers(2**32))]))
        images.append(acquire(canvas, recipe.acquisition, rng=own.rng, noise_rng=noise))
    if not recipe.channels:
        canvas, bones = _painted(recipe, subject, shape=shape, affine=affine)
        images.append(acquire(canvas, recipe.acquisition, rng=rng))
    return Phantom(images, rasterise(canvas, bones), affine, recipe.groups[subject.pathological])


def _painted(
    recipe: Recipe, subject: Subject, *, shape: Sequence[int], affine: np.ndarray
) -> tuple[Canvas, dict[int, Array]]:
    """Canvas of a subject with the distances to its bones; of a pair, both halves joined along the first axis."""
    if not recipe.is_pair:
        return _painted_side(recipe, subject, shape=shape, affine=affine)
    half, moved = (shape[0] // 2, shape[1], shape[2]), np.eye(4)
    moved[0, 3] = half[0]
    low_is_left = affine[0, 0] > 0  # x runs to the right
    sides = [replace(subject, left=low_is_left), replace(subject, left=not low_is_left)]
    painted = [
        _painted_side(recipe, one, shape=half, affine=each)
        for one, each in zip(sides, (affine, affine @ moved), strict=True)
    ]
    bones, count = {}, len(recipe.labels) // 2
    for (_, distances), one in zip(painted, sides, strict=True):
        for value, distance in distances.items():
            far = np.full_like(distance, distance.max())
            parts = [distance, far] if one is sides[0] else [far, distance]
            bones[value + (0 if one.left else count)] = np.concatenate(parts)
    return joined(painted[0][0], painted[1][0]), bones


def _painted_side(
    recipe: Recipe, subject: Subject, *, shape: Sequence[int], affine: np.ndarray
) -> tuple[Canvas, dict[int, Array]]:
    rng, side = subject.rng, np.array([1.0 if subject.left else -1.0, 1.0, 1.0])
    middle = affine[:3, :3] @ ((np.array(shape) - 1) / 2) + affine[:3, 3]
    to_reference = np.eye(4)
    to_reference[:3, :3] = np.diag(side / subject.scale)
    centre = recipe.centre_mm(subject.scale) + rng.uniform(-3, 3, 3) / subject.scale
    to_reference[:3, 3] = centre - to_reference[:3, :3] @ middle
    size = (shape[0], shape[1], shape[2])
    canvas = Canvas(shape=size, affine=affine, to_reference=to_reference, rng=rng, warp_mm=recipe.warp_mm)
    return canvas, recipe.build(canvas, subject)


def _drawn(recipe: Recipe, *, rng: np.random.Generator) -> Recipe:
    """The recipe of one case: with a number from each of its ranges."""
    if not recipe.ranges:
        return recipe
    drawn = {name: float(np.exp(rng.uniform(*np.log(limits)))) for name, limits in recipe.ranges.items()}
    extent, slice_voxels = drawn.pop("extent", 1.0), drawn.pop("slice_voxels", recipe.slice_voxels)
    extent_mm = [extent * length for length in recipe.extent_mm]
    acquisition = replace(recipe.acquisition, **drawn)
    return replace(recipe, extent_mm=extent_mm, slice_voxels=slice_voxels, acquisition=acquisition)


def acquire(
    canvas: Canvas, acquisition: Acquisition, *, rng: np.random.Generator, noise_rng: np.random.Generator | None = None
) -> NDArray[np.int16]:
    """Image of the painted signal: thick slices, receive field, ghosts along the second axis, Rician noise.

    A point spread and a gamma, if there are any, come after the thick slices. The noise is drawn from `noise_rng`,
    everything else, and without one the noise too, from `rng`.
    """
    image = _thick(canvas.signal)
    if acquisition.blur:
        for axis in (0, 1):
            image = np.asarray(gaussian_filter1d(image, acquisition.blur, axis=axis), np.float32)
    if acquisition.gamma != 1:
        image = (1000 * np.power(np.maximum(image, 0) / 1000, acquisition.gamma)).astype(np.float32)
    spacing = canvas.spacing_mm * (1, 1, SUB_SLICES)
    image *= np.exp(acquisition.bias * noise_on_grid(image.shape, spacing, rng=rng, wavelength_mm=130.0))
    moved, amplitude = rng.random() < acquisition.ghost_chance, rng.uniform(0.4, 1.0) * acquisition.ghost_radians
    period, phase = rng.uniform(5, 11), rng.uniform(0, 2 * np.pi, image.shape[2])
    if moved:
        # Periodic phase error along the phase-encoding axis (the second), each slice at its own moment of the breath.
        lines = np.arange(image.shape[1])[:, None]
        error = np.exp(1j * amplitude * np.sin(2 * np.pi * lines / period + phase)).astype(np.complex64)
        image = np.abs(np.fft.ifft(np.fft.fft(image, axis=1) * error, axis=1)).astype(np.float32)
    drawn = rng if noise_rng is None else noise_rng
    real, imaginary = (acquisition.noise * drawn.standard_normal(image.shape, np.float32) for _ in range(2))
    image = np.sqrt((image + real) ** 2 + imaginary**2)
    return np.clip(np.rint(image), 0, 1500).astype(np.int16)


def rasterise(canvas: Canvas, bones: Mapping[int, Array]) -> NDArray[np.uint8]:
    """Label map of the bones: a voxel belongs to the bone that fills most of it, and at least 40 %.

    Where the grid breaks a thin bone, voxels between the pieces that hold a little of it are added, and crumbs still
    apart are dropped: each label is one 6-connected component.
    """
    covers = {value: _thick(np.clip(0.5 - field / np.float32(canvas.edge_mm), 0, 1)) for value, field in bones.items()}
    labels = np.zeros((canvas.shape[0], canvas.shape[1], canvas.shape[2] // SUB_SLICES), np.uint8)
    best = np.full(labels.shape, _LEAST_COVER, np.float32)
    for value, cover in covers.items():
        labels[cover >= best] = value
        best = np.maximum(best, cover)
    for value, cover in covers.items():
        bone = labels == value
        labels[bone] = 0
        labels[_joined(bone, spare=(cover >= _BRIDGE_COVER) & (labels == 0))] = value
    return labels


def _joined(bone: NDArray[np.bool_], *, spare: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest piece of `bone` with the pieces that few more voxels of `spare` connect to it."""
    while True:
        parts, count = label_components(bone)
        if count <= 1:
            return bone
        largest = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
        for reach in (1, 2, 3):
            near = binary_dilation(largest, iterations=reach) & binary_dilation(bone & ~largest, iterations=reach)
            bridge = near & spare & ~bone
            if bridge.any():
                break
        else:
            return largest
        bone = bone | bridge


def _thick(values: Array) -> Array:
    x, y, z = values.shape
    return values.reshape(x, y, z // SUB_SLICES, SUB_SLICES).mean(axis=3)
