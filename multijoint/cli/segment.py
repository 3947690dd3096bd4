"""The `segment` command."""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from multijoint.api.dicom_scans import dicom_scans
from multijoint.api.meshing import meshing
from multijoint.cli.dicom import add_dicom_options
from multijoint.cli.mesh import add_mesh_option

__all__ = ["add_segment"]


def add_segment(add: Callable[..., argparse.ArgumentParser], commands: argparse._SubParsersAction) -> None:
    """Add the command, and `segment-share`, which no help lists: a process of `segment --engine ray`.

    Args:
        add: makes the parser of a command from its name, the function that runs it, `help` and `example`.
        commands: where to add a command that has neither.
    """
    segment = add(
        "segment",
        _segment,
        help="segment NIfTI volumes or DICOM exams with a trained model",
        example="multijoint segment scan.nii.gz --domain shoulder --checkpoint runs/x/model.pt --output out",
    )
    segment.add_argument(
        "images",
        nargs="+",
        type=Path,
        metavar="SCAN",
        help=".nii or .nii.gz files, folders of them, or folders of DICOM",
    )
    model = segment.add_mutually_exclusive_group(required=True)
    model.add_argument("--checkpoint", type=Path, metavar="FILE", help="model.pt of a training run")
    model.add_argument(
        "--bundle", type=Path, metavar="BUNDLE", help="a packaged bundle, folder or zip; only read, not run"
    )
    segment.add_argument("--trust", action="store_true", help="also take a bundle that inspect calls unsafe")
    segment.add_argument("--domain", metavar="NAME", help="domain of the scans; needed when the model knows several")
    segment.add_argument(
        "--output", type=Path, required=True, metavar="FOLDER", help="where the label maps and segment_report.csv go"
    )
    segment.add_argument(
        "--overwrite", action="store_true", help="segment finished scans anew, and replace what was changed by hand"
    )
    segment.add_argument(
        "--precision",
        default="float32",
        choices=["float32", "int8"],
        help="int8 is several times faster, on a CPU, for a bundle packaged with --int8 (default float32)",
    )
    segment.add_argument(
        "--flag-rules",
        nargs="+",
        default=[],
        metavar="NAME=NUMBER",
        help="when a bone is flagged (default least_confidence=0.8 most_changed=0.1 volume_margin=0.25 speck=0.01)",
    )
    segment.add_argument("--max-voxels", metavar="N", help="refuse larger volumes (default 2**29)")
    segment.add_argument("--max-bytes", metavar="N", help="refuse larger files, once decompressed (default 4 GiB)")
    segment.add_argument("--log-paths", action="store_true", help="show whole paths of scans, not their names alone")
    segment.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (default auto)")
    segment.add_argument(
        "--engine", default="local", choices=["local", "ray"], help="ray shares out an archive of scans (default local)"
    )
    segment.add_argument("--address", metavar="HOST:PORT", help="of a running Ray cluster that sees the same files")
    segment.add_argument("--threads", type=int, default=1, metavar="N", help="processor threads of a share (default 1)")
    add_mesh_option(segment)
    add_dicom_options(segment)

    share = commands.add_parser("segment-share")
    share.add_argument("share", type=Path)
    share.set_defaults(run=_segment_share, quiet=False, json=False)


def _segment(options: argparse.Namespace) -> None:
    from custom_components.errors import LOG_PATHS
    from custom_components.io.nifti_files import MAX_BYTES, MAX_VOXELS

    given = {
        "MULTIJOINT_DEBUG": "1" if options.debug else None,
        LOG_PATHS: "1" if options.log_paths else None,
        MAX_VOXELS: options.max_voxels,
        MAX_BYTES: options.max_bytes,
    }
    os.environ |= {name: value for name, value in given.items() if value is not None}
    with contextlib.ExitStack() as stack:
        checkpoint = options.checkpoint
        if options.bundle is not None:
            from multijoint.sharing import open_bundle

            checkpoint = stack.enter_context(open_bundle(options.bundle, trust=options.trust))
        stack.enter_context(meshing(options.output, options.mesh))
        _segment_with(checkpoint, options)


def _segment_with(checkpoint: Path, options: argparse.Namespace) -> None:
    with _importing():
        from custom_components.quality.flags import FlagRules

        from multijoint.api.segmenting import segment, segment_on_cluster

    how = {
        "checkpoint": checkpoint,
        "domain": options.domain,
        "output_dir": options.output,
        "device": options.device,
        "overwrite": options.overwrite,
        "precision": options.precision,
        "flag_rules": FlagRules.from_texts(options.flag_rules),
    }
    with dicom_scans(options, checkpoint) as images:
        if options.engine == "local":
            segment(images, **how)
        else:
            segment_on_cluster(images, engine=options.engine, address=options.address, threads=options.threads, **how)


@contextlib.contextmanager
def _importing() -> Iterator[None]:
    """A quarter faster: the garbage collector would search what imports make again and again, and find nothing.

    Nor is MLflow imported, if it is there, which MONAI does for a handler of trainings.
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


def _segment_share(options: argparse.Namespace) -> None:
    with _importing():
        from multijoint.api.segmenting import segment_share

    segment_share(options.share)
