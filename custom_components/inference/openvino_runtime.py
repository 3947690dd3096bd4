"""OpenVINO, imported without its telemetry."""

from __future__ import annotations

import functools
import sys
from typing import Any, cast

from custom_components.errors import needs_extra

_CONVERTER = "openvino.tools.ovc"


def import_openvino() -> Any:
    """The module `openvino` without its model converter.

    Importing the converter sends a message to Intel and stores a user number in the home folder. Inference does not
    need the converter, and `openvino` imports without it.

    Raises:
        InputError: it is not installed.
    """
    modules = cast(dict[str, Any], sys.modules)
    hidden = _CONVERTER not in modules
    if hidden:
        modules[_CONVERTER] = None
    try:
        with needs_extra("precision int8", "fast"):
            import openvino
    finally:
        if hidden:
            del modules[_CONVERTER]
    return openvino


@functools.cache
def openvino_core() -> Any:
    """The only `openvino.Core` of this process, never freed.

    On a processor with AMX, each `Core` replaces the signal stack of the thread that makes it and frees that stack
    when it is destroyed. With two of them, the thread is left on a freed stack and the next signal kills the process.
    This concerns threads that have a signal stack, such as those of faulthandler and Ray.

    Raises:
        InputError: OpenVINO is not installed.
    """
    return import_openvino().Core()
