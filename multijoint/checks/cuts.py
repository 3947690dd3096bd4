"""Bones that were cut off: flat ends and short lengths that other cases do not have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from custom_components.domains import Domain

from multijoint.checks.checked_case import CheckedCase, Outline, Rule, Said
from multijoint.checks.outliers import far_off

_FLAT = 0.6  # of a bone's cross-section that ends in one plane beyond the usual share; the limit of a single bone ...
_ALL_FLAT = 0.3  # ... and of the mean of all bones; up to 0.23 has been seen in good data
_SMOOTH = 1.4  # steps of the image across a cut, in units of those inside the bone; real borders have larger ones
_SHORT = 0.45  # in the logarithm of a length; up to 0.42 has been seen
_WAYS = ("left", "right", "back", "front", "bottom", "top")
_ENDS = ("left to right", "front to back", "top to bottom")


@dataclass(frozen=True)
class _Excess:
    """How the outline of a bone differs from those in other cases."""

    bone: str
    outline: Outline
    usual: np.ndarray
    faces: np.ndarray
    lengths: np.ndarray
    is_flat: bool


def _cuts(cases: Sequence[CheckedCase], domain: Domain) -> Said:
    """Bones that end flat where those of other cases do not, or that are all shorter along one axis."""
    found: dict[str, list[_Excess]] = {}
    for name in domain.labels.values():
        having = [case for case in cases if name in case.bones]
        if len(having) < 2:
            continue
        faces = np.array([case.bones[name].outline.faces for case in having])
        lengths = np.log([case.bones[name].outline.extents_mm for case in having])
        lengths -= lengths.mean(axis=1, keepdims=True)
        usual, usual_lengths = np.median(faces, axis=0), np.median(lengths, axis=0)
        flat = far_off(faces, _FLAT, sign=1)
        for case, own, length, is_flat in zip(having, faces, lengths, flat, strict=True):
            outline = case.bones[name].outline
            smooth = outline.steps[int((own - usual).argmax())] < _SMOOTH and len(case.bones[name].large) == 1
            excess = _Excess(name, outline, usual, own - usual, length - usual_lengths, bool(is_flat) and smooth)
            found.setdefault(case.name, []).append(excess)
    names = list(found)
    all_faces = np.array([np.mean([each.faces for each in found[name]], axis=0) for name in names]).reshape(-1, 6)
    shorter = np.array([np.mean([each.lengths for each in found[name]], axis=0) for name in names]).reshape(-1, 3)
    all_flat, all_short = far_off(all_faces, _ALL_FLAT, sign=1), far_off(shorter, _SHORT, sign=-1)
    for place, name in enumerate(names):
        flat_bones = [each for each in found[name] if each.is_flat]
        if flat_bones or all_flat[place]:
            worst = max(flat_bones or found[name], key=lambda each: float(each.faces.max()))
            at = int(worst.faces.argmax())
            shares = (
                f"{100 * worst.outline.faces[at]:.0f} % of its cross-section, usually {100 * worst.usual[at]:.0f} %"
            )
            yield "warning", name, f"{worst.bone} ends flat towards the {_WAYS[at]} ({shares}): cut off?"
        elif all_short[place]:
            axis = int(shorter[place].argmin())
            text = f"bones are {math.exp(shorter[place, axis]):.2g} times as long from {_ENDS[axis]}"
            yield "warning", name, f"{text} as usual for their other lengths: cut off, or squeezed?"


CUT_RULES: dict[str, Rule] = {"cut-bone": _cuts}
"""Rules by name."""
