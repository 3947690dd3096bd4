"""Streams over the content of plain and compressed files, with limits on their size and checksums verified."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Protocol

from custom_components.errors import InputError, show_path
from custom_components.io.formats import format_of
from custom_components.system.files import READ_FLAGS

try:
    from isal import isal_zlib  # ISA-L, of the extra `fast`: reads twice as fast as zlib and writes ten times as fast
except ImportError:
    isal_zlib = None  # type: ignore[assignment]

MAX_VOXELS = "MULTIJOINT_MAX_VOXELS"
"""Environment variable: how many voxels a volume may have; 2**29 unless set."""

MAX_BYTES = "MULTIJOINT_MAX_BYTES"
"""Environment variable: how many bytes a volume may have, compressed and decompressed; 4 GiB unless set."""

_DEFAULTS = {MAX_VOXELS: 2**29, MAX_BYTES: 2**32}
_CHUNK = 2**16  # compressed bytes per call of zlib; small, because zlib copies the unused rest for each member
_MAX_EMPTY_MEMBERS = 1000
_MAGIC = b"\x1f\x8b"
_MOST_FLAGS = b"\x1f"  # of a gzip header; ISA-L takes unknown ones too
_WINDOW_BITS = {"gzip": 31, "zlib": 47}  # the last takes either
_DAMAGE = (zlib.error, getattr(isal_zlib, "error", zlib.error))
_PACKED = (".gz", ".mgz")
_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
_KINDS |= dict.fromkeys((stat.S_IFCHR, stat.S_IFBLK), "a device")
_CAUSES = {
    "incorrect data check": "CRC check failed",
    "incorrect length check": "another length than its trailer says",
    "incorrect header check": "no header of it",
}


def check_size(number: int, *, limit: str, path: Path) -> None:
    """Refuse a volume whose number of voxels or bytes exceeds the limit `MAX_VOXELS` or `MAX_BYTES`.

    Raises:
        InputError: the limit is exceeded, or its environment variable is not a positive whole number.
    """
    text = os.environ.get(limit, "")
    try:
        most = int(text) if text else _DEFAULTS[limit]
    except ValueError:
        most = 0
    if most < 1:
        raise InputError(f"{limit} must be a positive whole number, got {text[:40]!r}; correct or unset it")
    if number > most:
        what = "voxels" if limit == MAX_VOXELS else "bytes"
        raise InputError(
            f"volume {show_path(path)} must have at most {most} {what}, got {number}; "
            f"set {limit} to a higher number if it is right"
        )


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes | None:
        """At most so many bytes, none at the end."""


class Content:
    """Content of `size` stored bytes of a file, decompressed while read from front to back.

    Without a `packing`, the name tells: `.gz` and `.mgz` are gzip files, others are not compressed. Where ISA-L is
    installed it decompresses gzip files, unless the stream cannot be read again: what it finds damaged, zlib judges.
    """

    def __init__(
        self, stream: _Readable, path: Path, *, size: int, packing: Literal["", "gzip", "zlib"] | None = None
    ) -> None:
        self.path = path
        self._packing = ("gzip" if path.name.lower().endswith(_PACKED) else "") if packing is None else packing
        self.size = None if self._packing else size
        """Number of bytes of content; None if compressed, as only the end of the stream tells."""
        self._stream: Any = stream
        self._hash = hashlib.sha256()
        self._input = b""
        self._position = self._num_hashed = 0  # in the stored bytes
        self._member: Any = None  # a decompressor of `zlib` or of `isal_zlib`, which works alike
        self._start = self._num_given = self._to_skip = 0  # the current member's place, content so far, and read again
        self._by_isal = False
        self._num_members = self._num_empty = 0
        self._is_empty = True  # whether the current member has had no content so far

    @property
    def digest(self) -> str:
        """SHA-256 of the stored bytes read so far, in hexadecimal: of the whole file after the end."""
        return self._hash.hexdigest()

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer only at the end, where every checksum has been verified.

        Raises:
            InputError: the file is not readable, or not an intact gzip file.
        """
        parts, missing = [], size
        while missing > 0:
            part = self._stored(min(missing, 2**24)) if self.size is not None else self._inflated(missing)
            if not part:
                break
            parts.append(part)
            missing -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _stored(self, size: int) -> bytes:
        try:
            data = self._stream.read(size) or b""
        except OSError as error:
            raise _unreadable(self.path, error) from error
        self._position += len(data)
        if self._position > self._num_hashed:  # else it was read before
            self._hash.update(memoryview(data)[self._num_hashed - self._position :])
            self._num_hashed = self._position
        return data

    def _inflated(self, size: int) -> bytes:
        """Decompress at least one and at most `size` bytes; empty at the end of the last member.

        A gzip file is a sequence of members, each with its own checksum. The number of empty members is limited, so
        that a file of nothing else cannot keep the reader busy.
        """
        while True:
            self._input = self._input or self._stored(_CHUNK)
            member = self._member or self._next_member()
            if member is None:
                return b""
            ended = not self._input
            try:
                data = member.decompress(self._input, self._to_skip or size)
            except _DAMAGE as error:
                if self._by_isal:
                    self._judge()
                    continue
                cause = str(error).rpartition(": ")[2]
                raise self._broken(_CAUSES.get(cause, cause)) from error
            self._input = member.unused_data if member.eof else member.unconsumed_tail
            self._is_empty &= not data
            if member.eof:
                self._member = None
                self._num_empty += self._is_empty
                if self._num_empty > _MAX_EMPTY_MEMBERS:
                    raise self._broken(f"more than {_MAX_EMPTY_MEMBERS} empty members")
            if self._to_skip:
                self._to_skip -= len(data)
            elif data:
                self._num_given += len(data)
                return data
            if ended and not member.eof:
                if self._by_isal:
                    self._judge()
                    continue
                raise self._broken("the end of the file before the end of the stream (truncated)")

    def _judge(self) -> None:
        """Read the member again by zlib, up to where ISA-L found it damaged: every reader gives the same reason."""
        self._stream.seek(self._start)
        self._position, self._input = self._start, b""
        self._member, self._by_isal = zlib.decompressobj(wbits=_WINDOW_BITS["gzip"]), False
        self._to_skip = self._num_given

    def _next_member(self) -> Any:
        """Start the next gzip member; None at the end of the file."""
        if self._num_members:
            while self._input and not self._input.strip(b"\0"):
                self._input = self._stored(_CHUNK)  # padding to full blocks, as on tapes
            self._input = self._input.lstrip(b"\0")
        if len(self._input) == 1:
            self._input += self._stored(_CHUNK)
        if not self._input:
            return None
        is_gzip = self._packing == "gzip"
        if (is_gzip or self._num_members) and not (is_gzip and self._input.startswith(_MAGIC)):
            raise self._broken("other bytes after its end" if self._num_members else f"no {self._packing} file")
        known = is_gzip and b"" < self._input[3:4] <= _MOST_FLAGS
        self._by_isal = known and isal_zlib is not None and hasattr(self._stream, "seek")
        library = isal_zlib if self._by_isal else zlib
        self._member, self._is_empty = library.decompressobj(wbits=_WINDOW_BITS[self._packing]), True
        self._start, self._num_given = self._position - len(self._input), 0
        self._num_members += 1
        return self._member

    def _broken(self, cause: str) -> InputError:
        rule = f"volume {show_path(self.path)} must be an intact {self._packing} file"
        return InputError(f"{rule}, got {cause}; copy or download it again")


@contextlib.contextmanager
def open_content(path: Path, *, is_part: bool = False) -> Iterator[Content]:
    """Open the file of a volume for reading from front to back, without blocking on a pipe or a device.

    A part of a volume, as the file of the voxels that a header names, may have any name, and is not decompressed.

    Raises:
        InputError: the name is wrong, or the file is not regular, not readable, empty, or larger than `MAX_BYTES`.
    """
    if not is_part:
        format_of(path)
    try:
        descriptor = os.open(path, READ_FLAGS)
    except ValueError as error:
        raise InputError(f"name of volume {show_path(path)!r} must be a file name, got: {error}") from error
    except FileNotFoundError as error:
        found = "a broken symbolic link" if path.is_symlink() else "nothing there"
        remedy = "remove # from it, which MONAI reads as ::" if "::" in str(path) else "check the path"
        raise InputError(f"volume {show_path(path)} must be an existing file, got {found}; {remedy}") from error
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.EOPNOTSUPP):
            raise _irregular(path, "a socket or a device") from error
        raise _unreadable(path, error) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise _irregular(path, _KINDS.get(stat.S_IFMT(status.st_mode), "something else"))
    with open(descriptor, "rb", buffering=0) as stream:
        if not status.st_size:
            raise InputError(f"volume {show_path(path)} must not be empty, got 0 bytes; copy or download it again")
        check_size(status.st_size, limit=MAX_BYTES, path=path)
        yield Content(stream, path, size=status.st_size, packing="" if is_part else None)


def _irregular(path: Path, found: str) -> InputError:
    return InputError(f"volume {show_path(path)} must be a regular file, got {found}; check the path")


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"volume {show_path(path)} must be readable, got: {error.strerror}; check its permissions")
