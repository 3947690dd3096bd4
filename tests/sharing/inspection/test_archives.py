"""Zip files are read strictly and unpacked into one new folder."""

from __future__ import annotations

import io
import os
import zipfile

import pytest
from custom_components.errors import InputError

from multijoint.sharing.inspection.archives import Limits, check_archive, check_name, open_plain, other_archive, unpack
from multijoint.sharing.inspection.zip_members import ZipFault, read_data, read_members


def archive(members, *, compression=zipfile.ZIP_DEFLATED, streamed=False):
    class Pipe(io.BytesIO):
        def tell(self):
            if streamed:
                raise OSError("a pipe has no position")
            return super().tell()

    buffer = Pipe()
    with zipfile.ZipFile(buffer, "w", compression) as target:
        for name, data in members.items():
            target.writestr(name, data)
    return buffer.getvalue()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "b.zip"
    path.write_bytes(archive({"b/": b"", "b/a.txt": b"a" * 3000, "b/c/d.txt": b""}))
    return path


def test_members_agree_with_another_reader(path):
    with path.open("rb") as file, zipfile.ZipFile(path) as other:
        members = read_members(file)
        assert [(each.name, each.size, each.packed_size, each.crc) for each in members] == [
            (info.filename, info.file_size, info.compress_size, info.CRC) for info in other.infolist()
        ]
        for member in members:
            assert b"".join(read_data(file, member, most=10**6)) == other.read(member.name)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("streamed", [False, True])
def test_both_ways_of_writing_sizes_are_read(compression, streamed):
    data = os.urandom(5000) + bytes(5000)
    file = io.BytesIO(archive({"b/a": data}, compression=compression, streamed=streamed))
    [member] = read_members(file)
    assert bool(member.flags & 8) is streamed
    assert b"".join(read_data(file, member, most=10**6)) == data


def test_unpacking_writes_private_plain_files(path, tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    folder = unpack(path, target)
    assert folder == target / "b"
    assert (folder / "a.txt").read_bytes() == b"a" * 3000
    assert (folder / "a.txt").stat().st_mode & 0o777 == 0o600
    assert sorted(each.name for each in folder.rglob("*")) == ["a.txt", "c", "d.txt"]


def test_unpacking_never_writes_into_what_is_there(path, tmp_path):
    target, other = tmp_path / "target", tmp_path / "other"
    target.mkdir()
    other.mkdir()
    (target / "b").symlink_to(other)
    with pytest.raises(FileExistsError):
        unpack(path, target)
    assert list(other.iterdir()) == []


def test_a_failure_leaves_nothing(path, tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    data = bytearray(path.read_bytes())
    data[data.index(b"b/a.txt") + 7 + 5] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"archive b.zip must be safe to unpack, got b/a.txt: .*"):
        unpack(path, target)
    assert list(target.iterdir()) == []


@pytest.mark.parametrize(
    ("limits", "cause"),
    [
        (Limits(total=2999), "unpacks to 3000 bytes, over 2999"),
        (Limits(member=2999), "unpacks to 3000 bytes, over 2999"),
        (Limits(members=2), "3 members, more than 2"),
        (Limits(depth=1), "more than 1 folders"),
    ],
)
def test_each_limit_is_kept(path, tmp_path, limits, cause):
    with path.open("rb") as file:
        found = check_archive(file, limits=limits)[1]
    assert any(cause in each.message for each in found)
    with pytest.raises(InputError, match=cause):
        unpack(path, tmp_path, limits=limits)


def test_reading_stops_at_the_first_byte_too_many():
    file = io.BytesIO(archive({"b/a": bytes(10**7)}))
    [member] = read_members(file)
    pieces = read_data(file, member, most=2**20)
    assert len(next(pieces)) == 2**20
    with pytest.raises(ZipFault, match="size lie"):
        next(pieces)


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("/etc/passwd", "absolute"),
        ("b/../c", "path escape"),
        ("b\\..\\c", "backslash"),
        ("C:evil", "drive letter"),
        ("b/a\0.txt", "NUL"),
        ("b/a\n", "control"),
        ("b//c", "empty"),
        ("b/./c", "empty"),
        ("b/a:stream", "colon"),
        ("b/con.txt", "Windows"),
        ("b/a. ", "space or dot"),
        ("b/" + "x" * 300, "long"),
        ("b/c.txt", ""),
        ("b/c/", ""),
    ],
)
def test_names(name, cause):
    found = check_name(name)
    assert cause in found
    assert bool(found) is bool(cause)


def test_other_formats_are_told_apart():
    assert other_archive(b"\x1f\x8b\x08") == "gzip (.gz, .tar.gz)"
    assert other_archive(bytes(257) + b"ustar") == "tar"
    assert other_archive(b"plain text") == ""


@pytest.mark.parametrize("data", [b"", b"PK", b"PK\x05\x06", b"PK\x05\x06" + bytes(17), b"x" * 70_000])
def test_what_is_no_zip_file_is_refused(data):
    with pytest.raises(ZipFault, match="no end record"):
        read_members(io.BytesIO(data))


def test_only_plain_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="plain file"):
        open_plain(tmp_path / "pipe")
