"""Save the slices that figure 3 shows, so that it can be drawn without the scans."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from custom_components.data.cases import Case
from custom_components.data.manifests import load_manifests
from custom_components.domains import PLANES, Domain
from custom_components.errors import InputError
from custom_components.io.geometry import canonical_spacing_mm, to_canonical
from custom_components.io.records import label_map_path
from custom_components.io.volumes import read_label, read_volume
from custom_components.system.files import write_arrays

from multijoint.experiments.jobs.experiment import job_folder, job_stem, read_experiment
from multijoint.experiments.rows import exam_scores, main_rows

if TYPE_CHECKING:
    import pandas as pd

_RULE = (
    "Best, median and worst exam of each data set by exam Dice averaged over the methods, first seed; the slice with "
    "the most bones in the reference and, among those, the largest reference area."
)


def save_examples(folder: Path, cases: pd.DataFrame) -> None:
    """Write `examples.npz`: the best, median and worst exam of each data set, one slice of each, every method.

    Arrays: `meta`, JSON with the methods, the rule and each example's domain, rank, case, plane, slice, spacing_mm,
    exam Dice by method and label names; and for example i `<i>/image`, `<i>/reference` and
    `<i>/prediction/<method>`, of shape (first, second axis of the plane) in RAS+ order, class indices in the label
    maps. `cases` are the rows of `cases.csv` of the experiment in `folder`.
    """
    rows = main_rows(cases)
    rows = rows[rows["seed"] == rows["seed"].min()]
    if rows.empty:
        return
    keys = ["domain", "case", "fold"]
    scores = exam_scores(rows).pivot_table(index=keys, columns="method", values="dice", sort=False)
    scores = scores.dropna()  # keeps the exams that every method has segmented
    methods = list(dict.fromkeys(rows["method"]))
    experiment = read_experiment(folder)
    loaded = load_manifests(experiment.manifests, dataset_dir=experiment.dataset_dir)
    arrays: dict[str, np.ndarray] = {}
    examples: list[dict[str, Any]] = []
    for manifest in loaded:
        name = manifest.domain.name
        mine = scores[scores.index.get_level_values("domain") == name]
        order = mine.mean(axis=1).sort_values(ascending=False, kind="stable").index
        ranks: dict[int, str] = {}
        for rank, position in (("best", 0), ("median", (len(order) - 1) // 2), ("worst", len(order) - 1)):
            if len(order):
                ranks.setdefault(position, rank)  # with few exams one may be several
        for position, rank in ranks.items():
            _, case_name, fold = key = order[position]
            case = next(each for each in manifest.cases if each.name == case_name)
            paths = {method: _prediction(folder, method, name, case_name, fold, rows) for method in methods}
            found, slices = _slices(case, paths, manifest.domain)
            arrays |= {f"{len(examples)}/{part}": values for part, values in slices.items()}
            dice = {method: float(scores.loc[key, method]) for method in methods}
            examples.append({"domain": name, "rank": rank, "case": case_name, "dice": dice, **found})
    meta = {"methods": methods, "examples": examples, "rule": _RULE}
    write_arrays(folder / "examples.npz", {"meta": json.dumps(meta), **arrays})


def _prediction(folder: Path, method: str, domain: str, case: str, fold: int, rows: pd.DataFrame) -> Path:
    seed = rows["seed"].min()
    for suffix in ("", f"_{domain}"):
        place = job_folder(folder, f"{job_stem(method, seed, fold)}{suffix}")
        path = label_map_path(place / "evaluation" / domain, case)
        if path.is_file():
            return path
    raise InputError(f"label map of case {case} ({domain}) by {method} must be in {folder}, got none; run it again")


def _slices(case: Case, predictions: dict[str, Path], domain: Domain) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    image = read_volume(case.image)
    axis = PLANES[domain.plane]
    assert case.label is not None  # it was tested

    def classes(path: Path) -> np.ndarray:
        return to_canonical(domain.encode(read_label(path, like=image).array, source=str(path)), image.affine)

    reference = classes(case.label)
    others = tuple(k for k in range(3) if k != axis)
    areas = np.stack([np.count_nonzero(reference == index, axis=others) for index in range(1, domain.num_classes)])
    position = int(np.lexsort((areas.sum(axis=0), (areas > 0).sum(axis=0)))[-1])
    spacing = [step for k, step in enumerate(canonical_spacing_mm(image.affine)) if k != axis]
    labels = {str(index): label for index, label in enumerate(domain.labels.values(), start=1)}
    volumes = {"image": to_canonical(image.array, image.affine), "reference": reference}
    volumes |= {f"prediction/{method}": classes(path) for method, path in predictions.items()}
    slices = {name: np.ascontiguousarray(np.take(volume, position, axis=axis)) for name, volume in volumes.items()}
    return {"plane": domain.plane, "slice": position, "spacing_mm": spacing, "labels": labels}, slices
