"""Label names that tell left from right, and the classes that a mirror exchanges."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_SIDES = {
    **dict.fromkeys(["left", "l", "lt", "links", "linke", "linker", "linkes", "linken", "gauche", "gauches"], "left"),
    **dict.fromkeys(["right", "r", "rt", "rechts", "rechte", "rechter", "rechtes", "rechten"], "right"),
    **dict.fromkeys(["droit", "droite", "droits", "droites"], "right"),
}
_IN_PAIRS = {"li": "left", "re": "right", "g": "left", "d": "right"}  # alone they may be anything
_ALL = {**_SIDES, **_IN_PAIRS}
_BREAK = re.compile(r"[\W_]+|(?<=[a-zß-ÿ])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def mirrored_names(names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The partner of each name on the other side, and the names with a side but without a partner.

    Sides are words (left, right; links, rechts; gauche, droit, in their forms) and abbreviations: l, r; lt, rt; where
    both of a pair are there also li, re; g, d. They stand apart by blanks, signs or capitals: `femur_L`, `leftFemur`.
    A letter among other letters at the same place (teeth a to t, L and M for lateral and medial) is no side.

    Args:
        names: all label names of a data set.

    Example:
        >>> mirrored_names(["left femur", "right femur", "sacrum"])
        ({'left femur': 'right femur', 'right femur': 'left femur'}, [])
        >>> mirrored_names(["talus_l", "L1", "L2", "Tibia links"])
        ({}, ['talus_l', 'Tibia links'])
    """
    places: dict[tuple[str, ...], dict[str, str]] = {}  # a name without one of its words -> that word -> the name
    for name in names:
        for rest, word in _words_apart(name):
            places.setdefault(rest, {})[word] = name
    partners: dict[str, set[str]] = {}  # of the names with a side
    for words in places.values():
        letters = {word for word in words if len(word) == 1}
        if letters - {"l", "r"} and letters - {"g", "d"}:
            words = {word: name for word, name in words.items() if word not in letters}
        for word, name in words.items():
            side = _ALL.get(word)
            others = {other for each, other in words.items() if side and _ALL.get(each, side) != side}
            if others or word in _SIDES:
                partners.setdefault(name, set()).update(others)
    pairs = {name: min(others) for name, others in partners.items() if len(others) == 1}
    pairs = {name: other for name, other in pairs.items() if pairs.get(other) == name}
    return pairs, [name for name in names if name in partners and name not in pairs]


def mirrored_classes(names: Sequence[str]) -> list[int] | None:
    """Class of each class in a mirror, background first; None if a name has a side but no partner.

    Example:
        >>> mirrored_classes(["left femur", "right femur", "sacrum"])
        [0, 2, 1, 3]
        >>> mirrored_classes(["calcaneus", "talus"])
        [0, 1, 2]
        >>> mirrored_classes(["left calcaneus", "left talus"]) is None
        True
    """
    pairs, alone = mirrored_names(names)
    if alone:
        return None
    return [0, *(1 + names.index(pairs.get(name, name)) for name in names)]


def _words_apart(name: str) -> Iterator[tuple[tuple[str, ...], str]]:
    words = [word.casefold() for word in _BREAK.split(name) if word]
    for place, word in enumerate(words):
        yield (*words[:place], "*", *words[place + 1 :]), word
