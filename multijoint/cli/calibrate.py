"""`multijoint calibrate`."""

from pathlib import Path

from multijoint.cli.commands import DEVICE, MANIFESTS, command, dataset_dir, path


@command(
    path("--checkpoint", "FILE", "model.pt; rewritten whole", required=True),
    MANIFESTS,
    dataset_dir(),
    DEVICE,
    example="multijoint calibrate --checkpoint runs/x/model.pt --manifests ankle/manifest.yaml",
)
def calibrate(checkpoint: Path, manifests: list[Path], dataset_dir: Path | None, device: str) -> None:
    """Calibrate a trained model's confidence on its validation exams, as a training does at its end."""
    from custom_components.data.manifests import load_manifests
    from custom_components.training.model_quality import calibrate_checkpoint, describe_quality
    from custom_components.workflows.begin import select_device

    loaded = load_manifests(manifests, dataset_dir=dataset_dir)
    for line in describe_quality(calibrate_checkpoint(checkpoint, loaded, device=select_device(device))):
        print(line)
