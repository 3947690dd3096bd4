"""`multijoint inspect`: what a foreign bundle holds and would do, without running anything of it."""

from __future__ import annotations

import json
from pathlib import Path

from custom_components.errors import InputError

from multijoint.cli.presenting import record
from multijoint.sharing import inspect_bundle as look_at

__all__ = ["inspect_bundle"]


def inspect_bundle(path: Path) -> None:
    """Print the report about a bundle.

    Args:
        path: its folder or zip file.

    Raises:
        InputError: it is unsafe, or no bundle.
    """
    report = look_at(path)
    record(**json.loads(report.to_json()))
    print(report.to_text(), end="")
    if refusal := report.refusal(most=1, remedy="do not run it"):
        raise InputError(refusal)
