import errno
import gzip
import os
from pathlib import Path

import pytest
from custom_components.errors import InputError
from custom_components.io.nifti_files import MAX_BYTES, MAX_VOXELS, Content, check_size, open_content
from custom_components.system.files import file_digest

CONTENT = os.urandom(300_000) + bytes(300_000)


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
