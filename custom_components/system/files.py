"""Writing a file whole or not at all, and leaving nothing behind."""

from __future__ import annotations

import contextlib
import csv
import glob
import hashlib
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np
from custom_components.errors import InputError, show_path
from custom_components.system.locks import HAS_LOCKS, lock_file
from custom_components.system.termination import at_termination, creating

_FORMULA = re.compile("[ \u00a0]*[=+\\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-](inf|nan)", re.ASCII)
_NO_TEXT = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # surrogates that stand for no byte
_LARGE_FOLDER = 2**16  # bytes of its list of names, thousands of them: one list a file written takes ever longer
TEMPORARY = ".*.tmp-*"
"""Pattern of the names of temporary files: `.<final name>.tmp-<process>`."""

READ_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""For `os.open`, to read a file's bytes without blocking on a pipe or a device; each system has some of them."""


def write_atomically(path: Path, data: bytes, *, check: Callable[[bytes], None] | None = None) -> None:
    """Write `data` to `path` so that a reader sees the old file or the new one, never a part.

    The bytes go to a hidden temporary file in the same folder, are flushed to the disk, read back and compared, and
    only then take the final name. Whatever fails, Ctrl-C included, the temporary file is removed and an older `path`
    stays as it was; a temporary file that a killed process left goes too, but in a folder of thousands of files, which
    `remove_stale_temporaries` clears. Missing parent folders are made. `check` gets the bytes read back, before they
    take the final name; an error from it ends the writing.

    Raises:
        InputError: `path` is a folder, or a file has the name of a folder that it goes to.
        OSError: the system refused (no permission, disk full, other bytes read back); the error names `path`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_atomically(Path(folder, "fold", "scores.json"), b"{}")
        ...     [file.name for file in Path(folder, "fold").iterdir()]
        ['scores.json']
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"file to write must not be a folder, got {show_path(path)}; name a file inside it")
    make_folder(path.parent)
    try:
        if path.parent.stat().st_size < _LARGE_FOLDER:
            for stale in path.parent.glob(f".{glob.escape(path.name)}.tmp-*"):
                _remove_if_stale(stale)
        with _temporary(path) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            found = Path(file.name).read_bytes()
            if found != data:
                raise OSError(5, "the bytes read back differ from those written")
            if check is not None:
                check(found)
            if not HAS_LOCKS:
                file.close()
            os.replace(file.name, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise type(error)(error.errno, f"could not write the file: {error.strerror or error}", str(path)) from error


def make_folder(path: Path) -> None:
    """Make a folder for results, and those above it, where there is none.

    Raises:
        InputError: a file has its name, or that of a folder above it.
        OSError: the system refused.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        file = next((each for each in (path, *path.parents) if each.exists() and not each.is_dir()), path)
        rule = f"folder for results must be a folder, got the file {show_path(file)}"
        raise InputError(f"{rule}; choose another name or move the file away") from error
    except OSError as error:
        raise type(error)(error.errno, f"could not make the folder: {error.strerror or error}", str(path)) from error


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays, by name, as a compressed `.npz`, whole or not at all; the same arrays give the same bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **dict(arrays))
    write_atomically(path, buffer.getvalue())


def write_csv(
    path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, errors: str = "surrogateescape"
) -> None:
    """Write a CSV table, whole or not at all; a column that a row lacks stays empty.

    Text that a spreadsheet would take for a formula is neutralised, see `neutralise`. `errors` says, as for
    `str.encode`, what becomes of a byte of a file name that is no text; other surrogates are escaped.

    Raises:
        ValueError: a row has a key that is no column.
    """
    lines: list[str] = []
    # By that end of line the writer knows that a "\r" in a cell wants quotes.
    sink: Any = SimpleNamespace(write=lambda line: lines.append(line.removesuffix("\r\n") + "\n"))
    table = csv.DictWriter(sink, columns, lineterminator="\r\n")
    table.writerow({column: neutralise(column) for column in columns})
    table.writerows({column: neutralise(cell) for column, cell in row.items()} for row in rows)
    content = _NO_TEXT.sub(lambda found: ascii(found[0])[1:-1], "".join(lines))
    write_atomically(path, content.encode(errors=errors))


def read_csv(path: Path) -> list[dict[Any, Any]]:
    """Rows of a table of `write_csv`, with the text and the names of files that it was given."""
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return restored(csv.DictReader(file))


def restored(rows: Iterable[Mapping[Any, Any]]) -> list[dict[Any, Any]]:
    """Rows of `csv.DictReader` with the text that `write_csv` was given; see `read_csv`."""
    return [{key and restore(key): cell and restore(cell) for key, cell in row.items()} for row in rows]


def neutralise(cell: Any) -> Any:
    """A cell of a table as a spreadsheet may have it: before text that it would run as a formula stands a `'`.

    Such is text that begins with `=`, `+`, `-` or `@`, as narrow or wide characters, or with a tab or line break (the
    rule of OWASP). Numbers stay, also as text.

    Example:
        >>> [neutralise(cell) for cell in ("=1+1", "@a", "-a", "-1.5", -1.5, "a=1")]
        ["'=1+1", "'@a", "'-a", '-1.5', -1.5, 'a=1']
    """
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def restore(cell: Any) -> Any:
    """The text that `neutralise` was given.

    Example:
        >>> restore("'=1+1"), restore("'a'")
        ('=1+1', "'a'")
    """
    return cell[1:] if isinstance(cell, str) and cell.startswith("'") and _FORMULA.match(cell[1:]) else cell


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_stale_temporaries(folder: Path, *, recursive: bool = True) -> int:
    """Remove the temporary files in a folder whose process was killed, also in those below it; returns their number.

    A file that is being written is locked by its process and stays, on whatever machine that runs. Without locks all
    of them stay.
    """
    paths = Path(folder).rglob(TEMPORARY) if recursive else Path(folder).glob(TEMPORARY)
    return sum(_remove_if_stale(path) for path in list(paths))


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[BinaryIO]:
    """A new, locked temporary file for `path`, gone at the end unless it has been renamed."""
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with at_termination(lambda: temporary.unlink(missing_ok=True)):  # before it exists: SIGTERM may come at once
        with creating():
            file = _open_locked(temporary)
        try:
            yield file
        finally:
            if not HAS_LOCKS:
                file.close()
            temporary.unlink(missing_ok=True)
            file.close()


def _open_locked(path: Path) -> BinaryIO:
    while True:
        file = path.open("wb")
        # flock, not filelock: the lock is on the file that is written, and goes with its process. filelock would
        # empty the file before it tries the lock (O_TRUNC), or need a second file that a killed process leaves.
        with contextlib.suppress(OSError):  # a file system without locks has no stale files either
            lock_file(file)
        if path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno())):
            return file
        file.close()  # another process took it for stale between the two lines


def _remove_if_stale(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            lock_file(file)
            path.unlink()
    except OSError:  # locked, gone, or not ours to remove
        return False
    return True


def _sync_folder(folder: Path) -> None:
    """Make a rename last; a file system that cannot sync folders does without."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
