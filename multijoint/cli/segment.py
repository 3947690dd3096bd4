"""`multijoint segment`."""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from multijoint.cli.commands import Commands, add_device, add_log_paths
from multijoint.cli.mesh import MESH_FORMATS
from multijoint.cli.presenting import record

__all__ = ["add_command"]


def add_command(commands: Commands) -> None:
    """Add the command and its arguments."""
    parser = commands.add(
        "segment",
        _segment,
        help="segment NIfTI volumes or DICOM exams with a trained model",
        example="multijoint segment scan.nii.gz --domain shoulder --checkpoint runs/x/model.pt --output out",
    )
    parser.add_argument(
        "images",
        nargs="+",
        type=Path,
        metavar="SCAN",
        help=".nii or .nii.gz files, folders of them, or folders of DICOM",
    )
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--checkpoint", type=Path, metavar="FILE", help="model.pt of a training run")
    model.add_argument(
        "--bundle", type=Path, metavar="BUNDLE", help="a packaged bundle, folder or zip; only read, not run"
    )
    parser.add_argument("--trust", action="store_true", help="also take a bundle that inspect calls unsafe")
    parser.add_argument("--domain", metavar="NAME", help="domain of the scans; needed when the model knows several")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FOLDER", help="where the label maps and segment_report.csv go"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="segment finished scans anew, and replace what was changed by hand"
    )
    parser.add_argument(
        "--precision",
        default="float32",
        choices=["float32", "int8"],
        help="int8 is several times faster, on a CPU, for a bundle packaged with --int8 (default float32)",
    )
    parser.add_argument(
        "--flag-rules",
        nargs="+",
        default=[],
        metavar="NAME=NUMBER",
        help="when a bone is flagged (default least_confidence=0.8 most_changed=0.1 volume_margin=0.25 speck=0.01)",
    )
    parser.add_argument("--max-voxels", metavar="N", help="refuse larger volumes (default 2**29)")
    parser.add_argument("--max-bytes", metavar="N", help="refuse larger files, once decompressed (default 4 GiB)")
    add_log_paths(parser)
    add_device(parser)
    parser.add_argument(
        "--engine", default="local", choices=["local", "ray"], help="ray shares out an archive of scans (default local)"
    )
    parser.add_argument("--address", metavar="HOST:PORT", help="of a running Ray cluster that sees the same files")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="processor threads of a share (default 1)")
    parser.add_argument(
        "--mesh", choices=MESH_FORMATS, metavar="FORMAT", help="also make surfaces (stl, ply, glb) and bones.csv"
    )
    parser.add_argument(
        "--series", metavar="ID", help="the DICOM series to segment, as `multijoint dicom` calls it, or its UID"
    )
    parser.add_argument(
        "--dicom-seg", action="store_true", help="also write <case>_seg.dcm, a DICOM SEG, for scans that came as DICOM"
    )

    share = commands.add_hidden("segment-share", _segment_share)  # a process of `--engine ray`
    share.add_argument("share", type=Path)


def _segment(options: argparse.Namespace) -> None:
    with _fast_imports():
        import logging

        from custom_components.inference.report import REPORT
        from custom_components.io.nifti_files import MAX_BYTES, MAX_VOXELS
        from custom_components.quality.flags import FlagRules

        from multijoint.api.exams import segment_exams
        from multijoint.api.segmenting import report_version

    variables = {
        "MULTIJOINT_DEBUG": "1" if options.debug else None,
        MAX_VOXELS: options.max_voxels,
        MAX_BYTES: options.max_bytes,
    }
    os.environ |= {name: value for name, value in variables.items() if value is not None}
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    before = report_version(options.output)
    try:
        for text in segment_exams(
            options.images,
            model=options.checkpoint or options.bundle,
            trust=options.trust,
            output_dir=options.output,
            domain=options.domain,
            series=options.series,
            dicom_seg=options.dicom_seg,
            mesh=options.mesh,
            overwrite=options.overwrite,
            engine=options.engine,
            address=options.address,
            threads=options.threads,
            device=options.device,
            precision=options.precision,
            flag_rules=FlagRules.from_texts(options.flag_rules),
        ):
            print(text, flush=True)
    finally:
        if report_version(options.output) != before:
            _record_report(options.output / REPORT)


def _record_report(report: Path) -> None:
    from custom_components.inference.report import read_report

    rows = read_report(report)
    record(
        output=report.parent,
        report=report,
        written=[row["output"] for row in rows if row["status"] == "written"],
        failed={row["file"]: row["cause"] for row in rows if row["status"] in ("failed", "waiting")},
        scans=rows,
    )


def _segment_share(options: argparse.Namespace) -> None:
    with _fast_imports():
        import logging

        from multijoint.api.archives import segment_share

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    segment_share(options.share)


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
