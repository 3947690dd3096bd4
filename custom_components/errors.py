"""The exception for unusable input, and error messages in one line without paths."""

from __future__ import annotations

import contextlib
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath

__all__ = [
    "InputError",
    "LOG_PATHS",
    "ResourceError",
    "explain",
    "failure_of",
    "find_cause",
    "list_first",
    "needs_extra",
    "printable",
    "show_path",
    "suggest",
]

LOG_PATHS = "MULTIJOINT_LOG_PATHS"
"""Environment variable; `1` shows whole paths of scans and labels in messages, logs and reports."""

_MAX_LISTED = 5


class InputError(ValueError):
    """Raised when something the user gave is unusable.

    The message is one line that names the file or value, the rule it breaks and the remedy:
    `<thing> must be <rule>, got <value>; <remedy>`. Commands print it alone, without a traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(" ".join(message.split())))


class ResourceError(InputError):
    """Raised when the machine lacks what a command needs, such as room for temporary files; nothing given is wrong.

    A command ends with `exit_code`, to tell it from a judgement of the input.
    """

    exit_code = 3


def find_cause(error: BaseException, *kinds: type[BaseException]) -> BaseException | None:
    """The first exception of the given kinds in `error`'s chain of causes, itself included.

    MONAI wraps every exception of a component in its own RuntimeError.

    Example:
        >>> try:
        ...     try:
        ...         raise InputError("scan.nii must be a volume")
        ...     except InputError as error:
        ...         raise RuntimeError("Failed to instantiate") from error
        ... except RuntimeError as error:
        ...     print(find_cause(error, InputError))
        scan.nii must be a volume
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, kinds):
        cause = cause.__cause__ or cause.__context__
    return cause


def printable(text: str, *, keep: str = "") -> str:
    r"""Text for a terminal: characters that control it, line breaks too, are written as escapes; `keep` stays.

    Names of files and bones may hold anything: sequences that move the cursor, right-to-left overrides, bytes that are
    no text.

    Example:
        >>> print(printable("a" + chr(27) + "[2J" + chr(10) + "b" + chr(0x202E) + "c ü"))
        a\x1b[2J\nb\u202ec ü
    """
    if text.isprintable():
        return text
    return "".join(each if each in keep or _is_harmless(each) else ascii(each)[1:-1] for each in text)


def _is_harmless(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


def show_path(path: str | PurePath) -> str:
    """How messages, logs and reports name a file: by its own name alone, since folders are often called after patients.

    With `MULTIJOINT_LOG_PATHS=1` (`--log-paths`) by its whole path.

    Example:
        >>> show_path("/clinic/Smith_John/scan.nii.gz")
        'scan.nii.gz'
    """
    return printable(str(path) if os.environ.get(LOG_PATHS) == "1" else PurePath(path).name or str(path))


def explain(error: BaseException) -> str:
    """One line about an error; files as `show_path` names them.

    Example:
        >>> explain(PermissionError(13, "Permission denied", "/clinic/Smith_John/scan.nii.gz"))
        'scan.nii.gz: Permission denied'
    """
    if isinstance(error, OSError) and error.filename is not None:
        return " ".join(f"{show_path(os.fsdecode(error.filename))}: {error.strerror or error}".split())
    return printable(" ".join(str(error).split())) or type(error).__name__


def list_first(problems: Sequence[str]) -> str:
    """The first five of several problems, for one line; dots stand for the others.

    Example:
        >>> list_first(["a", "b", "c", "d", "e", "f"])
        'a; b; c; d; e; ...'
    """
    return "; ".join(problems[:_MAX_LISTED]) + ("; ..." if len(problems) > _MAX_LISTED else "")


def suggest(name: str, known: Iterable[str], *, most: int = 1, otherwise: str = "") -> str:
    """Remedy for a name that is not known: up to `most` of the known names closest to it, or else all of them.

    With `otherwise`, that text is the remedy where none is close.

    Example:
        >>> suggest("max_epoch", ["seed", "max_epochs"])
        'did you mean max_epochs?'
        >>> suggest("colour", ["seed", "max_epochs"])
        'known are seed, max_epochs'
    """
    import difflib  # a command that finds nothing wrong starts without it

    names = list(known)
    near = difflib.get_close_matches(name, names, n=most)
    return f"did you mean {' or '.join(near)}?" if near else otherwise or f"known are {', '.join(names)}"


@contextlib.contextmanager
def needs_extra(what: str, extra: str) -> Iterator[None]:
    """Turn the failed import of a package that a feature needs into one line that names the extra to install.

    Raises:
        InputError: within the block, a package was imported that is not installed.

    Example:
        >>> try:
        ...     with needs_extra("reading DICOM", "clinic"):
        ...         import a_package_of_the_extra
        ... except InputError as error:
        ...     print(error)
        reading DICOM needs a_package_of_the_extra, got none; pip install 'multijoint[clinic]'
    """
    try:
        yield
    except ImportError as error:
        package = (error.name or "another package").partition(".")[0]
        if package in ("custom_components", "multijoint"):
            raise
        raise InputError(f"{what} needs {package}, got none; pip install 'multijoint[{extra}]'") from error


def failure_of(error: BaseException) -> str:
    """The one line that explains why a volume could not be used, whatever happened.

    With MULTIJOINT_DEBUG set, an error that is no fault of the volume's is raised again.
    """
    cause = find_cause(error, InputError, OSError)
    if cause is not None:
        return explain(cause)
    if find_cause(error, MemoryError) is not None:
        return "volume must fit in the memory that is free, got none left; close other programs or crop the volume"
    if os.environ.get("MULTIJOINT_DEBUG"):
        raise error
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    return f"unexpected {type(root).__name__}: {explain(root)}; set MULTIJOINT_DEBUG=1 to see where, and report it"
