"""The dictionary that carries one scan through an inference workflow: its keys, and which step sets them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from custom_components.data.preprocessing import Preprocessing
from custom_components.domains import Domain
from custom_components.io.volumes import Volume
from torch import Tensor


class VolumeItem(TypedDict, total=False):
    """One scan on its way from a file to a label map.

    Keys of the list of scans (`data.list_scans`, `data.list_cases`):
        image: path; `ReadVolumed` replaces it by the voxels (X, Y, Z) and `StackSlicesd` by the network's slices
            (1, rows, columns, num_slices). The engine removes it before the prediction.
        further: paths of the second and later channels of the scan; missing if there is one.
        name: name of the result, unique in a run, with folders in front where scans share a file name.
        shown: how messages and the report name the scan; its file name if missing.
        domain: the scan's domain; the workflow's default if missing.
        reference: path of the reference label map. Evaluations only, like `case` and `subject`.
        case, subject: names for the tables of scores.

    Keys of the preprocessing:
        further_digests: SHA-256 of the files in `further`.
        source: the scan's `Volume` without its voxels, the grid that the label map is written on.
        source_slice: rows and columns of the source's own slices.
        pixel_mm: size of a pixel of the network's slices along rows and columns.
        planes: of a data set in several planes, for each, its own first, the domain and its settings; missing for
            one plane. The engine removes it.
        voxels: the volume (X, Y, Z) or (channels, X, Y, Z), where there are `planes`. The engine removes it.
        domain_fit: whether the scan looks like its domain, see `domain_fit.judge_fit`; `FitDomaind` sets it.
        answers: logits (8, channels, rows, columns) of the slices that were judged, see `inferers.spread_slices`;
            the engine removes it.

    Keys of the engine and the post-processing:
        pred: prediction. Logits (channels, rows, columns, num_slices) or channel indices (1, rows, columns,
            num_slices) of the network, then class indices (1, X, Y, Z), in the end label values (1, X, Y, Z).
        pred_before: class indices (1, X, Y, Z) before the post-processing of bones.
        expected_dice: expected Dice of each output channel of the network.
        probabilities: 256 steps of the probability of each bone, (bones, num_slices, *source_slice), where they are
            asked for; see `probability_maps.ProbabilityMaps`.
        saved: path of the label map, once it is written.
        seconds: time spent on the scan in all steps.
        finished: True if the output folder holds the result of an earlier run; `saved` is then its path, and the scan
            is not read.
        failure: one line that says why the scan could not be segmented; every later step passes the item on.
    """

    image: Any
    further: list[Path]
    further_digests: list[str]
    name: str
    shown: str
    domain: str
    reference: Path
    case: str
    subject: str
    source: Volume
    source_slice: tuple[int, int]
    pixel_mm: list[float]
    planes: list[tuple[Domain, Preprocessing]]
    voxels: Any
    domain_fit: dict[str, Any]
    answers: Tensor
    pred: np.ndarray | Tensor
    pred_before: np.ndarray | Tensor
    expected_dice: list[float]
    probabilities: Tensor
    saved: Path
    seconds: float
    finished: bool
    failure: str
