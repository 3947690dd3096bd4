"""The `multijoint` command."""

from custom_components.cli.main import main

__all__ = ["main"]
