"""`multijoint segment`: the bundle's inference workflow, started from Python."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from monai.bundle import ConfigWorkflow

from custom_components.bundle_folders import find_bundle
from custom_components.errors import InputError, find_cause

__all__ = ["segment"]


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
