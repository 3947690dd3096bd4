"""`multijoint adapt`."""

from pathlib import Path
from typing import Any

from multijoint.cli.commands import TRUST, choice, command, dataset_dir, out_path, path, text
from multijoint.cli.messages import show_messages
from multijoint.cli.presenting import print_written


@command(
    path("--bundle", "BUNDLE", "folder, zip, or a run's model.pt", required=True),
    path("--manifest", "FILE", "of the new data set", required=True),
    out_path("FOLDER", "the new run's folder", required=True),
    dataset_dir("where the manifest's paths start"),
    choice(
        "--freeze",
        ["shared", "none"],
        "shared trains the new norm and head only; none trains everything (default shared)",
    ),
    text("--like", "DOMAIN", "whose norms the new one starts from"),
    text("--set", "NAME=VALUE", "settings of train.yaml", dest="settings", nargs="+", default=[]),
    TRUST,
    example="multijoint adapt --bundle dist/multijoint_mr_bone_segmentation --manifest knee.yaml --out runs/knee",
)
def adapt(bundle: Path, settings: list[str], **arguments: Any) -> None:
    """Add a data set to a trained model: its own norm and head, from one subject on."""
    from multijoint.api.adapting import adapt_model
    from multijoint.cli.settings import parse_settings

    show_messages()
    print_written([adapt_model(bundle, settings=parse_settings(settings), **arguments)])
