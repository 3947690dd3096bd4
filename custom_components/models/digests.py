"""Files with their SHA-256 beside them, as `sha256sum -c` reads it; and two generations of one file, newest first."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

from custom_components.errors import InputError
from custom_components.system.files import write_atomically

__all__ = ["digest_path", "intact_digest", "read_checked", "write_generation", "write_with_digest"]

_logger = logging.getLogger(__name__)


def digest_path(path: Path) -> Path:
    """The file beside `path` that holds its digest.

    Example:
        >>> digest_path(Path("run", "model.pt")).name
        'model.pt.sha256'
    """
    return path.with_name(f"{path.name}.sha256")


def write_with_digest(path: Path, data: bytes) -> None:
    """Write a file and its digest; whenever the process is killed, the file found agrees with the digest found.

    Two files cannot be replaced at one stroke. So the digest file first holds a line for the new content and one for
    the old, then the file is replaced, then the old line goes: a file is intact if ANY line is its digest.

    Args:
        path: file to write or replace.
        data: its whole content.

    Raises:
        OSError: the system refused; the old file and its digest still agree.
    """
    digest = hashlib.sha256(data).hexdigest()
    _write_lines(path, [digest, intact_digest(path)])
    write_atomically(path, data)
    _write_lines(path, [digest])


def write_generation(newest: Path, previous: Path, data: bytes) -> None:
    """Write `newest` with its digest, after what it was has become `previous`.

    At every moment one of the two is whole: the new content lies on the disk under a temporary name before the old
    one moves. A damaged `newest` never takes the place of `previous`.

    Args:
        newest: file to write or replace.
        previous: file of the same folder that keeps the content before.
        data: the new content.

    Raises:
        OSError: the system refused; what was intact still is.
    """
    digest = hashlib.sha256(data).hexdigest()
    old = intact_digest(newest)
    _write_lines(newest, [digest, old])
    if old is None:
        write_atomically(newest, data)
    else:
        # What is written beside it will do: if that is wrong, it is damaged with this line, too.
        known: Sequence[str | None] = _read_lines(previous) or [intact_digest(previous)]
        _write_lines(previous, [old, *known])
        write_atomically(newest, data, check=lambda _: os.replace(newest, previous))
        _write_lines(previous, [old])
    _write_lines(newest, [digest])


def intact_digest(path: Path) -> str | None:
    """The SHA-256 of a file that `read_checked` would read; None of a missing or a damaged one."""
    try:
        return _read(path)[1]
    except (InputError, FileNotFoundError):
        return None


def read_checked(path: Path) -> tuple[bytes, str]:
    """The bytes of a zip file such as PyTorch writes, and their SHA-256, checked against the digest beside.

    Without a digest beside (a file copied alone) the checksums inside the file must do, and a warning says so.

    Raises:
        InputError: another digest, no zip file, or a part of it whose checksum differs.
    """
    data, digest = _read(path)
    if not digest_path(path).exists():
        _logger.warning("%s: no %s beside it, checked by its own checksums", path.name, digest_path(path).name)
    return data, digest


def _read(path: Path) -> tuple[bytes, str]:
    for _ in range(2):  # once more: a training may have replaced the file between the two readings
        expected = _read_lines(path)
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        if expected is None:
            _check_parts(path, data)
        if expected is None or digest in expected:
            return data, digest
    raise InputError(
        f"checkpoint {path} must match its SHA-256 in {digest_path(path).name}, got {digest[:12]}...; it is damaged: "
        "copy both files again or use an earlier checkpoint"
    )


def _check_parts(path: Path, data: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            reason = archive.testzip()
    except Exception as error:  # whatever damage makes of a zip file: errors of zipfile, zlib, struct, codecs
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    else:
        reason = reason and f"a wrong checksum in {reason}"
    if reason:
        raise InputError(f"checkpoint {path} must be a readable PyTorch file, got {reason}; copy it again")


def _read_lines(path: Path) -> list[str] | None:
    """Digests beside a file; None if there is no file of them."""
    try:
        text = digest_path(path).read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return None
    return [words[0] for words in map(str.split, text.splitlines()) if words]


def _write_lines(path: Path, digests: list[str | None]) -> None:
    lines = "".join(f"{digest}  {path.name}\n" for digest in dict.fromkeys(digests) if digest is not None)
    write_atomically(digest_path(path), lines.encode())
