import csv
import fcntl
import itertools
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from custom_components.errors import InputError
from custom_components.system import files
from custom_components.system.files import read_csv, remove_stale_temporaries, write_arrays, write_atomically, write_csv
from custom_components.system.termination import ending_on_sigterm


def test_writes_and_replaces_and_leaves_only_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "scores.csv"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert [file.name for file in path.parent.iterdir()] == ["scores.csv"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_keeps_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    path = tmp_path / "scores.csv"
    write_atomically(path, b"old")

    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error)):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["scores.csv"]


def test_sigterm_at_any_line_leaves_a_whole_file_and_nothing_else(tmp_path: Path) -> None:
    """Forked children get SIGTERM at the first line that `write_atomically` runs, at the second, and so to its end."""
    path = tmp_path / "scores.csv"
    code, found = 143, []
    while code == 143:
        write_atomically(path, b"old")
        lines = itertools.count()

        def stop_at_line(frame: FrameType, event: str, _: object, lines: Iterator[int] = lines) -> Any:
            if frame.f_code.co_filename != files.__file__:
                return None
            if event == "line" and next(lines) == len(found):
                os.kill(os.getpid(), signal.SIGTERM)
            return stop_at_line

        if (child := os.fork()) == 0:
            try:
                with ending_on_sigterm():
                    sys.settrace(stop_at_line)
                    write_atomically(path, b"new")
                    sys.settrace(None)
                    os._exit(0)
            finally:
                os._exit(1)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert [file.name for file in tmp_path.iterdir()] == ["scores.csv"], f"after line {len(found)}"
        found.append(path.read_bytes())
    assert code == 0
    assert found == sorted(found, reverse=True)
    assert len(found) > 20


def test_an_error_names_the_final_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=r"could not write the file: No space left on device: '.*scores\.csv'") as caught:
        write_atomically(tmp_path / "scores.csv", b"new")
    assert caught.value.errno == 28


def test_other_bytes_read_back_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_bytes", lambda self: b"rotten")
    with pytest.raises(OSError, match="read back differ"):
        write_atomically(tmp_path / "scores.csv", b"new")
    assert not list(tmp_path.iterdir())


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must not be a folder"):
        write_atomically(tmp_path, b"")


def test_a_parent_that_is_a_file_is_an_error_naming_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="folder for results must be a folder, got the file file; choose another name"):
        write_atomically(tmp_path / "file" / "scores.csv", b"new")


def test_equal_arrays_give_equal_bytes(tmp_path: Path) -> None:
    arrays = {"a/b": np.arange(6).reshape(2, 3), "names": ["ankle", "shoulder"], "meta": "{}"}
    for name in ("first.npz", "second.npz"):
        write_arrays(tmp_path / name, arrays)
    assert (tmp_path / "first.npz").read_bytes() == (tmp_path / "second.npz").read_bytes()
    with np.load(tmp_path / "first.npz") as found:  # without pickles
        np.testing.assert_array_equal(found["a/b"], arrays["a/b"])
        assert found["names"].tolist() == arrays["names"]
        assert str(found["meta"]) == "{}"


def test_what_a_killed_process_left_goes_with_the_next_write_and_on_request(tmp_path: Path) -> None:
    for name in (".scores.csv.tmp-1", ".other.csv.tmp-2", ".keep.csv"):
        (tmp_path / name).write_bytes(b"part")
    write_atomically(tmp_path / "scores.csv", b"whole")
    assert sorted(file.name for file in tmp_path.iterdir()) == [".keep.csv", ".other.csv.tmp-2", "scores.csv"]
    with (tmp_path / ".live.csv.tmp-3").open("wb") as live:
        fcntl.flock(live, fcntl.LOCK_EX)
        assert remove_stale_temporaries(tmp_path) == 1
        assert sorted(file.name for file in tmp_path.iterdir()) == [".keep.csv", ".live.csv.tmp-3", "scores.csv"]


def test_a_large_folder_is_not_listed_for_each_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = tmp_path / ".scores.csv.tmp-1"
    left.touch()
    monkeypatch.setattr(files, "_LARGE_FOLDER", 0)
    monkeypatch.setattr(Path, "glob", lambda self, pattern: pytest.fail("it was listed"))
    write_atomically(tmp_path / "scores.csv", b"whole")
    monkeypatch.undo()
    assert left.exists()
    assert remove_stale_temporaries(tmp_path) == 1


def test_a_check_that_fails_keeps_the_old_file(tmp_path: Path) -> None:
    def refuse(data: bytes) -> None:
        raise InputError(f"content must be better, got {data!r}")

    write_atomically(tmp_path / "scores.csv", b"old")
    with pytest.raises(InputError, match="got b'new'"):
        write_atomically(tmp_path / "scores.csv", b"new", check=refuse)
    assert [file.name for file in tmp_path.iterdir()] == ["scores.csv"]
    assert (tmp_path / "scores.csv").read_bytes() == b"old"


@pytest.mark.parametrize("text", ["=1+1", "+a", "-a", "@a", " =1", "\ta", "\ra", "\uff1da", "'a", "", "a=1", "-"])
def test_text_that_a_spreadsheet_would_run_is_neutralised_and_read_back(text: str, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", ["case", "=x", "number"], [{"case": text, "=x": -0.5, "number": "-1.5e-3"}])
    with (tmp_path / "t.csv").open(newline="") as file:
        header, row = csv.reader(file)
    assert header == ["case", "'=x", "number"]
    assert not re.match("\\s*[=+@\uff1d-]|[\t\r]", row[0])
    assert row[1:] == ["-0.5", "-1.5e-3"], "numbers stay"
    assert read_csv(tmp_path / "t.csv") == [{"case": text, "=x": "-0.5", "number": "-1.5e-3"}]


def test_a_table_takes_any_character(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", ["case"], [{"case": "\ud800"}, {"case": os.fsdecode(b"a\xff")}])
    assert (tmp_path / "t.csv").read_bytes() == b"case\n\\ud800\na\xff\n"
    assert read_csv(tmp_path / "t.csv") == [{"case": "\\ud800"}, {"case": os.fsdecode(b"a\xff")}]
