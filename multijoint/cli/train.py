"""`multijoint train`."""

from pathlib import Path
from typing import Any

from multijoint.cli.commands import choice, command, dataset_dir, out_path, path, text
from multijoint.cli.messages import show_messages
from multijoint.cli.presenting import print_written, record


@command(
    path("manifests", "MANIFEST", "one a data set", nargs="+"),
    out_path("FOLDER", "the run's folder", required=True),
    text(
        "--fold",
        "FOLD",
        "held-out part of the subjects: a number, 'least typical', or all to train on every case (default 0)",
        default="0",
    ),
    path("--epochs-of", "RUN", "runs whose best epochs tell how long to train, for --fold all", nargs="+"),
    choice("--recipe", ["strong", "paper"], "paper is the training of Boutillon et al. 2021 (default strong)"),
    dataset_dir(),
    text(
        "--set",
        "NAME=VALUE",
        "settings of train.yaml; also .yaml files of them",
        dest="settings",
        nargs="+",
        default=[],
    ),
    example="multijoint train ankle/manifest.yaml shoulder/manifest.yaml --out runs/x --set budget=15min",
)
def train(manifests: list[Path], out: Path, fold: str, settings: list[str], **arguments: Any) -> None:
    """Train one network on one or several data sets."""
    from multijoint.api.training import bundle_command, train, training_workflow
    from multijoint.cli.settings import parse_settings

    show_messages()
    own = {"manifests": "the arguments", "fold": "--fold", "out": "--out", "output_dir": "--out", "recipe": "--recipe"}
    own |= {"dataset_dir": "--dataset-dir", "epochs_of": "--epochs-of"}
    given = {name: value for name, value in arguments.items() if value is not None}
    given |= parse_settings(settings, own=own) | {"fold": int(fold) if fold.isdecimal() else fold}
    as_bundle = bundle_command("training", *training_workflow(manifests, out=out, **given))
    print(f"as a bundle: {as_bundle}", flush=True)
    record(command_line=as_bundle)
    print_written([train(manifests, out=out, **given).model])
