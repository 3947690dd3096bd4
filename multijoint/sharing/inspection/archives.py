"""Unpack a foreign zip file into one new folder: plain files only, none outside, within limits."""

from __future__ import annotations

import os
import re
import shutil
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from custom_components.errors import InputError
from custom_components.system.files import READ_FLAGS

from multijoint.sharing.inspection.report import Concern
from multijoint.sharing.inspection.zip_members import Member, ZipFault, read_data, read_members

_OTHERS = (
    (0, b"\x1f\x8b", "gzip (.gz, .tar.gz)"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ\x00", "xz"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"Rar!\x1a\x07", "rar"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"PK\x03\x04", "zip"),
    (257, b"ustar", "tar"),
)
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_RATIO_FROM = 2**20


@dataclass(frozen=True)
class Limits:
    """Bounds of an unpacked archive."""

    total: int = 4 * 2**30  # bytes of all members
    member: int = 2 * 2**30  # bytes of one
    ratio: int = 200  # unpacked over packed bytes of a member that unpacks to more than 1 MiB
    members: int = 10_000
    depth: int = 16  # folders in each other


class UnsafeArchive(InputError):
    """Raised for an archive that is not unpacked; `concern` says why."""

    def __init__(self, path: Path, concern: Concern) -> None:
        where = "" if concern.path == "." else f" {concern.path}"
        super().__init__(f"archive {path.name} must be safe to unpack, got{where}: {concern.message}; ask its maker")
        self.concern = concern


def other_archive(start: bytes) -> str:
    """Archive format of a file, "" for none, from its first 512 bytes."""
    return next((name for place, magic, name in _OTHERS if start[place : place + len(magic)] == magic), "")


def check_name(name: str) -> str:
    """Fault of a member's name, "" for none: it must stay in its folder on every system and be printable.

    Example:
        >>> check_name("bundle/../../evil.py")
        'path escape: name with ".."'
        >>> check_name("bundle/configs/train.json")
        ''
    """
    parts = name.removesuffix("/").split("/")
    rules = (
        ("\0" in name, "NUL in the name"),
        (any(unicodedata.category(character)[0] == "C" for character in name), "control characters in the name"),
        (name.startswith("/"), "path escape: absolute name"),
        ("\\" in name, "path escape: backslash in the name"),
        (bool(re.match(r"[A-Za-z]:", name)), "path escape: drive letter in the name"),
        (".." in parts, 'path escape: name with ".."'),
        (":" in name, "colon in the name"),
        ("." in parts or "" in parts, 'empty or "." part in the name'),
        (len(name.encode(errors="replace")) > 1024, "very long name"),
        (any(len(part.encode(errors="replace")) > 200 for part in parts), "very long name"),
        (any(part != part.strip() or part.endswith(".") for part in parts), "space or dot at the end of a name"),
        (any(_RESERVED.fullmatch(part) for part in parts), "name that Windows reserves for a device"),
    )
    return next((problem for wrong, problem in rules if wrong), "")


def check_archive(file: BinaryIO, *, limits: Limits | None = None) -> tuple[list[Member], list[Concern]]:
    """Members of a bundle's zip file and concerns about them, from its headers alone.

    Without concerns, `unpack` may go ahead; it counts bytes again while it writes.
    """
    limits = limits or Limits()
    try:
        members = read_members(file, most=limits.members)
    except ZipFault as fault:
        return [], [Concern("unsafe", "archive", ".", f"archive refused: {fault}")]
    found = [Concern("unsafe", "archive", name, problem) for name, problem in check_members(members, limits)]
    roots = {member.name.split("/")[0] for member in members}
    if len(roots) != 1 or any("/" not in member.name for member in members):
        found.append(Concern("unsafe", "archive", ".", "must hold one root folder, got members beside or without it"))
    return members, found


def unpack(path: Path, target: Path, *, limits: Limits | None = None) -> Path:
    """Unpack a bundle's zip file into a folder of ours, whole or not at all.

    Only new, plain files are written, readable by their owner alone, and never through a link.
    No other program may write to `target`, an existing folder; the root folder in it must be new.

    Returns:
        The bundle's folder inside `target`.

    Raises:
        UnsafeArchive: it is unsafe or damaged; nothing of it is left.
    """
    limits = limits or Limits()
    with open_plain(path) as file:
        members, found = check_archive(file, limits=limits)
        if found:
            raise UnsafeArchive(path, found[0])
        root = target / members[0].name.split("/")[0]
        os.mkdir(root, 0o700)
        try:
            _write_members(path, file, members, target, limits)
        except BaseException:
            shutil.rmtree(root, ignore_errors=True)
            raise
    return root


def unpack_files(path: Path, target: Path, *, limits: Limits) -> None:
    """Unpack a zip file of anything into an empty folder of ours, by the rules of `unpack`.

    Raises:
        UnsafeArchive: it is unsafe or damaged; the folder may hold a part of it.
    """
    with open_plain(path) as file:
        try:
            members = read_members(file, most=limits.members)
        except ZipFault as fault:
            raise UnsafeArchive(path, Concern("unsafe", "archive", ".", str(fault))) from fault
        for name, problem in check_members(members, limits):
            raise UnsafeArchive(path, Concern("unsafe", "archive", name, problem))
        _write_members(path, file, members, target, limits)


def open_plain(path: Path) -> BufferedReader:
    """Open a plain file for reading; never a link's target's device or pipe, which would block or never end.

    Raises:
        InputError: it is no plain file.
    """
    descriptor = os.open(path, READ_FLAGS)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(f"{path.name} must be a plain file, got another kind; give a bundle's folder or .zip")
    return os.fdopen(descriptor, "rb")


def check_members(members: list[Member], limits: Limits) -> Iterator[tuple[str, str]]:
    """Names of unsafe members with their faults, for any zip file, also one inside a bundle."""
    total = sum(member.size for member in members)
    if total > limits.total:
        yield ".", f"size bomb: unpacks to {total} bytes, over {limits.total}"
    seen: dict[str, Member] = {}
    for member in members:
        kind = stat.S_IFMT(member.mode)
        if problem := check_name(member.name):
            yield member.name, problem
        if kind == stat.S_IFLNK:
            yield member.name, "symbolic link"
        elif kind not in (0, stat.S_IFREG, stat.S_IFDIR) or (kind == stat.S_IFDIR and not member.is_folder):
            yield member.name, "special file (device, pipe, socket or other kind)"
        if member.mode & (stat.S_ISUID | stat.S_ISGID):
            yield member.name, "set-user-id bit"
        if member.is_folder and member.size:
            yield member.name, "folder with content"
        if member.size > limits.member:
            yield member.name, f"size bomb: unpacks to {member.size} bytes, over {limits.member}"
        elif member.size > _RATIO_FROM and member.size > limits.ratio * member.packed_size:
            yield member.name, f"size bomb: {member.packed_size} bytes unpack to {member.size}"
        if member.name.count("/") > limits.depth:
            yield member.name, f"more than {limits.depth} folders in each other"
        plain = unicodedata.normalize("NFKC", member.name.removesuffix("/"))
        key = unicodedata.normalize("NFKC", plain.casefold())
        if key in seen:
            yield member.name, f"duplicate name, also of {seen[key].name!r} (upper and lower case alike)"
        seen[key] = member
    files = {key for key, member in seen.items() if not member.is_folder}
    for key, member in seen.items():
        parts = key.split("/")[: limits.depth]
        if any("/".join(parts[:end]) in files for end in range(1, len(parts))):
            yield member.name, "duplicate name: a file that is a folder too"


def _write_members(path: Path, file: BinaryIO, members: list[Member], target: Path, limits: Limits) -> None:
    for member in members:
        try:
            _write_member(file, member, target, limits)
        except ZipFault as fault:
            raise UnsafeArchive(path, Concern("unsafe", "archive", member.name, str(fault))) from fault


def _write_member(file: BinaryIO, member: Member, target: Path, limits: Limits) -> None:
    """Write a member below the root folder, which is new and of this user alone: there is no link on the way."""
    *parents, name = member.name.removesuffix("/").split("/")
    folder = target
    for parent in [*parents, name] if member.is_folder else parents:
        folder = folder / parent
        folder.mkdir(0o700, exist_ok=True)
    if not member.is_folder:
        with open(folder / name, "xb", opener=_open_private) as output:
            for data in read_data(file, member, most=limits.member):
                output.write(data)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
