"""The `multijoint` command."""

from multijoint.cli.main import main

__all__ = ["main"]
