"""What commands say on standard error while they work: messages of the log, warnings in colour."""

from __future__ import annotations

import logging

from custom_components.system.colours import MessageFormatter


def show_messages(*, least: str = "INFO") -> None:
    """Show messages of the log from this level on; `--quiet` has seen to it already, and shows only errors."""
    console = logging.StreamHandler()
    console.setFormatter(MessageFormatter())
    logging.basicConfig(level=least, handlers=[console])


def colour_warnings() -> None:
    """Colour the warnings of a command that shows no other messages."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(MessageFormatter())
