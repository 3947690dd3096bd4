"""Which part of the complex signal an image shows, in each vendor's words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

MAGNITUDE = "magnitude"
"""The part that people look at, and that models are trained on."""

_GE, _PHILIPS = (0x0043, 0x2F, "GEMS_PARM_01"), (0x2005, 0x11, "Philips MR Imaging DD 001")
_BLOCKS = range(0x10, 0x18)  # where private elements stand, by the order in which their creators came
_OF_LETTER = {"M": MAGNITUDE, "P": "phase", "R": "real part", "I": "imaginary part"}
_OF_NUMBER = (MAGNITUDE, "phase", "real part", "imaginary part")
_OF_WORD = {"MAGNITUDE": MAGNITUDE, "REAL": "real part", "IMAGINARY": "imaginary part"}
_OF_WORD |= dict.fromkeys(("PHASE", "PHASE MAP", "VELOCITY", "VELOCITY MAP"), "phase")

PART_TAGS: tuple[str | int, ...] = (
    "ComplexImageComponent",
    *(group << 16 | block for group, _, _ in (_GE, _PHILIPS) for block in _BLOCKS),
    *(group << 16 | block << 8 | element for group, element, _ in (_GE, _PHILIPS) for block in _BLOCKS),
)
"""Elements of a header that say it, ImageType aside."""


def part_of(header: Any, image_type: Sequence[str], component: str) -> str:
    """The part that an image or a frame shows; "" if nothing says it.

    What one element calls no magnitude is none, whatever the others say.

    Args:
        header: dataset with the `PART_TAGS`.
        image_type: values of the image's or the frame's own type.
        component: the frame's own ComplexImageComponent, which counts more than that of the whole file.

    Example:
        >>> part_of({}, ["ORIGINAL", "PRIMARY", "SW_P_FFE"], "")
        'phase'
    """
    words = [*image_type[2:], component or str(header.get("ComplexImageComponent") or ""), _private(header, *_PHILIPS)]
    found = [part for part in (*map(_of_word, words), _of_number(_private(header, *_GE))) if part]
    return next((part for part in found if part != MAGNITUDE), found[0] if found else "")


def _of_word(word: str) -> str:
    """From ImageType and its kin: `M`, `PHASE MAP`, or Philips' `P_FFE` and `SW_P_FFE`."""
    word = word.strip().upper().replace("_MAP", " MAP")
    letter = re.fullmatch(r"(?:SW_)?([MPRI])(?:_\w+)?", word)
    return _OF_LETTER[letter[1]] if letter else _OF_WORD.get(word, "")


def _of_number(text: str) -> str:
    return _OF_NUMBER[int(text)] if text in ("0", "1", "2", "3") else ""


def _private(header: Any, group: int, element: int, creator: str) -> str:
    """First value of a private element as text; "" if there is none."""
    for block in _BLOCKS:
        owner = header.get((group, block))
        found = header.get((group, block << 8 | element)) if owner and str(owner.value).strip() == creator else None
        if found is not None:
            value = found.value if found.VM < 2 else found.value[0]
            if isinstance(value, bytes):  # of unknown type: a letter, or a number of 16 bits
                value = (
                    int.from_bytes(value, "little") if found.tag.group == _GE[0] else value.decode("ascii", "replace")
                )
            return str(value).strip(" \0")
    return ""
