"""`multijoint report`."""

from pathlib import Path
from typing import Any

from multijoint.cli.commands import command, out_path, path
from multijoint.cli.presenting import print_written


@command(
    path("folder", "OUT", "folder that segment wrote to, or a training's output_dir"),
    path("--scans", "SCAN", "the scans, as segment was given them", nargs="+", default=[]),
    path("--references", "MANIFEST", "manifests, or folders of label maps, to score against", nargs="+", default=[]),
    out_path("FILE", "the page (default OUT/report.html)", dest="output"),
    path("--run", "FOLDER", "output_dir of the training that made the model"),
    example="multijoint report out --scans scans/ --references ankle/manifest.yaml",
)
def report(folder: Path, **arguments: Any) -> None:
    """Write one HTML page of the results in a folder: table, pictures, flags, scores, training."""
    from multijoint.clinic.report.report import write_report

    print_written([write_report(folder, **arguments)])
