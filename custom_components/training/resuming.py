"""Which of a run's two checkpoints to go on from."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from custom_components.errors import InputError
from custom_components.models.checkpoints import RESUMABLE, load_checkpoint

__all__ = ["load_newest"]

_logger = logging.getLogger(__name__)


def load_newest(folder: Path) -> dict[str, Any]:
    """The newest undamaged checkpoint that the run in `folder` can be continued from; see `RESUMABLE`.

    Raises:
        InputError: there is none, or all are damaged.
    """
    found: list[tuple[tuple[int, int], dict[str, Any]]] = []
    reasons = []
    for path in (folder / name for name in RESUMABLE):
        try:
            content = load_checkpoint(path)
            place = int(content["training"]["epoch"]), int(content["resume"].get("steps", 0))
        except InputError as error:
            reasons.append(str(error))
        except (KeyError, TypeError, ValueError, AttributeError):
            reasons.append(f"checkpoint {path} must hold what a training continues from, got a model alone")
        else:
            found.append((place, content))
            continue
        if path.exists():
            _logger.warning("left out: %s", reasons[-1])
    if not found:
        raise InputError(f"resume needs a whole last.pt or previous.pt; {reasons[0]}")
    return max(found, key=lambda each: each[0])[1]
