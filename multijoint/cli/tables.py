"""`multijoint tables`."""

from pathlib import Path

from multijoint.cli.commands import command, path, text
from multijoint.cli.presenting import print_written


@command(
    path("folder", "FOLDER", "the experiment's --out"),
    text("--against", "METHOD", "the method that others are compared with", default="proposed"),
    example="multijoint tables runs/exp",
    extra="experiments",
)
def tables(folder: Path, against: str) -> None:
    """Write the tables of an experiment from its saved rows."""
    from multijoint.experiments import write_tables

    print_written(write_tables(folder, against=against))
