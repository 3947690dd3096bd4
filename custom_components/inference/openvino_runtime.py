"""OpenVINO, imported so that it tells nobody."""

from __future__ import annotations

import functools
import sys
from typing import Any, cast

from custom_components.errors import InputError

__all__ = ["import_openvino", "openvino_core"]

_CONVERTER = "openvino.tools.ovc"


def import_openvino() -> Any:
    """The module `openvino`, without its model converter.

    As it is, the import alone sends a message to its maker over the network, and leaves a number for the user in the
    home folder. Only the converter does so, which nothing here needs; OpenVINO itself does without it.

    Raises:
        InputError: it is not installed.
    """
    modules = cast(dict[str, Any], sys.modules)
    hidden = _CONVERTER not in modules
    if hidden:
        modules[_CONVERTER] = None
    try:
        import openvino
    except ImportError as error:
        raise InputError("precision int8 needs OpenVINO, got none; pip install 'multijoint[fast]'") from error
    finally:
        if hidden:
            del modules[_CONVERTER]
    return openvino


@functools.cache
def openvino_core() -> Any:
    """The one `openvino.Core` of this process, which lasts as long as it.

    On a processor with AMX each gives the thread that makes it another stack for signals, and frees that stack when it
    goes: of two, the second to go leaves the thread on the freed one, and the next signal kills the process. Only
    threads with such a stack are concerned, as faulthandler, and Ray, make one.

    Raises:
        InputError: OpenVINO is not installed.
    """
    return import_openvino().Core()
