"""Misspelt commands and options: found before anything else is parsed, each with the nearest that there is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

Options = Mapping[str, str]
"""What may be typed for each option -> the name that help and suggestions use for it."""

_LISTED = "`multijoint --help` lists them"


def find_misspelling(
    words: Sequence[str], *, common: Options, commands: Mapping[str, Options], listed: Iterable[str]
) -> str | None:
    """What is wrong with the first word that is neither a command nor an option of it, and what may have been meant.

    Args:
        words: what follows `multijoint`.
        common: options that may stand before the command; none of them has a value.
        commands: options of each command. Any beginning of an option that is typed stands for it.
        listed: commands that a suggestion may name.

    Returns:
        One line, or None if every command and option is known, or if there is no command.

    Example:
        >>> find_misspelling(["chekc"], common={}, commands={"check": {"--out": "--out"}}, listed=["check"])
        'command must be one that multijoint has, got chekc; did you mean check?'
        >>> find_misspelling(["check", "--uot"], common={}, commands={"check": {"--out": "--out"}}, listed=["check"])
        'option --uot must be one that `multijoint check` has; did you mean --out?'
    """
    command, known = None, common
    for word in words:
        name = word.partition("=")[0]
        if word == "--":
            return None
        if not _looks_like_an_option(word):
            if command is None:
                if word not in commands:
                    hint = _nearest(word, {each: each for each in listed}, otherwise=_LISTED)
                    return f"command must be one that multijoint has, got {word}; {hint}"
                command, known = word, commands[word]
        elif not any(option.startswith(name) for option in known):
            if command is None and any(name in options for options in commands.values()):
                return f"option {name} must follow its command; write multijoint COMMAND {name}"
            if name in common:
                return f"option {name} must stand alone; write multijoint {name}"
            own = " ".join(["multijoint", *([command] if command else [])])
            hint = _nearest(name, known, otherwise=f"`{own} --help` lists them")
            return f"option {name} must be one that `{own}` has; {hint}"
    return None


def _looks_like_an_option(word: str) -> bool:
    """As argparse has it: a number, a text with blanks or a dash alone is a value."""
    return re.match(r"-[^\s]+$", word) is not None and re.match(r"-\d*\.?\d+$", word) is None


def _nearest(given: str, names: Options, *, otherwise: str) -> str:
    import difflib

    known = {_bare(typed): shown for typed, shown in names.items()}
    begun = [each for each in known if each.startswith(_bare(given))]
    near = begun if len(begun) == 1 else difflib.get_close_matches(_bare(given), known, n=1)
    return f"did you mean {known[near[0]]}?" if near else otherwise


def _bare(name: str) -> str:
    """A name without what all names share, so that likeness is about the rest."""
    return name.strip("-").lower().replace("_", "-")
