"""`multijoint segment`."""

import contextlib
import gc
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from multijoint.cli.commands import (
    ADDRESS,
    DEVICE,
    MESH_FORMATS,
    TRUST,
    choice,
    command,
    either,
    flag,
    log_paths,
    number,
    out_path,
    path,
    text,
)
from multijoint.cli.messages import show_messages
from multijoint.cli.presenting import record


@command(
    path("images", "SCAN", ".nii or .nii.gz files, folders of them, or folders of DICOM", nargs="+"),
    either(
        path("--checkpoint", "FILE", "model.pt of a training run", dest="model"),
        path("--bundle", "BUNDLE", "a packaged bundle, folder or zip; only read, not run", dest="model"),
        text("--model", "NAME", "a model that `multijoint models` lists", dest="shipped"),
    ),
    TRUST,
    text("--domain", "NAME", "domain of the scans, or auto to choose; needed when the model knows several"),
    out_path("FOLDER", "where the label maps and segment_report.csv go", dest="output", required=True),
    flag("--overwrite", "segment finished scans anew, and replace what was changed by hand"),
    choice(
        "--precision",
        ["float32", "int8"],
        "int8 is several times faster, on a CPU, for a bundle packaged with --int8 (default float32)",
    ),
    text(
        "--flag-rules",
        "NAME=NUMBER",
        "when a bone is flagged (default least_confidence=0.8 most_changed=0.1 volume_margin=0.25 speck=0.01)",
        nargs="+",
        default=[],
    ),
    text("--max-voxels", "N", "refuse larger volumes (default 2**29)"),
    text("--max-bytes", "N", "refuse larger files, once decompressed (default 4 GiB)"),
    log_paths(),
    DEVICE,
    choice("--engine", ["local", "ray"], "ray shares out an archive of scans (default local)"),
    ADDRESS,
    number("--threads", "N", "processor threads of a share (default 1)", default=1),
    text("--mesh", "FORMAT", "also make surfaces (stl, ply, glb) and bones.csv", choices=MESH_FORMATS),
    text("--series", "ID", "the DICOM series to segment, as `multijoint dicom` calls it, or its UID"),
    flag("--dicom-seg", "also write <case>_seg.dcm, a DICOM SEG, for scans that came as DICOM"),
    example="multijoint segment scan.nii.gz --domain shoulder --checkpoint runs/x/model.pt --out out",
)
def segment(
    images: list[Path],
    model: Path | None,
    shipped: str | None,
    output: Path,
    flag_rules: list[str],
    max_voxels: str | None,
    max_bytes: str | None,
    **arguments: Any,
) -> None:
    """Segment NIfTI volumes or DICOM exams with a trained model."""
    with _fast_imports():
        from custom_components.inference.report import REPORT
        from custom_components.io.nifti_files import MAX_BYTES, MAX_VOXELS
        from custom_components.quality.flags import FlagRules

        from multijoint.api.exams import segment_exams
        from multijoint.sharing import find_shipped

    checkpoint = model or find_shipped(str(shipped)).checkpoint
    limits = {MAX_VOXELS: max_voxels, MAX_BYTES: max_bytes}
    os.environ |= {name: value for name, value in limits.items() if value is not None}
    show_messages()
    rules = FlagRules.from_texts(flag_rules)

    def tell(rows: Sequence[Mapping[str, str]]) -> None:
        record(
            output=output,
            report=output / REPORT,
            written=[row["output"] for row in rows if row["status"] == "written"],
            failed={row["file"]: row["cause"] for row in rows if row["status"] in ("failed", "waiting")},
            flagged={row["file"]: row["flags"] for row in rows if row["flags"]},
            scans=rows,
        )

    for line in segment_exams(images, model=checkpoint, output_dir=output, flag_rules=rules, tell=tell, **arguments):
        print(line, flush=True)


@command(path("share", "SHARE", "file of the share"))
def segment_share(share: Path) -> None:
    """Segment one share of `segment --engine ray`; no help lists this command."""
    with _fast_imports():
        from multijoint.api import archives

    show_messages()
    archives.segment_share(share)


@contextlib.contextmanager
def _fast_imports() -> Iterator[None]:
    """Import a quarter faster, without garbage collection and without MLflow.

    The collector would search the new modules again and again and find nothing to free. MONAI imports MLflow, if it is
    installed, for a handler of trainings; `None` in `sys.modules` makes that import fail at once.
    """
    gc.disable()
    blocked = "mlflow" not in sys.modules
    if blocked:
        sys.modules["mlflow"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if blocked:
            del sys.modules["mlflow"]
        gc.freeze()
        gc.enable()
