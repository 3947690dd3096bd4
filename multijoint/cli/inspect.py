"""`multijoint inspect`."""

import json
from pathlib import Path

from multijoint.cli.commands import command, path
from multijoint.cli.presenting import record


@command(path("bundle", "BUNDLE", "a folder or a zip"), example="multijoint inspect bundle.zip")
def inspect(bundle: Path) -> None:
    """Look into a foreign bundle without running anything of it."""
    from custom_components.errors import InputError

    from multijoint.sharing import inspect_bundle

    report = inspect_bundle(bundle)
    record(**json.loads(report.to_json()))
    print(report.to_text(), end="")
    if refusal := report.refusal(most=1, remedy="do not run it"):
        raise InputError(refusal)
