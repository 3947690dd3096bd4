"""Digests of files; bit flips and kills are tested in test_training_faults.py."""

import hashlib
import io
import os
import re
import zipfile
from pathlib import Path

import pytest
from custom_components.errors import InputError
from custom_components.models import digests
from custom_components.models.digests import (
    digest_path,
    intact_digest,
    read_checked,
    write_generation,
    write_with_digest,
)
from support.processes import run


def archive(text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(zipfile.ZipInfo("part"), text)  # without the time
    return buffer.getvalue()


def test_digest_is_what_sha256sum_checks(tmp_path: Path) -> None:
    write_with_digest(tmp_path / "model.pt", b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert (tmp_path / "model.pt.sha256").read_text() == f"{known}  model.pt\n"
    assert read_checked(tmp_path / "model.pt") == (b"abc", known)
    done = run(["sha256sum", "-c", "model.pt.sha256"], cwd=tmp_path)
    assert done.stdout == "model.pt: OK\n"


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    write_with_digest(path, b"abc")
    for content in (b"abd", b"", b"abcd"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"model\.pt must match its SHA-256 in model\.pt\.sha256, got .*damaged"):
            read_checked(path)
        assert intact_digest(path) is None
    path.write_bytes(b"abc")
    digest_path(path).write_bytes(b"")
    with pytest.raises(InputError, match="must match its SHA-256"):
        read_checked(path)


def test_a_file_alone_is_checked_by_its_own_checksums(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "model.pt"
    data = archive("content")
    path.write_bytes(data)
    assert read_checked(path) == (data, hashlib.sha256(data).hexdigest())
    assert "model.pt: no model.pt.sha256 next to it" in caplog.text
    path.write_bytes(data.replace(b"content", b"contest"))
    with pytest.raises(InputError, match=r"model\.pt must be a readable PyTorch file, got a wrong checksum in part"):
        read_checked(path)
    path.write_bytes(b"abc")
    with pytest.raises(InputError, match="must be a readable PyTorch file, got File is not a zip file"):
        read_checked(path)


def test_the_generation_before_is_kept(tmp_path: Path) -> None:
    newest, previous = tmp_path / "last.pt", tmp_path / "previous.pt"
    for number in range(3):
        write_generation(newest, previous, archive(str(number)))
    assert [read_checked(path)[0] for path in (newest, previous)] == [archive("2"), archive("1")]
    assert all(len(digest_path(path).read_text().splitlines()) == 1 for path in (newest, previous))
    newest.write_bytes(b"damaged")
    write_generation(newest, previous, archive("3"))
    assert [read_checked(path)[0] for path in (newest, previous)] == [archive("3"), archive("1")]
    newest.unlink()
    write_generation(newest, previous, archive("4"))
    assert [read_checked(path)[0] for path in (newest, previous)] == [archive("4"), archive("1")]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("generations", [False, True])
def test_whenever_a_writing_ends_a_whole_file_is_found(
    generations: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends before each of its renames in turn, and is then repeated."""
    replace, left = os.replace, [0]

    def count(*paths: object) -> None:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        replace(*paths)

    monkeypatch.setattr(digests.os, "replace", count)
    newest, previous = tmp_path / "last.pt", tmp_path / "previous.pt"

    def write(text: str) -> None:
        if generations:
            write_generation(newest, previous, archive(text))
        else:
            write_with_digest(newest, archive(text))

    num_ends = 0
    for steps in range(10):
        left[0] = 1000
        write("older")
        write("old")
        left[0] = steps
        try:
            write("new")
        except Killed:
            num_ends += 1
        else:
            break
        whole = [read_checked(path)[0] for path in (newest, previous) if intact_digest(path)]
        assert archive("old") in whole or archive("new") in whole, steps
        if not generations:
            assert whole
        left[0] = 1000
        write("newer")
        assert read_checked(newest)[0] == archive("newer")
    assert num_ends == (6 if generations else 3)
    assert not [path for path in tmp_path.iterdir() if not re.fullmatch(r"(last|previous)\.pt(\.sha256)?", path.name)]
