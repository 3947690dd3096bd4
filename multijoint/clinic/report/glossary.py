"""What the flags of a bone or a case mean, for readers of a page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from multijoint.clinic.report.results import to_number

FLAGS_OF_SCANS = ("unlike-domain",)
"""Flags that `quality.csv` has at every bone of a scan, and that are of the scan as a whole."""

_MEANINGS = {
    "unlike-domain": "The scan does not look like those of the domain it was segmented as. Look whether the domain is "
    "the right one; if not, no bone of it counts.",
    "missing": "No voxel of this bone was found. Look whether the scan shows the bone.",
    "missed": "The reference has this bone, the label map does not: its Dice counts as 0.",
    "false-find": "The label map has this bone, the reference does not: its Dice counts as 0.",
    "changed-since": "Look again: the label map has been changed since it was written; confidence and flags are from "
    "before.",
    "several-components": "The network found the bone in several parts; post-processing keeps the largest. Look "
    "whether a part is lacking, or another bone was taken for it.",
    "volume-outside-training": "The bone is much smaller or larger (by default 25 %) than every reference of the "
    "training. Look whether it was found whole, and whether it has grown into a neighbour.",
    "changed-by-postprocessing": "Post-processing removed or added much of the bone (by default more than 10 %): the "
    "network was unsure of it. Look at its outline.",
    "cut-by-field-of-view": "The bone reaches the edge of the volume and may go on outside: volume and surface are not "
    "those of the whole bone.",
    "low-confidence": "The network itself expects a low Dice (by default below 0.8). Look at the outline of the bone.",
}


def explain_flag(flag: str) -> str:
    """One or two sentences for a reader: what was found, and what to look at.

    Example:
        >>> explain_flag("missing")
        'No voxel of this bone was found. Look whether the scan shows the bone.'
    """
    return _MEANINGS.get(flag, "The documentation on the quality of a result says what this flag means.")


def explain_flags(cases: Iterable[Iterable[str]]) -> list[tuple[str, int, str]]:
    """Each flag of some cases, the number of cases that have it, and its meaning, in the order of the glossary.

    Example:
        >>> [(flag, number) for flag, number, _ in explain_flags([["own", "missing", "missing"], ["missing"]])]
        [('missing', 2), ('own', 1)]
    """
    counts = Counter(flag for flags in cases for flag in set(flags))
    order = [*(flag for flag in _MEANINGS if flag in counts), *sorted(counts.keys() - _MEANINGS.keys())]
    return [(flag, counts[flag], explain_flag(flag)) for flag in order]


def measured_by_flag(
    quality: Mapping[str, str], *, confidence: float, volume_ml: float, training_ml: Sequence[float] | None
) -> dict[str, str]:
    """What a flag of a bone was raised for, by flag, as far as it is known.

    Args:
        quality: its row of `quality.csv`; empty if there is none.
        confidence: expected Dice, 0..1; NaN if unknown.
        volume_ml: of its voxels.
        training_ml: least and most of the references of the training.

    Example:
        >>> row = {"components": "3", "changed": "0.25"}
        >>> measured_by_flag(row, confidence=math.nan, volume_ml=9.5, training_ml=(20, 31.25))
        {'several-components': '3 parts', 'changed-by-postprocessing': '25 %', 'volume-outside-training': '9.5 ml, in \
training 20.0 to 31.2 ml'}
    """
    parts, changed = to_number(quality.get("components")), to_number(quality.get("changed"))
    found = {
        "several-components": f"{parts:.0f} parts" if math.isfinite(parts) else "",
        "changed-by-postprocessing": f"{100 * changed:.0f} %" if math.isfinite(changed) else "",
        "low-confidence": f"{confidence:.2f}" if math.isfinite(confidence) else "",
    }
    if training_ml is not None:
        least, most = training_ml
        found["volume-outside-training"] = f"{volume_ml:.1f} ml, in training {least:.1f} to {most:.1f} ml"
    return {flag: text for flag, text in found.items() if text}
