"""The phantom domains: field of view, sequence and builder of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from multijoint.phantoms.ankle import ankle_centre_mm, build_ankle
from multijoint.phantoms.canvas import Canvas
from multijoint.phantoms.knee import build_knee, knee_centre_mm
from multijoint.phantoms.scanner import Acquisition, acquire, rasterise
from multijoint.phantoms.shapes import Array
from multijoint.phantoms.shoulder import build_shoulder, shoulder_centre_mm
from multijoint.phantoms.subject import Subject, draw_subject

__all__ = ["PHANTOM_DOMAINS", "Phantom", "Recipe", "make_phantom"]


@dataclass(frozen=True)
class Recipe:
    """How the phantoms of one domain are made.

    Args:
        labels: label value -> bone.
        modality, description: for the manifest.
        extent_mm: field of view along x, y (in plane) and z.
        centre_mm: scale of a subject -> middle of the field of view in reference mm.
        build: paints a subject on a canvas and returns the labelled bones' distances.
        acquisition: receive field, ghosts and noise of the sequence.
        warp_mm: how much the bones' shapes vary.
        isocentre_mm: world position of the field of view for a left side; mirrored for a right one.
    """

    labels: Mapping[int, str]
    modality: str
    description: str
    extent_mm: Sequence[float]
    centre_mm: Callable[[float], np.ndarray]
    build: Callable[[Canvas, Subject], dict[int, Array]]
    acquisition: Acquisition
    warp_mm: float
    isocentre_mm: Sequence[float]


@dataclass(frozen=True)
class Phantom:
    """One case in memory: `image` and `label` share `affine` (voxel indices -> world mm, RAS+)."""

    image: NDArray[np.int16]
    label: NDArray[np.uint8]
    affine: np.ndarray
    group: str


_BUILDERS: dict[str, tuple[Callable[[float], np.ndarray], Callable[[Canvas, Subject], dict[int, Array]]]] = {
    "ankle": (ankle_centre_mm, build_ankle),
    "shoulder": (shoulder_centre_mm, build_shoulder),
    "knee": (knee_centre_mm, build_knee),
}


def _recipe(name: str, *, acquisition: Mapping[str, float], **given: Any) -> Recipe:
    centre_mm, build = _BUILDERS[name]
    return Recipe(centre_mm=centre_mm, build=build, acquisition=Acquisition(**acquisition), **given)


PHANTOM_DOMAINS: Mapping[str, Recipe] = {
    name: _recipe(name, **given)
    for name, given in yaml.safe_load(Path(__file__).with_name("domains.yaml").read_text("utf-8")).items()
}
"""Domain name -> how its phantoms are made."""


def make_phantom(recipe: Recipe, *, index: int, size: int, rng: np.random.Generator) -> Phantom:
    """Draw a subject, paint it and scan it.

    The slices are axial within about 12 degrees and stacked upwards along the last axis; in plane the array runs to the
    right and to the front (RAS) or, every other time, to the left and to the back (LPS).
    """
    subject = draw_subject(rng, index=index)
    spacing = max(recipe.extent_mm[:2]) / size
    steps = np.array([spacing, spacing, 3 * spacing])
    shape = [round(extent / step) for extent, step in zip(recipe.extent_mm, steps, strict=True)]
    side = np.array([1.0 if subject.left else -1.0, 1.0, 1.0])
    isocentre = side * recipe.isocentre_mm

    oblique = Rotation.from_euler("xyz", rng.uniform(-7, 7, 3), degrees=True).as_matrix()
    flip = np.array([-1.0, -1.0, 1.0]) if rng.random() < 0.5 else np.ones(3)
    affine = np.eye(4)
    affine[:3, :3] = oblique @ np.diag(steps * flip)
    affine[:3, 3] = isocentre - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    to_reference = np.eye(4)
    to_reference[:3, :3] = np.diag(side / subject.scale)
    centre = recipe.centre_mm(subject.scale) + rng.uniform(-3, 3, 3) / subject.scale
    to_reference[:3, 3] = centre - to_reference[:3, :3] @ isocentre

    canvas = Canvas(
        shape=(shape[0], shape[1], shape[2]), affine=affine, to_reference=to_reference, rng=rng, warp_mm=recipe.warp_mm
    )
    bones = recipe.build(canvas, subject)
    image, label = acquire(canvas, recipe.acquisition, rng=rng), rasterise(canvas, bones)
    return Phantom(image, label, affine, "pathological" if subject.pathological else "healthy")
