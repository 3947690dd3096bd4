"""`multijoint quality-study`."""

from pathlib import Path
from typing import Any

from multijoint.cli.commands import DEVICE, MANIFESTS, command, dataset_dir, out_path, path, text
from multijoint.cli.messages import show_messages


@command(
    path("--checkpoints", "FILE", "weak ones are welcome", nargs="+", required=True),
    MANIFESTS,
    dataset_dir(),
    DEVICE,
    out_path("FOLDER", "bones.csv and summary.txt go there", required=True),
    text("--degradations", "NAME", "none, noise, bias, motion, contrast, crop (default all)", nargs="+"),
    text("--least-dice", "DICE", "below it is bad (default 0.8)", type=float, default=0.8),
    example="multijoint quality-study --checkpoints runs/x/model.pt --manifests ankle/manifest.yaml --out study",
    extra="experiments",
)
def quality_study(checkpoints: list[Path], **arguments: Any) -> None:
    """Measure how well confidence and flags find bad segmentations, on exams that no model was trained on."""
    from multijoint.experiments import study_quality

    show_messages(least="WARNING")
    print(study_quality(checkpoints, **arguments))
