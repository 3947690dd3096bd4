"""The files of volumes other than NIfTI: their headers, and their bytes verified from the first to the last."""

from __future__ import annotations

import contextlib
import hashlib
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from custom_components.errors import InputError, show_path
from custom_components.io.binary_headers import ANALYZE_SIZE, GIPL_SIZE, MGH_SIZE, parse_analyze, parse_gipl, parse_mgh
from custom_components.io.formats import Format, format_of
from custom_components.io.metaimage_headers import LAST, parse_metaimage
from custom_components.io.nifti_files import Content, open_content
from custom_components.io.nrrd_headers import parse_nrrd
from custom_components.io.raster import MAX_HEADER, Raster, checked
from custom_components.io.values import MAX_TRAILING, wrong_length
from custom_components.system.files import file_digest

_STEP = 2**12  # bytes of a text header read at once
_PART = 2**20  # bytes of voxels
_ENDS = {
    "NRRD": re.compile(rb"\n\r?\n"),
    "MetaImage": re.compile(rb"(?:^|\n)[ \t]*" + LAST.encode() + rb"[ \t]*=[^\n]*\n"),
}
_STARTS = {"NRRD": re.compile(rb"NRRD000"), "MetaImage": re.compile(rb"\s*[A-Za-z]+[ \t]*=")}
_PARSERS: dict[Format, tuple[int, Callable[[bytes, Path], Raster]]] = {
    "Analyze": (ANALYZE_SIZE, parse_analyze),
    "GIPL": (GIPL_SIZE, parse_gipl),
    "MGH": (MGH_SIZE, parse_mgh),
}


@dataclass(frozen=True)
class Verified:
    """What the bytes of a volume came to.

    Args:
        digest: SHA-256 of the stored bytes, in hexadecimal; of the header's file and then that of the voxels.
        checksum: CRC-32 of the voxels, unpacked; `None` for a database.
        num_trailing: bytes after the voxels that the format does not explain.
    """

    digest: str
    checksum: int | None
    num_trailing: int


def read_raster(path: Path) -> Raster:
    """The statement of a file's header, checked, without reading the voxels.

    Raises:
        InputError: the file, its header or its geometry cannot be used.
    """
    found = format_of(path)
    with open_content(path) as content:
        if found in _PARSERS:
            size, parse = _PARSERS[found]
            raster = checked(parse(content.read(size), path))
        else:
            raster = checked(parse_text(content))
    return raster


def scan_digest(path: Path) -> str:
    """SHA-256 of the bytes of a volume, in hexadecimal, those of its voxels included where they are in another file."""
    digest = file_digest(path)
    if not path.name.lower().endswith((".nrrd", ".nhdr", ".mha", ".mhd", ".hdr")):
        return digest
    with contextlib.suppress(InputError, OSError):
        if data := read_raster(path).data:
            return _joined(digest, file_digest(path.with_name(data)))
    return digest


def verify(raster: Raster) -> Verified:
    """Read a volume's bytes to the end: they are as many as the header says, and every checksum is right.

    Raises:
        InputError: truncated, longer than the header says, or damaged.
    """
    try:
        return _verify(raster)
    except InputError as error:
        if not raster.data:
            raise
        raise InputError(f"voxels of {show_path(raster.path)}: {error}") from error


def _verify(raster: Raster) -> Verified:
    data = raster.path.with_name(raster.data) if raster.data else raster.path
    with open_content(data, is_part=bool(raster.data)) as outer:
        size = outer.size
        offset = raster.offset
        if offset < 0:
            offset = (size or 0) - raster.num_bytes
        if size is not None and not raster.packing:
            extra = size - max(offset, 0) - raster.num_bytes
            if offset < 0 or not 0 <= extra <= max(MAX_TRAILING, raster.most_trailing):
                raise wrong_length(data, f"{abs(extra) or -offset} bytes {'less' if extra <= 0 else 'more'}")
        for start in range(0, offset, _PART):
            wanted = min(_PART, offset - start)
            if len(outer.read(wanted)) < wanted:
                raise wrong_length(data, "the end before the first voxel")
        voxels = outer
        if raster.packing:
            voxels = Content(outer, data, size=max((size or 0) - offset, 0), packing=raster.packing)
        checksum = 0
        for start in range(0, raster.num_bytes, _PART):
            wanted = min(_PART, raster.num_bytes - start)
            part = voxels.read(wanted)
            if len(part) < wanted:
                raise wrong_length(data, f"{raster.num_bytes - start - len(part)} bytes less")
            checksum = zlib.crc32(part, checksum)
        most = max(MAX_TRAILING, raster.most_trailing)
        num_trailing = len(voxels.read(most + 1))
        if num_trailing > most:
            raise wrong_length(data, f"more than {most} bytes more")
        digest = outer.digest
    if raster.data:
        digest = _joined(file_digest(raster.path), digest)
    return Verified(digest, checksum, num_trailing if num_trailing > raster.most_trailing else 0)


def _joined(header: str, voxels: str) -> str:
    return hashlib.sha256(bytes.fromhex(header + voxels)).hexdigest()


def parse_text(content: Content) -> Raster:
    """The header of an NRRD or MetaImage file, read as far as its last line."""
    path, raw, found = content.path, b"", format_of(content.path)
    while True:
        part = content.read(_STEP)
        end = _ENDS[found].search(raw + part, max(0, len(raw) - _STEP))
        raw += part
        if end or len(part) < _STEP or len(raw) > MAX_HEADER:
            break
    if not raw:
        raise InputError(f"volume {show_path(path)} must not be empty, got 0 bytes; copy or download it again")
    if not _STARTS[found].match(raw):
        kind = "a gzip file" if raw.startswith(b"\x1f\x8b") else "other bytes"
        raise InputError(f"volume {show_path(path)} must start with a header of {found}, got {kind}; convert it")
    if not end and len(raw) > MAX_HEADER:
        rule = f"header of {show_path(path)} must end within {MAX_HEADER} bytes"
        raise InputError(f"{rule}, got no end; copy or download it again")
    text = raw[: end.end() if end else len(raw)].decode(errors="replace")
    if found == "NRRD":
        return parse_nrrd(text, path, size=end.end() if end else None)
    return parse_metaimage(text, path, size=end.end() if end else len(raw))
