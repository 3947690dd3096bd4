"""`multijoint evaluate`."""

from pathlib import Path

from multijoint.cli.commands import command, out_path, path, text
from multijoint.cli.messages import show_messages
from multijoint.cli.presenting import record


@command(
    path("run", "RUN", "folder of a training"),
    out_path("FOLDER", "label maps and tables (default evaluation in RUN)"),
    text("--set", "NAME=VALUE", "settings of evaluate.yaml", dest="settings", nargs="+", default=[]),
    example="multijoint evaluate runs/x",
)
def evaluate(run: Path, out: Path | None, settings: list[str]) -> None:
    """Segment and score the subjects that a training has held out."""
    from multijoint.api.training import bundle_command, evaluate, evaluation_workflow
    from multijoint.cli.settings import parse_settings

    show_messages()
    given = parse_settings(settings, own={"run": "the argument", "out": "--out", "output_dir": "--out"})
    configs, own = evaluation_workflow(run, out=out, **given)
    as_bundle = bundle_command("evaluating", configs, own)
    print(f"as a bundle: {as_bundle}", flush=True)
    record(command_line=as_bundle, output=own["output_dir"], scores=evaluate(run, out=out, **given))
