"""A made-up child: age, size, side, health, all drawn from one stream of random numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from multijoint.phantoms.shapes import Outline


@dataclass(frozen=True)
class Subject:
    """Who is scanned.

    Args:
        age_years: 5 to 17.
        scale: size relative to the adult whose bones the shapes describe.
        pathological: the bones have the deformity of their domain.
        physis_mm: thickness of the growth plates, 0 once closed.
        rng: the stream that goes on to pose and shape this subject.
    """

    age_years: float
    scale: float
    left: bool
    pathological: bool
    physis_mm: float
    rng: np.random.Generator

    def about(self, value: float, spread: float) -> float:
        """A number near `value`: normal with standard deviation `spread`, cut at two of them."""
        return value + spread * float(np.clip(self.rng.standard_normal(), -2, 2))

    def vary_views(self, views: Mapping[str, Outline], *spreads_mm: float) -> dict[str, Outline]:
        """The outlines of a bone by view, the points of each moved by about the spread given for it."""
        return {
            view: [(self.about(a, spread), self.about(b, spread)) for a, b in points]
            for (view, points), spread in zip(views.items(), spreads_mm, strict=True)
        }


def draw_subject(rng: np.random.Generator, *, index: int) -> Subject:
    """Draw a child; every third one is pathological.

    Stature follows a straight line from 1.10 m at 5 years to 1.72 m at 17, against an adult of 1.75 m. Growth plates
    thin with age and close between 13 and 17.
    """
    age = float(rng.uniform(5, 17))
    scale = (1.10 + (age - 5) * 0.052) / 1.75 * (1 + 0.03 * float(np.clip(rng.standard_normal(), -2, 2)))
    is_open = age < rng.uniform(13, 17)
    physis = float(rng.uniform(0.8, 1.2)) * (3.0 - 0.1 * age)
    return Subject(age, scale, bool(rng.random() < 0.5), index % 3 == 2, physis if is_open else 0.0, rng)
