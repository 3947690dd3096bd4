"""`multijoint segment`: the bundle's inference workflow, started from Python."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from monai.bundle import ConfigWorkflow

from custom_components.bundle_folders import find_bundle
from custom_components.cluster import ProcessFailure, Resources, run_process, run_tasks
from custom_components.engines import list_scans
from custom_components.errors import InputError, find_cause

__all__ = ["segment", "segment_on_cluster"]

_SHARE = 16  # scans of a process: what a process costs to start is small beside them


def segment(
    images: Sequence[Path], *, checkpoint: Path, domain: str | None, output_dir: Path, device: str = "auto"
) -> None:
    """Segment volumes with the joint bundle's `inference.yaml`.

    Args:
        images: files or folders.
        checkpoint: a run's `model.pt`.
        domain: name of the scans' domain; may be `None` if the model has one.
        output_dir: where `<name>_seg.nii.gz` and `.json` go.
        device: "auto" or a torch device.

    Raises:
        InputError: what cannot be used; the scans that can are still written.
    """
    bundle = find_bundle()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("ignite").setLevel(logging.WARNING)
    workflow = ConfigWorkflow(
        config_file=str(bundle / "configs" / "inference.yaml"),
        workflow_type="inference",
        logging_file=False,
        bundle_root=str(bundle),
        # Paths stay objects: as text, MONAI would take a "$" or "@" in a file's name for code or a reference.
        images=list(images),
        checkpoint=checkpoint,
        output_dir=output_dir,
        domain=domain,
        device=device,
    )
    try:
        workflow.initialize()
        workflow.run()
    except RuntimeError as error:
        raise (find_cause(error, InputError) or error) from None


def segment_on_cluster(
    images: Sequence[Path],
    *,
    engine: str,
    address: str | None = None,
    threads: int = 1,
    checkpoint: Path,
    domain: str | None,
    output_dir: Path,
    device: str = "auto",
) -> None:
    """Segment an archive in shares, each by `multijoint segment` in a process of its own, wherever there is room.

    Args:
        images: files or folders; every machine must see them, the checkpoint and the output under the same paths.
        engine: see `cluster.run_tasks`.
        address: of a Ray cluster; `None` starts Ray on this machine.
        threads: processor threads of a share.
        checkpoint: as for `segment`, and so are the other arguments.
        domain: see there.
        output_dir: also gets the log of each share, `share_<n>.log`.
        device: see there.

    Raises:
        InputError: what cannot be used, a share at a time; the scans that can are still written.
    """
    scans = [str(Path(item["image"]).resolve()) for item in list_scans(images)]
    if not checkpoint.is_file():
        raise InputError(f"checkpoint {checkpoint} must be a file, got none; train first or correct the path")
    options = ["--checkpoint", str(checkpoint.resolve()), "--output", str(output_dir.resolve()), "--device", device]
    options += ["--domain", domain] if domain is not None else []
    shares = [
        ([*options, *scans[first : first + _SHARE]], output_dir.resolve() / f"share_{first // _SHARE}.log")
        for first in range(0, len(scans), _SHARE)
    ]
    resources = Resources(threads=threads, gpu=device != "cpu")
    results = run_tasks(_segment_share, shares, resources=resources, engine=engine, address=address)
    causes = [str(result) for _, result in results if result is not None]
    if causes:
        raise InputError(f"{len(causes)} of {len(shares)} shares had scans that could not be used: {'; '.join(causes)}")


def _segment_share(share: tuple[list[str], Path], environment: dict[str, str]) -> str | None:
    arguments, log = share
    command = [sys.executable, "-m", "custom_components.cli", "segment", *arguments]
    try:
        run_process(command, log=log, environment=environment)
    except ProcessFailure as failure:
        return str(failure)
    return None
