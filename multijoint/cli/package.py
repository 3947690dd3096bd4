"""`multijoint package`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multijoint.cli.commands import command, dataset_dir, either, flag, out_path, path, text
from multijoint.cli.presenting import print_written


@command(
    path("bundle", "BUNDLE", "folder or name of one that `multijoint bundles` lists"),
    either(
        path(
            "--checkpoint",
            "FILE",
            "model.pt of a training run; given again and again, an ensemble of them",
            action="append",
        ),
        text("--model", "NAME", "a model that `multijoint models` lists, with its scores", dest="shipped"),
    ),
    out_path("FOLDER", "where folder and zip go", required=True),
    path("--evaluation", "FOLDER", "with summary.csv, for the model card"),
    text("--domain", "NAME", "default domain (default: the first)"),
    text("--single", "NAME", "take only this domain of a model of several"),
    flag("--fold", "fold the norms of a single domain into the convolutions: smaller, faster"),
    text("--name", "NAME", "of the package, if not the bundle's"),
    text("--version", "VERSION", "of the package, such as 1.0.0 (default: this release's)"),
    text("--author", "NAME", "who made the model, for metadata and copyright"),
    text("--weights-url", "URL", "where models/ will be; leave it out of the zip"),
    path(
        "--int8",
        "MANIFEST",
        "add int8 networks, calibrated on these data sets, if Dice on unseen people falls by at most 0.1 points",
        nargs="+",
        default=[],
    ),
    dataset_dir("where the manifests' paths start"),
    example="multijoint package multijoint_mr_bone_segmentation --checkpoint runs/x/model.pt --out dist",
)
def package(
    bundle: Path,
    checkpoint: Path | Sequence[Path] | None,
    shipped: str | None,
    evaluation: Path | None,
    **arguments: Any,
) -> None:
    """Make a bundle with weights that runs on its own: a folder, and a zip for a model zoo."""
    from multijoint import sharing

    if checkpoint is None:
        found = sharing.find_shipped(str(shipped))
        checkpoint, evaluation = found.checkpoint, evaluation or found.folder
    print_written(sharing.package(bundle, checkpoint=checkpoint, evaluation=evaluation, **arguments))
