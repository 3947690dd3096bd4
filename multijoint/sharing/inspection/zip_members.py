"""A strict reader of zip files: one meaning for every byte, or an error.

Readers of zip files trust different parts: the central directory, the local headers, the first or the last end record.
A hostile file can so show one content to an inspector and another to the tool that runs it. This reader accepts a
single layout without room for that: local headers in a row from the first byte, each equal to its entry in the
directory, then the directory, then its end record, then the end of the file.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_END, _CENTRAL, _LOCAL = b"PK\x05\x06", b"PK\x01\x02", b"PK\x03\x04"
_END64, _LOCATOR64, _DESCRIPTOR = b"PK\x06\x06", b"PK\x06\x07", b"PK\x07\x08"
_BIG = 0xFFFFFFFF
_MOST_DIRECTORY = 16 * 2**20
_CHUNK = 2**20
_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
_METHODS = (0, 8)  # stored, deflated


class ZipFault(ValueError):
    """Reason why a zip file is unreadable or ambiguous, in a few words."""


@dataclass(frozen=True)
class Member:
    """One member, the same in the directory and in its local header; sizes and offsets in bytes."""

    name: str
    flags: int
    method: int
    crc: int
    packed_size: int
    size: int
    mode: int
    header: int
    start: int = 0

    @property
    def is_folder(self) -> bool:
        """Whether the name is that of a folder."""
        return self.name.endswith("/")


def read_members(file: BinaryIO, *, most: int = 10_000) -> list[Member]:
    """List the members of a seekable zip file, at most `most`, in the order of their bytes; nothing is unpacked.

    Raises:
        ZipFault: no zip file, damaged, or readable in more than one way.
    """
    size = file.seek(0, 2)
    count, start, length, end = _read_end(file, size)
    if count > most:
        raise ZipFault(f"size bomb: {count} members, more than {most}")
    if length > _MOST_DIRECTORY:
        raise ZipFault(f"size bomb: a directory of {length} bytes")
    if start + length != end:
        raise ZipFault("directory not right before the end record: prepended or hidden data, or a damaged file")
    members = sorted(_read_directory(_read(file, start, length), count), key=lambda member: member.header)
    return list(_check_rows(file, members, start))


def read_data(file: BinaryIO, member: Member, *, most: int) -> Iterator[bytes]:
    """Read a member in pieces, counted and checked, and stop at the first byte too many.

    Raises:
        ZipFault: more than `most` bytes, or a size or checksum that differs from the directory.
    """
    file.seek(member.start)
    left, size, crc = member.packed_size, 0, 0
    inflate = zlib.decompressobj(-15) if member.method else None
    while True:
        piece = inflate.unconsumed_tail if inflate else b""
        if not piece:
            piece = file.read(min(left, _CHUNK))
            left -= len(piece)
        try:
            data = inflate.decompress(piece, _CHUNK) if inflate else piece
        except zlib.error as error:
            raise ZipFault("damaged data") from error
        size, crc = size + len(data), zlib.crc32(data, crc)
        if size > min(most, member.size):
            raise ZipFault(f"size lie: unpacks to more than the {min(most, member.size)} bytes that it may have")
        if data:
            yield data
        elif not piece or (inflate and inflate.eof):
            break
    if left or size != member.size or (inflate and (inflate.unused_data or not inflate.eof)):
        raise ZipFault(f"size lie: {size} bytes in place of the {member.size} that it states")
    if crc != member.crc:
        raise ZipFault("checksum (CRC) of the data differs")


def _read(file: BinaryIO, start: int, length: int) -> bytes:
    file.seek(start)
    data = file.read(length)
    if len(data) != length:
        raise ZipFault("file ends early")
    return data


def _read_end(file: BinaryIO, size: int) -> tuple[int, int, int, int]:
    """Number of members, start and length of the directory, and where the end records begin."""
    tail_start = max(0, size - 22 - 0xFFFF)
    tail = _read(file, tail_start, size - tail_start)
    place = tail.find(_END)  # the first: another in a comment would be a second directory to other readers
    if place < 0 or len(tail) - place < 22:
        raise ZipFault("no end record: not a zip file, or cut short")
    disk, first_disk, here, count, length, start, comment = struct.unpack_from("<4H2LH", tail, place + 4)
    if tail_start + place + 22 + comment != size:
        raise ZipFault("trailing data after the end record, or two end records")
    if any(ord_ < 32 for ord_ in tail[place + 22 :]):
        raise ZipFault("control characters in the comment")
    end = tail_start + place
    locator = _read(file, end - 20, 20) if end >= 20 else b""
    if locator[:4] == _LOCATOR64:
        where, disks = struct.unpack_from("<QL", locator, 8)
        if disks != 1 or where + 56 != end - 20:
            raise ZipFault("zip64 end record where none can be")
        record = _read(file, where, 56)
        if record[:4] != _END64:
            raise ZipFault("zip64 end record where none can be")
        more = struct.unpack_from("<Q2H2L4Q", record, 4)
        for short, long, limit in zip(
            (here, count, length, start), more[5:], (0xFFFF, 0xFFFF, _BIG, _BIG), strict=True
        ):
            if short not in (limit, long):
                raise ZipFault("zip64 end record that contradicts the end record")
        disk, first_disk, (here, count, length, start), end = more[3], more[4], more[5:], where
    if disk or first_disk or here != count:
        raise ZipFault("archive in several parts")
    return count, start, length, end


def _read_directory(data: bytes, count: int) -> list[Member]:
    members, place = [], 0
    for _ in range(count):
        if data[place : place + 4] != _CENTRAL or len(data) - place < 46:
            raise ZipFault("directory is damaged")
        fields = struct.unpack_from("<6H3L5H2L", data, place + 4)
        flags, method, crc, packed, size = fields[2], fields[3], fields[6], fields[7], fields[8]
        name_length, extra_length, comment_length, disk = fields[9:13]
        name = data[place + 46 : place + 46 + name_length]
        extra = data[place + 46 + name_length : place + 46 + name_length + extra_length]
        place += 46 + name_length + extra_length + comment_length
        if disk or place > len(data):
            raise ZipFault("directory is damaged")
        size, packed, header = _widen(extra, (size, packed, fields[15]))
        text = _decode(name, flags)
        members.append(Member(text, flags, method, crc, packed, size, fields[14] >> 16, header))
    if place != len(data):
        raise ZipFault("directory holds more than the members it counts")
    return members


def _decode(name: bytes, flags: int) -> str:
    try:
        return name.decode("utf-8" if flags & 0x800 else "cp437")
    except UnicodeDecodeError as error:
        raise ZipFault("name of a member is not UTF-8") from error


def _widen(extra: bytes, values: tuple[int, ...]) -> tuple[int, ...]:
    """Replace each 0xFFFFFFFF of `values` (sizes, offset) by the number in the zip64 field."""
    place, wide = 0, b""
    while place + 4 <= len(extra):
        tag, length = struct.unpack_from("<2H", extra, place)
        if tag == 0x7075:
            raise ZipFault("a member with two names (unicode path field)")
        if tag == 1:
            wide = extra[place + 4 : place + 4 + length]
        place += 4 + length
    found, place = [], 0
    for value in values:
        if value == _BIG:
            if len(wide) < place + 8:
                raise ZipFault("zip64 field is missing or too short")
            value = struct.unpack_from("<Q", wide, place)[0]
            place += 8
        found.append(value)
    return tuple(found)


def _check_rows(file: BinaryIO, members: list[Member], end: int) -> Iterator[Member]:
    """Members with the start of their data, if they lie in a row without gaps and equal the directory."""
    place = 0
    for member in members:
        if member.header != place:
            what = "overlapping members" if member.header < place else "prepended or hidden data"
            raise ZipFault(f"{what}, before or at {member.name!r}")
        head = _read(file, place, 30)
        flags, method, _, _, crc, packed, size, name_length, extra_length = struct.unpack_from("<4H3L2H", head, 6)
        rest = _read(file, place + 30, name_length + extra_length)
        if head[:4] != _LOCAL or (flags, method) != (member.flags, member.method):
            raise ZipFault(f"local header of {member.name!r} differs from the directory")
        if _decode(rest[:name_length], flags) != member.name:
            raise ZipFault(f"name {member.name!r} differs between directory and local header")
        size, packed = _widen(rest[name_length:], (size, packed))
        stated = (crc, packed, size)
        later = bool(flags & 8) and stated == (0, 0, 0)
        if not later and stated != (member.crc, member.packed_size, member.size):
            raise ZipFault(f"size lie: local header of {member.name!r} states other sizes than the directory")
        start = place + 30 + name_length + extra_length
        place = start + member.packed_size
        if place > end:
            raise ZipFault(f"overlapping members: {member.name!r} reaches into the directory")
        if flags & 8:
            place += _descriptor_length(_read(file, place, min(24, end - place)), member)
        if member.flags & _ENCRYPTED:
            raise ZipFault(f"encrypted member: {member.name!r}")
        if member.method not in _METHODS:
            raise ZipFault(f"unknown compression {member.method}: {member.name!r}")
        if not member.method and member.packed_size != member.size:
            raise ZipFault(f"size lie: stored member with two sizes: {member.name!r}")
        yield Member(**{**vars(member), "start": start})
    if place != end:
        raise ZipFault("hidden data before the directory")


def _descriptor_length(data: bytes, member: Member) -> int:
    for layout, mask in (("<3L", _BIG), ("<L2Q", -1)):
        stated = struct.pack(layout, member.crc, member.packed_size & mask, member.size & mask)
        for sign in (_DESCRIPTOR, b""):
            if data.startswith(sign + stated):
                return len(sign + stated)
    raise ZipFault(f"size lie: data descriptor of {member.name!r} differs from the directory")
