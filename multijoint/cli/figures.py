"""`multijoint figures`."""

from pathlib import Path

from multijoint.cli.commands import command, flag, path
from multijoint.cli.presenting import print_written


@command(
    path("folder", "FOLDER", "the experiment's --out"),
    flag("--curves", "also losses and validation Dice over the epochs"),
    example="multijoint figures runs/exp",
    extra="experiments",
)
def figures(folder: Path, curves: bool) -> None:
    """Draw figures 3 and 4 of an experiment from its saved rows."""
    from multijoint.experiments import write_figures

    print_written(write_figures(folder, curves=curves))
