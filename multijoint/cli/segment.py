"""`multijoint segment`."""

import os
from collections.abc import Mapping, Sequence
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
from multijoint.cli.quick_start import quick_imports


@command(
    path("images", "SCAN", "volumes, folders of them, folders of DICOM, or zip files of these", nargs="*"),
    either(
        path(
            "--checkpoint",
            "FILE",
            "model.pt of a training run; given again and again, probabilities are averaged",
            dest="model",
            action="append",
        ),
        path("--bundle", "BUNDLE", "a packaged bundle, folder or zip; only read, not run", dest="model"),
        text("--model", "NAME", "a model that `multijoint models` lists", dest="shipped"),
    ),
    TRUST,
    text("--domain", "NAME", "domain of the scans, or auto to choose; needed when the model knows several"),
    text(
        "--channels", "NAME=FILE", "one scan of several channels, the file of each by its name", nargs="+", default=[]
    ),
    out_path("FOLDER", "where the label maps and segment_report.csv go", dest="output", required=True),
    flag("--overwrite", "segment finished scans anew, and replace what was changed by hand"),
    text(
        "--format",
        None,
        "of the label maps; same is that of the scan, or NIfTI if it is not written (default nifti)",
        choices=["nifti", "nrrd", "mha", "seg.nrrd", "same"],
        default="nifti",
        dest="label_format",
    ),
    choice(
        "--precision",
        ["float32", "bfloat16", "int8"],
        "bfloat16 is 3 to 4 times faster on devices that have it, int8 on any CPU, for a bundle packaged with --int8 "
        "(default float32)",
    ),
    text(
        "--flag-rules",
        "NAME=NUMBER",
        "when a bone is flagged (default least_confidence=0.8 most_changed=0.1 volume_margin=0.25 speck=0.01)",
        nargs="+",
        default=[],
    ),
    flag("--tta", "average each slice with views of it: small rotations, and a mirror where labels allow it"),
    flag("--probabilities", "also write the probability of each bone, <case>_prob_<bone>.nii.gz"),
    text("--max-voxels", "N", "refuse larger volumes (default 2**29)"),
    text("--max-bytes", "N", "refuse larger files, once decompressed (default 4 GiB)"),
    log_paths(),
    DEVICE,
    choice("--engine", ["local", "ray"], "ray shares out an archive of scans (default local)"),
    ADDRESS,
    number("--threads", "N", "processor threads of a share (default 1)", default=1),
    number("--share", "N", "scans that a process segments before the next one starts (default 16)", default=16),
    text("--mesh", "FORMAT", "also make surfaces (stl, ply, glb) and bones.csv", choices=MESH_FORMATS),
    flag(
        "--label-names",
        "also give names and colours to 3D Slicer, ITK-SNAP and others: .ctbl, .label, dseg.tsv, header",
    ),
    text("--series", "ID", "the DICOM series to segment, as `multijoint dicom` calls it, or its UID"),
    flag("--dicom-seg", "also write <case>_seg.dcm, a DICOM SEG, for scans that came as DICOM"),
    example="multijoint segment scan.nii.gz --domain shoulder --checkpoint runs/x/model.pt --out out",
)
def segment(
    images: list[Path],
    model: Path | Sequence[Path] | None,
    shipped: str | None,
    output: Path,
    channels: list[str],
    flag_rules: list[str],
    tta: bool,
    max_voxels: str | None,
    max_bytes: str | None,
    **arguments: Any,
) -> None:
    """Segment volumes or DICOM exams with a trained model."""
    with quick_imports():
        from custom_components.errors import InputError
        from custom_components.inference.report import REPORT
        from custom_components.io.nifti_files import MAX_BYTES, MAX_VOXELS
        from custom_components.quality.flags import FlagRules

        from multijoint.api.exams import segment_exams
    if not images and not channels:
        raise InputError("scans must be one or more files or folders, got none; name them, or --channels of one scan")
    if model is None:
        from multijoint.sharing import find_shipped

        model = find_shipped(str(shipped)).checkpoint
    limits = {MAX_VOXELS: max_voxels, MAX_BYTES: max_bytes}
    os.environ |= {name: value for name, value in limits.items() if value is not None}
    show_messages()
    rules = FlagRules.from_texts(flag_rules)

    if tta:
        arguments["test_time_augmentation"] = "auto"

    def tell(rows: Sequence[Mapping[str, str]]) -> None:
        record(
            output=output,
            report=output / REPORT,
            written=[row["output"] for row in rows if row["status"] == "written"],
            failed={row["file"]: row["cause"] for row in rows if row["status"] in ("failed", "waiting")},
            flagged={row["file"]: row["flags"] for row in rows if row["flags"]},
            scans=rows,
        )

    for line in segment_exams(
        images, model=model, output_dir=output, channels=_files(channels), flag_rules=rules, tell=tell, **arguments
    ):
        print(line, flush=True)


def _files(channels: Sequence[str]) -> dict[str, Path]:
    """File of each channel from texts NAME=FILE."""
    from custom_components.errors import InputError

    found: dict[str, Path] = {}
    for given in channels:
        name, equals, file = given.partition("=")
        if not (name and equals and file) or name in found:
            raise InputError(f"--channels must be NAME=FILE, each name once, got {given!r}; correct it")
        found[name] = Path(file)
    return found


@command(path("share", "SHARE", "file of the share"))
def segment_share(share: Path) -> None:
    """Segment one share of `segment --engine ray`; no help lists this command."""
    with quick_imports():
        from multijoint.api import archives

    show_messages()
    archives.segment_share(share)
