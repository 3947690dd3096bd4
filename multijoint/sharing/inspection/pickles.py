"""Pickles in foreign files: the calls that they would make, read from their instructions and never executed."""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from typing import Any

_MOST_BYTES = 2**20
_MOST_TEXT = 2**16
_CALLS = {"REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}
_STRINGS = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING"}


class PickleFault(ValueError):
    """Reason why the instructions of a pickle cannot be listed."""


def read_instructions(data: bytes) -> Iterator[tuple[str, Any]]:
    """List the instructions of a pickle with their arguments, up to its end.

    Raises:
        PickleFault: too long, damaged, or with data behind its end.

    Example:
        >>> import pickle
        >>> [name for name, _ in read_instructions(pickle.dumps([1], protocol=2))]
        ['PROTO', 'EMPTY_LIST', 'BINPUT', 'BININT1', 'APPEND', 'STOP']
    """
    if len(data) > _MOST_BYTES:
        raise PickleFault(f"pickle of {len(data)} bytes, over {_MOST_BYTES}")
    place: int | None = 0
    try:
        for instruction, argument, place in pickletools.genops(data):  # noqa: B007
            yield instruction.name, argument
    except Exception as error:  # pickletools passes on any error of its decoders
        raise PickleFault(f"damaged pickle: {type(error).__name__}") from error
    if place is None or place + 1 != len(data):
        raise PickleFault("pickle with more data behind its end")


def list_globals(data: bytes) -> list[str]:
    """List the names that a pickle would import, such as "os.system", each once; "?" stands for a computed name.

    Raises:
        PickleFault: see `read_instructions`.

    Example:
        >>> import pickle
        >>> list_globals(pickle.dumps(print, protocol=2))
        ['__builtin__.print']
    """
    found: dict[str, None] = {}
    texts: list[str] = []
    memory: dict[int, str] = {}
    last = ""
    for name, argument in read_instructions(data):
        if name in ("GLOBAL", "INST"):
            found[str(argument).replace(" ", ".", 1)] = None
        elif name == "STACK_GLOBAL":
            found[".".join(texts[-2:]) if len(texts) >= 2 else "?"] = None
        elif name.startswith("EXT"):
            found[f"extension {argument}"] = None
        if name in _STRINGS:
            last = str(argument)
            texts.append(last)
        elif name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
            memory[len(memory) if argument is None else int(argument)] = last
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            last = memory.get(int(argument), "?")
            texts.append(last)
        else:
            last = "?"
            texts = [] if name not in ("FRAME", "PROTO") else texts
    return list(found)


def is_program(data: bytes) -> bool:
    """Whether the bytes of any file would run as a pickle with calls, also in the text form of old pickles."""
    calls = False
    try:
        for instruction, _, _ in pickletools.genops(data[:_MOST_TEXT]):
            calls = calls or instruction.name in _CALLS
    except Exception:  # no pickle, or its end lies beyond the bytes read
        return calls and (data[:1] == b"\x80" or len(data) > _MOST_TEXT)
    return calls
