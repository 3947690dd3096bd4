"""How well confidence and flags find bad segmentations: unseen exams, as they are and spoilt, against references."""

from __future__ import annotations

import contextlib
import csv
import io
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from custom_components.data.cases import Case
from custom_components.data.manifests import Manifest, load_manifests
from custom_components.errors import InputError, show_path
from custom_components.io.volumes import read_label, read_volume
from custom_components.metrics.bone_scores import dice_coefficient
from custom_components.models.checkpoints import load_model
from custom_components.models.trained_model import TrainedModel
from custom_components.quality.flags import FLAGS, FlagRules
from custom_components.quality.tables import QUALITY_COLUMNS, quality_rows, read_record
from custom_components.system.files import write_atomically, write_csv
from custom_components.system.terminal import align_columns

from multijoint.experiments.quality_study.degradations import DEGRADATIONS, degrade
from multijoint.running import run_workflow

__all__ = ["STUDY_COLUMNS", "auroc", "study_quality", "summarise_study"]

STUDY_COLUMNS = ("model", "degradation", *QUALITY_COLUMNS, "dice")
"""Header of the study's `bones.csv`."""

_SCARE = tuple(flag for flag in FLAGS if flag != "cut-by-field-of-view")
"""Flags that are counted: a shaft that leaves the field of view is what most scans of a joint show."""

_RESAMPLES = 500


def study_quality(
    checkpoints: Sequence[Path],
    *,
    manifests: Sequence[Path],
    out: Path,
    dataset_dir: Path | None = None,
    degradations: Sequence[str] | None = None,
    least_dice: float = 0.8,
    device: str = "auto",
) -> str:
    """Segment held-out exams, as they are and spoilt, and see how well a bad bone is told without its reference.

    Args:
        checkpoints: each is a run's model; of all of them together the figures are.
        manifests: as for their training; labelled cases of people that a model was neither trained nor validated on
            are held out.
        out: gets `bones.csv` (`STUDY_COLUMNS`) and `summary.txt`.
        dataset_dir: where the manifests' paths start, if not beside each.
        degradations: of `degradations.DEGRADATIONS`; all if None.
        least_dice: a bone below it is bad.
        device: where the networks run.

    Returns:
        The summary, see `summarise_study`.

    Raises:
        InputError: an unknown degradation, nobody held out, or a scan that cannot be segmented.
    """
    wanted = list(DEGRADATIONS if degradations is None else degradations)
    unknown = [name for name in wanted if name not in DEGRADATIONS]
    if unknown:
        raise InputError(f"degradation must be one of {', '.join(DEGRADATIONS)}, got {unknown[0]!r}; correct the name")
    loaded = load_manifests(manifests, dataset_dir=dataset_dir)
    rows: list[dict[str, Any]] = []
    for checkpoint in checkpoints:
        model = load_model(checkpoint)
        for manifest in loaded:
            cases = _held_out(model, manifest)
            for how in wanted:
                found = _segmented(checkpoint, model, cases, domain=manifest.domain.name, how=how, device=device)
                rows += [{"model": checkpoint.stem, "degradation": how} | row for row in found]
    write_csv(out / "bones.csv", STUDY_COLUMNS, rows)
    with (out / "bones.csv").open(newline="") as file:
        summary = summarise_study(list(csv.DictReader(file)), least_dice=least_dice)
    write_atomically(out / "summary.txt", (summary + "\n").encode())
    return summary


def summarise_study(rows: Sequence[Mapping[str, str]], *, least_dice: float = 0.8) -> str:
    """A table from rows of `bones.csv`: how often a bone is bad, and how well that is told.

    Bones that are in neither map are left out. AUROC is the chance that a bad bone gets a lower confidence than a good
    one, or more flags (`cut-by-field-of-view` is not counted); in brackets the 95 % interval over resampled exams. For
    each flag stand the shares of bad and of good bones that have it.
    """
    rows = [row for row in rows if row["dice"] not in ("", "nan")]
    groups = [("all", rows)]
    groups += [
        (f"{key}={value}", [row for row in rows if row[key] == value])
        for key in ("degradation", "model", "domain")
        for value in dict.fromkeys(row[key] for row in rows)
    ]
    table = [("bones of", "exams", "n", "bad", "AUROC confidence", "AUROC flags", "|confidence - Dice|")]
    for name, part in groups:
        bad = np.array([float(row["dice"]) < least_dice for row in part])
        owners = [f"{row['domain']}/{row['case']}" for row in part]
        sure = np.array([float(row["confidence"] or row["expected_dice"]) for row in part])
        number = np.array([_num_flags(row) for row in part])
        off = float(np.mean([abs(value - float(row["dice"])) for value, row in zip(sure, part, strict=True)]))
        table.append(
            (
                name,
                str(len(set(owners))),
                str(len(part)),
                str(int(bad.sum())),
                _interval(-sure, bad, owners),
                _interval(number, bad, owners),
                f"{off:.3f}",
            )
        )
    bad = np.array([float(row["dice"]) < least_dice for row in rows])
    flags = [("flag", f"of {bad.sum()} bad", f"of {(~bad).sum()} good")]
    for flag in (*FLAGS, "any but cut"):
        held = np.array(
            [_num_flags(row) > 0 if flag == "any but cut" else flag in row["flags"].split(";") for row in rows]
        )
        flags.append((flag, _share(held[bad]), _share(held[~bad])))
    return "\n".join([*align_columns(table), "", *align_columns(flags)])


def auroc(scores: np.ndarray, bad: np.ndarray) -> float:
    """Chance that one of the bad has a higher score than one of the others, ties half; NaN without one of both.

    Example:
        >>> auroc(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False]))
        0.875
    """
    from scipy.stats import rankdata

    num_bad = int(bad.sum())
    num_good = len(bad) - num_bad
    if not num_bad or not num_good:
        return float("nan")
    return float((rankdata(scores)[bad].sum() - num_bad * (num_bad + 1) / 2) / (num_bad * num_good))


def _held_out(model: TrainedModel, manifest: Manifest) -> list[Case]:
    split = model.training.get("split")
    if split is None:
        raise InputError("a model to study must say whom it was trained on, got a packaged one; give a run's model.pt")
    name = manifest.domain.name
    seen = {row["subject"] for side in ("training", "validation") for row in split[side] if row["domain"] == name}
    cases = [case for case in manifest.cases if case.label is not None and case.subject not in seen]
    if not cases:
        raise InputError(f"{manifest.path} must have somebody whom the network never saw, got nobody; train a fold")
    return cases


def _segmented(
    checkpoint: Path, model: TrainedModel, cases: Sequence[Case], *, domain: str, how: str, device: str
) -> Iterator[dict[str, Any]]:
    """Rows of `quality.csv` with Dice, of the spoilt scans."""
    labels = model.domain(domain)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        items = [_write_spoilt(folder, case, how) for case in cases]
        # MONAI's evaluator speaks of every scan.
        with contextlib.redirect_stdout(io.StringIO()):
            run_workflow(
                ["inference.yaml"], workflow_type="inference", images=items, checkpoint=checkpoint, domain=domain,
                output_dir=folder / "out", device=device,
            )  # fmt: skip
        for case in cases:
            result = folder / "out" / f"{case.name}_seg.nii.gz"
            found, reference = (
                labels.encode(read_label(path).array, source=path.name)
                for path in (result, folder / f"{case.name}_label.nii.gz")
            )
            rows = quality_rows(read_record(result), case=case.name, rules=FlagRules())
            for index, row in enumerate(rows, start=1):
                yield row | {"dice": f"{dice_coefficient(found == index, reference == index):.6g}"}


def _write_spoilt(folder: Path, case: Case, how: str) -> dict[str, Any]:
    if case.label is None:
        raise InputError(f"case {case.name} must have a label to be studied, got none; add it")
    image = read_volume(case.image)
    label = read_label(case.label, like=image)
    seed = zlib.crc32(f"{case.domain}/{case.name}/{how}".encode())
    voxels, reference = degrade(image.array, label.array, how=how, seed=seed)
    path = folder / f"{case.name}.nii.gz"
    nib.save(nib.Nifti1Image(voxels, image.affine), path)
    nib.save(nib.Nifti1Image(reference.astype(np.uint8), image.affine), folder / f"{case.name}_label.nii.gz")
    return {"image": path, "name": case.name, "shown": show_path(case.image)}


def _num_flags(row: Mapping[str, str]) -> int:
    return sum(flag in _SCARE for flag in row["flags"].split(";"))


def _interval(scores: np.ndarray, bad: np.ndarray, owners: Sequence[str]) -> str:
    """AUROC with its 95 % interval over exams, drawn with replacement."""
    value = auroc(scores, bad)
    if np.isnan(value):
        return "-"
    rng = np.random.default_rng(0)
    own = [np.flatnonzero(np.array(owners) == owner) for owner in dict.fromkeys(owners)]
    drawn = [np.concatenate([own[k] for k in rng.integers(0, len(own), len(own))]) for _ in range(_RESAMPLES)]
    low, high = np.nanpercentile([auroc(scores[each], bad[each]) for each in drawn], [2.5, 97.5])
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _share(held: np.ndarray) -> str:
    return f"{held.mean():.0%}" if len(held) else "-"
