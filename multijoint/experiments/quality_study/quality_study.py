"""Measure how well confidence and flags find bad segmentations of held-out and degraded exams."""

from __future__ import annotations

import contextlib
import io
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from custom_components.data.cases import Case
from custom_components.data.channels import read_channels
from custom_components.data.manifests import Manifest, load_manifests
from custom_components.errors import InputError, show_path
from custom_components.io.records import label_map_path, read_record
from custom_components.io.volumes import read_label
from custom_components.metrics.bone_scores import dice_coefficient
from custom_components.models.checkpoints import load_model
from custom_components.models.seen import seen_by
from custom_components.models.trained_model import TrainedModel
from custom_components.quality.flags import FLAGS, FlagRules
from custom_components.quality.tables import QUALITY_COLUMNS, quality_rows
from custom_components.system.files import restore, write_atomically, write_csv
from custom_components.system.terminal import align_columns

from multijoint.experiments.quality_study.degradations import DEGRADATIONS, degrade
from multijoint.running import run_workflow

STUDY_COLUMNS = ("model", "degradation", *QUALITY_COLUMNS, "dice")
"""Header of the study's `bones.csv`."""

# Most scans of a joint cut a shaft, so that flag does not count.
_COUNTED = tuple(flag for flag in FLAGS if flag != "cut-by-field-of-view")

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
    """Segment held-out exams, original and degraded, and measure how well a bad bone is found without its reference.

    Args:
        checkpoints: models of runs, studied together.
        manifests: those of the training. Held out are labelled cases of subjects that a model was neither trained nor
            validated on.
        out: folder for `bones.csv` (`STUDY_COLUMNS`) and `summary.txt`.
        dataset_dir: folder that the manifests' paths start from; the manifest's own if None.
        degradations: names in `degradations.DEGRADATIONS`; all if None.
        least_dice: Dice below which a bone is bad.
        device: device of the networks.

    Returns:
        The summary, see `summarise_study`.

    Raises:
        InputError: an unknown degradation, no subject held out, or a scan that cannot be segmented.
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
    table = pd.read_csv(out / "bones.csv", dtype=str, keep_default_na=False).map(restore)
    summary = summarise_study(table.to_dict("records"), least_dice=least_dice)
    write_atomically(out / "summary.txt", (summary + "\n").encode())
    return summary


def summarise_study(rows: Sequence[Mapping[str, str]], *, least_dice: float = 0.8) -> str:
    """Tables from rows of `bones.csv`: how many bones are bad, and how well confidence and flags find them.

    Bones that are in neither map are left out. AUROC is the chance that a bad bone gets a lower confidence than a good
    one, or more flags (`cut-by-field-of-view` does not count); in brackets, its 95 % interval over resampled exams. The
    second table has the shares of bad and of good bones with each flag.
    """
    bones = pd.DataFrame([row for row in rows if row["dice"] not in ("", "nan")], columns=list(STUDY_COLUMNS))
    held = {flag: bones["flags"].map(lambda given, flag=flag: flag in given.split(";")) for flag in FLAGS}
    bones["number"] = sum(held[flag].astype(int) for flag in _COUNTED)
    bones["dice"] = bones["dice"].astype(float)
    bones["bad"] = bones["dice"] < least_dice
    bones["sure"] = bones["confidence"].where(bones["confidence"] != "", bones["expected_dice"]).astype(float)
    bones["owner"] = bones["domain"] + "/" + bones["case"]
    groups = [("all", bones)]
    for key in ("degradation", "model", "domain"):
        groups += [(f"{key}={value}", part) for value, part in bones.groupby(key, sort=False)]
    table: list[tuple[str, ...]] = [
        ("bones of", "exams", "n", "bad", "AUROC confidence", "AUROC flags", "|confidence - Dice|")
    ]
    for name, part in groups:
        counts = map(str, (part["owner"].nunique(), len(part), part["bad"].sum()))
        found = [_interval(scores.to_numpy(), part) for scores in (-part["sure"], part["number"])]
        table.append((name, *counts, *found, f"{(part['sure'] - part['dice']).abs().mean():.3f}"))
    bad = bones["bad"]
    flags: list[tuple[str, ...]] = [("flag", f"of {bad.sum()} bad", f"of {(~bad).sum()} good")]
    for flag, own in (held | {"any but cut": bones["number"] > 0}).items():
        flags.append((flag, *(f"{own[which].mean():.0%}" if which.any() else "-" for which in (bad, ~bad))))
    return "\n".join([*align_columns(table), "", *align_columns(flags)])


def auroc(scores: np.ndarray, bad: np.ndarray) -> float:
    """scikit-learn's area under the ROC curve; NaN if all or none are bad.

    Example:
        >>> auroc(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False]))
        0.875
    """
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(bad, scores)) if 0 < bad.sum() < len(bad) else float("nan")


def _held_out(model: TrainedModel, manifest: Manifest) -> list[Case]:
    seen, name = seen_by(model.training), manifest.domain.name
    if not seen.complete:
        raise InputError("a model to study must record its training, got a packaged one; give a run's model.pt")
    cases = [case for case in manifest.cases if case.label is not None and (name, case.subject) not in seen.everybody]
    if not cases:
        raise InputError(f"{manifest.path} must have a labelled subject that is held out, got none; train a fold")
    return cases


def _segmented(
    checkpoint: Path, model: TrainedModel, cases: Sequence[Case], *, domain: str, how: str, device: str
) -> Iterator[dict[str, Any]]:
    """Rows of `quality.csv` with Dice, for the degraded scans."""
    labels = model.domain(domain)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        items = [_write_degraded(folder, case, how) for case in cases]
        # MONAI's evaluator prints a line a scan.
        with contextlib.redirect_stdout(io.StringIO()):
            run_workflow(
                ["inference.yaml"], workflow_type="inference", images=items, checkpoint=checkpoint,
                domain=domain, output_dir=folder / "out", device=device,
            )  # fmt: skip
        for case in cases:
            result = label_map_path(folder / "out", case.name)
            both = (result, folder / f"{case.name}_label.nii.gz")
            found, reference = (labels.encode(read_label(path).array, source=path.name) for path in both)
            rows = quality_rows(read_record(result), case=case.name, rules=FlagRules())
            for index, row in enumerate(rows, start=1):
                yield row | {"dice": f"{dice_coefficient(found == index, reference == index):.6g}"}


def _write_degraded(folder: Path, case: Case, how: str) -> dict[str, Any]:
    if case.label is None:
        raise InputError(f"case {case.name} must have a label to be studied, got none; add it")
    channels = read_channels(case.images)
    image = channels[0]
    label = read_label(case.label, like=image)
    seed = zlib.crc32(f"{case.domain}/{case.name}/{how}".encode())
    files = [folder / f"{case.name}{f'_{number:04d}' if number else ''}.nii.gz" for number in range(len(channels))]
    for path, channel in zip(files, channels, strict=True):
        voxels, reference = degrade(channel.array, label.array, how=how, seed=seed)
        nib.save(nib.Nifti1Image(voxels, image.affine), path)
    nib.save(nib.Nifti1Image(reference.astype(np.uint8), image.affine), folder / f"{case.name}_label.nii.gz")
    further = {"further": files[1:]} if files[1:] else {}
    return {"image": files[0], **further, "name": case.name, "shown": show_path(case.image)}


def _interval(scores: np.ndarray, bones: pd.DataFrame) -> str:
    """AUROC with its 95 % interval over exams, drawn with replacement."""
    bad = bones["bad"].to_numpy()
    value = auroc(scores, bad)
    if np.isnan(value):
        return "-"
    rng = np.random.default_rng(0)
    own = [np.flatnonzero(bones["owner"] == owner) for owner in bones["owner"].unique()]
    drawn = [np.concatenate([own[k] for k in rng.integers(0, len(own), len(own))]) for _ in range(_RESAMPLES)]
    low, high = np.nanpercentile([auroc(scores[each], bad[each]) for each in drawn], [2.5, 97.5])
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"
