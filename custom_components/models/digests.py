"""Files accompanied by a SHA-256 file that `sha256sum -c` can check, in one or two generations."""

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

_logger = logging.getLogger(__name__)


def digest_path(path: Path) -> Path:
    """Path of the file that holds the digest of `path`, such as `model.pt.sha256`."""
    return path.with_name(f"{path.name}.sha256")


def join_digests(digests: Sequence[str]) -> str:
    """One digest for several files in their order, or that of a file by itself; "" if one of them is unknown."""
    if len(digests) == 1 or not all(digests):
        return digests[0] if len(digests) == 1 else ""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def write_with_digest(path: Path, data: bytes) -> None:
    """Write a file and its digest such that they agree even if the process is killed at any moment.

    Two files cannot be replaced atomically. Therefore the digest file first lists the digests of both the new and the
    old content, then the file is replaced, and then the old digest is removed. A file counts as intact if ANY line is
    its digest.

    Raises:
        OSError: writing failed; the old file and its digest still agree.
    """
    digest = hashlib.sha256(data).hexdigest()
    _write_lines(path, [digest, intact_digest(path)])
    write_atomically(path, data)
    _write_lines(path, [digest])


def write_generation(newest: Path, previous: Path, data: bytes) -> None:
    """Write `newest` with its digest, and keep its former content as `previous`.

    At every moment one of the two is intact: the new content is on the disk under a temporary name before the old file
    is renamed. A damaged `newest` never replaces `previous`. Both are in one folder.

    Raises:
        OSError: writing failed; intact files are still intact.
    """
    digest = hashlib.sha256(data).hexdigest()
    old = intact_digest(newest)
    _write_lines(newest, [digest, old])
    if old is None:
        write_atomically(newest, data)
    else:
        # Its recorded digests suffice: if they are wrong, `previous` was damaged before and remains so.
        known: Sequence[str | None] = _read_lines(previous) or [intact_digest(previous)]
        _write_lines(previous, [old, *known])
        write_atomically(newest, data, check=lambda _: os.replace(newest, previous))
        _write_lines(previous, [old])
    _write_lines(newest, [digest])


def intact_digest(path: Path) -> str | None:
    """SHA-256 of a file, or None if it is missing or damaged."""
    try:
        return _read(path)[1]
    except (InputError, FileNotFoundError):
        return None


def read_checked(path: Path) -> tuple[bytes, str]:
    """Read a file and check it against its digest file.

    Without a digest file (if only the model was copied), the checksums inside the file, a zip file as PyTorch writes
    it, are checked instead, and a warning is logged. A safetensors file has none inside.

    Returns:
        The bytes of the file and their SHA-256.

    Raises:
        InputError: the digest differs, the file is no zip file, or a checksum inside it is wrong.
    """
    data, digest = _read(path)
    if not digest_path(path).exists():
        how = "not checked for damage" if path.suffix == ".safetensors" else "checked by its own checksums"
        _logger.warning("%s: no %s next to it, %s", path.name, digest_path(path).name, how)
    return data, digest


def _read(path: Path) -> tuple[bytes, str]:
    for _ in range(2):  # a second try, in case a training replaced the file between the two reads
        expected = _read_lines(path)
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        if expected is None and path.suffix != ".safetensors":
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
    except Exception as error:  # damage may cause errors of zipfile, zlib, struct or codecs
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    else:
        reason = reason and f"a wrong checksum in {reason}"
    if reason:
        raise InputError(f"checkpoint {path} must be a readable PyTorch file, got {reason}; copy it again")


def _read_lines(path: Path) -> list[str] | None:
    """Digests listed for a file; None if it has no digest file."""
    try:
        text = digest_path(path).read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return None
    return [words[0] for words in map(str.split, text.splitlines()) if words]


def _write_lines(path: Path, digests: list[str | None]) -> None:
    lines = "".join(f"{digest}  {path.name}\n" for digest in dict.fromkeys(digests) if digest is not None)
    write_atomically(digest_path(path), lines.encode())
