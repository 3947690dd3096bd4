import errno
import gzip
import io
import os
import random
import sys
from collections import Counter
from pathlib import Path

import pytest
from custom_components.errors import InputError
from custom_components.io import nifti_files
from custom_components.io.nifti_files import MAX_BYTES, MAX_VOXELS, Content, check_size, open_content
from custom_components.system.files import file_digest
from support.processes import run

CONTENT = os.urandom(300_000) + bytes(300_000)
DAMAGES = ("intact", "flip", "cut", "trailer", "header", "zeros", "garbage", "twice")


@pytest.fixture(params=["isal", "zlib"], autouse=True)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What decompresses: the optional library, or Python's own."""
    assert nifti_files.isal_zlib is not None
    if request.param == "zlib":
        monkeypatch.setattr(nifti_files, "isal_zlib", None)
    return request.param


def test_a_path_that_monai_changed_is_explained(tmp_path: Path) -> None:
    for name, remedy in (
        ("scan.nii", "check the path"),
        ("exam::1/scan.nii", "remove # from it, which MONAI reads as ::"),
    ):
        with (
            pytest.raises(InputError, match=f"scan.nii must be an existing file, got nothing there; {remedy}$"),
            open_content(tmp_path / name),
        ):
            pass


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "SCAN.NII.GZ"])
@pytest.mark.parametrize("step", [1_000_000, 70_001, 5_000])
def test_content_comes_in_any_steps_and_with_the_digest_of_the_file(tmp_path: Path, name: str, step: int) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(CONTENT) if name.lower().endswith(".gz") else CONTENT)
    with open_content(path) as content:
        parts = []
        while part := content.read(step):
            parts.append(part)
        assert content.read(1) == b""
        assert content.digest == file_digest(path)
    assert b"".join(parts) == CONTENT
    assert {len(part) for part in parts[:-1]} <= {step}


def test_several_members_are_one_content(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(b"".join(gzip.compress(CONTENT[start : start + 1000]) for start in range(0, len(CONTENT), 1000)))
    with open_content(path) as content:
        assert content.read(10**7) == CONTENT


def test_reads_no_more_than_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(gzip.compress(CONTENT[:10]) + b"garbage behind")
    with open_content(path) as content:
        assert content.read(10) == CONTENT[:10]
        with pytest.raises(InputError, match=r"must be an intact gzip file, got other bytes after its end"):
            content.read(1)


def damaged(seed: int) -> bytes:
    """A gzip file, damaged or unusual in one way, of noise, zeros and a pattern."""
    chance = random.Random(seed)
    content = chance.randbytes(chance.choice([0, 10, 3000])) + bytes(chance.choice([0, 5000])) + b"abab" * 50
    raw = bytearray(gzip.compress(content, chance.choice([0, 1, 6, 9]), mtime=0))
    if chance.random() < 0.2:
        raw[3:10] = b"\x08" + raw[4:10] + b"name\0"
    damage = DAMAGES[seed % len(DAMAGES)]
    if damage in ("flip", "trailer", "header"):
        first, last = {"flip": (10, len(raw)), "trailer": (len(raw) - 8, len(raw)), "header": (0, 10)}[damage]
        raw[chance.randrange(first, last)] ^= 1 << chance.randrange(8)
    elif damage == "cut":
        del raw[chance.randrange(1, len(raw)) :]
    raw += {"zeros": bytes(600), "garbage": b"garbage", "twice": bytes(raw)}.get(damage, b"")
    return bytes(raw)


def outcome(raw: bytes, step: int) -> tuple[bytes, str, str]:
    """Content that could be read in steps, the error, and the digest at the end."""
    content, parts, message = Content(io.BytesIO(raw), Path("scan.nii.gz"), size=len(raw)), [], ""
    try:
        while part := content.read(step):
            parts.append(part)
    except InputError as error:
        message = str(error)
    return b"".join(parts), message, "" if message else content.digest


@pytest.mark.parametrize("library", ["isal"], indirect=True)
@pytest.mark.parametrize("step", [348, 2**20])
def test_both_libraries_give_the_same_content_and_reasons(
    library: str, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    files = [damaged(seed) for seed in range(800)]
    found = [outcome(raw, step) for raw in files]
    monkeypatch.setattr(nifti_files, "isal_zlib", None)
    assert found == [outcome(raw, step) for raw in files]
    reasons = Counter(message.partition("got ")[2].partition(";")[0] for _, message, _ in found)
    assert reasons[""] > 200
    for reason in ("CRC check failed", "another length than its trailer says", "unknown header flags set"):
        assert reasons[reason] > 0, reasons
    assert sum("truncated" in reason for reason in reasons) == 1
    assert len(reasons) > 8, reasons


def test_without_the_optional_library_the_package_reads_and_writes(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["isal"] = None
import numpy as np
from custom_components.io import nifti_files
from custom_components.io.volumes import nifti_bytes, read_volume
assert nifti_files.isal_zlib is None
voxels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
open(sys.argv[1], "wb").write(nifti_bytes(voxels, np.eye(4)))
np.testing.assert_array_equal(read_volume(sys.argv[1]).array, voxels)
print("done")
"""
    done = run([sys.executable, "-c", code, str(tmp_path / "scan.nii.gz")])
    assert done.stdout == "done\n", done.stderr


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.EACCES, "must be readable, got: Permission denied; check its permissions"),
        (errno.ENXIO, "must be a regular file, got a socket or a device"),
        (errno.ENAMETOOLONG, "must be readable, got: File name too long"),
    ],
)
def test_a_file_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, message: str) -> None:
    def refuse(*args: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(InputError, match=rf"volume scan\.nii {message}"), open_content(tmp_path / "scan.nii"):
        pass


def test_a_disk_that_fails_on_the_way() -> None:
    class Broken:
        def read(self, size: int) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(InputError, match=r"scan\.nii must be readable, got: Input/output error"):
        Content(Broken(), Path("scan.nii"), size=10).read(10)  # type: ignore[arg-type]


def test_a_name_that_is_none() -> None:
    with pytest.raises(InputError, match="must be a file name, got: embedded null byte"), open_content(Path("a\0.nii")):
        pass


def test_descriptors_are_given_back(tmp_path: Path) -> None:
    (tmp_path / "scan.nii").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(InputError, match="got a folder"), open_content(tmp_path / "scan.nii"):
            pass
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("limit", [MAX_VOXELS, MAX_BYTES])
def test_limits_can_be_set(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    path = Path("folder", "scan.nii")
    check_size(2**29, limit=limit, path=path)
    monkeypatch.setenv(limit, "100")
    check_size(100, limit=limit, path=path)
    with pytest.raises(InputError, match=rf"volume scan\.nii must have at most 100 \w+, got 101; set {limit} to a"):
        check_size(101, limit=limit, path=path)
    for bad in ("many", "1e9", "0", "-5", "9" * 5000):
        monkeypatch.setenv(limit, bad)
        with pytest.raises(InputError, match=f"{limit} must be a positive whole number, got '{bad[:10]}"):
            check_size(1, limit=limit, path=path)
    monkeypatch.setenv(limit, "")
    check_size(2**29, limit=limit, path=path)


def test_a_file_above_the_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scan.nii").write_bytes(bytes(101))
    monkeypatch.setenv(MAX_BYTES, "100")
    with pytest.raises(InputError, match="at most 100 bytes, got 101"), open_content(tmp_path / "scan.nii"):
        pass
