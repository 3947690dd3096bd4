"""Segmentation of volumes by the inference workflow of the joint bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from custom_components.data.scans import list_scans
from custom_components.inference.domain_fit import channels_of
from custom_components.inference.report import REPORT, read_own_report
from custom_components.models.ensembles import load_ensemble
from custom_components.quality.flags import FlagRules

from multijoint.api.opening import Opened, open_model
from multijoint.running import run_workflow


def segment(
    images: Sequence[Any],
    *,
    model: str | Path | Sequence[str | Path],
    output_dir: str | Path,
    flag_rules: FlagRules | None = None,
    trust: bool = False,
    **settings: Any,
) -> list[dict[str, str]]:
    """Segment volumes with the joint bundle's `inference.yaml`.

    Args:
        images: files, folders or items, see `scans.list_scans`.
        model: `model.pt` of a run, a packaged bundle or the name of a shipped model; see `open_model`. Of several,
            probabilities are averaged.
        output_dir: where `<name>_seg.nii.gz` (or of another `label_format`), `<name>_seg.json`, `segment_report.csv`
            and `quality.csv` go.
        flag_rules: when a bone is flagged.
        trust: also take a bundle that the inspection calls unsafe.
        settings: of `inference.yaml`, such as `domain`, `device` or `overwrite`.

    Returns:
        The rows of `segment_report.csv` for these scans.

    Raises:
        InputError: some scans cannot be segmented; raised after the others have been.
    """
    with open_model(model, trust=trust) as checkpoint:
        known = load_ensemble(checkpoint)
        scans = list_scans(images, channels=channels_of(known, settings.get("domain")))
        run_inference(
            scans, checkpoint=checkpoint, model=known, output_dir=Path(output_dir), flag_rules=flag_rules, **settings
        )
    return read_own_report(Path(output_dir) / REPORT, scans)


def run_inference(
    images: Sequence[Any], *, checkpoint: Opened, flag_rules: FlagRules | None = None, **settings: Any
) -> None:
    """Run `inference.yaml` with a model that has been opened; see `segment`."""
    settings |= {"images": images, "checkpoint": checkpoint}
    settings |= {f"flag_rules#{name}": value for name, value in asdict(flag_rules or FlagRules()).items()}
    run_workflow(["inference.yaml"], workflow_type="inference", **settings)


def report_version(output_dir: Path) -> tuple[int, int] | None:
    """Identity of a folder's `segment_report.csv`, which changes when it is written again; `None` without one."""
    path = output_dir / REPORT
    if not path.exists():
        return None
    status = path.stat()
    return status.st_ino, status.st_mtime_ns
