"""The reader against the corpus, and the corpus against the written table."""

import logging
import re
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from custom_components.errors import InputError
from custom_components.io import nifti_files
from custom_components.io.volumes import read_grid, read_volume
from support import hostile_nifti, hostile_nrrd_mha
from support.hostile_nifti import Entry
from support.processes import run

TABLE = Path(__file__).parents[2] / "docs" / "reference" / "input.md"
_MAX_S = 5.0


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Entry]:
    """Both corpora; ITK is loaded here, so that no file's time includes that."""
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "scan.nrrd").write_bytes(hostile_nrrd_mha.nrrd())
    read_volume(folder / "scan.nrrd")
    return hostile_nifti.write_corpus(folder / "nifti") + hostile_nrrd_mha.write_corpus(folder / "others")


@pytest.mark.parametrize("library", ["isal", "zlib"])
def test_each_file_is_accepted_warned_of_or_refused_as_the_table_says(
    corpus: list[Entry],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    library: str,
) -> None:
    if library == "zlib":
        monkeypatch.setattr(nifti_files, "isal_zlib", None)
    assert len(corpus) >= 110 + 60
    for entry in corpus:
        caplog.clear()
        start, volume = time.monotonic(), None
        try:
            volume = read_volume(entry.path, kind=entry.kind)
        except InputError as error:
            messages, found = [str(error)], "refuse"
        else:
            messages = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
            found = "warn" if messages else "accept"
        about = f"{entry.path.parent.name}/{entry.path.name}: {messages}"
        assert found == entry.expected, about
        assert len(messages) == (found != "accept"), about
        for message in messages:
            assert re.search(entry.cause, message), about
            assert "\n" not in message, about
            assert entry.path.name in message, about
            assert entry.path.parent.name not in message, about
        assert time.monotonic() - start < _MAX_S, about
        if volume is not None:
            expected = np.asarray(entry.array).astype(np.float64).astype(volume.array.dtype)
            np.testing.assert_array_equal(volume.array, expected, about)
            assert np.isfinite(volume.affine).all(), about
            np.testing.assert_allclose(volume.affine, entry.affine, rtol=1e-5, atol=1e-5, err_msg=about)
            shape, affine = read_grid(entry.path)
            assert shape == volume.array.shape, about
            np.testing.assert_array_equal(affine, volume.affine, about)
    assert capfd.readouterr() == ("", ""), "nothing but log lines may reach the terminal"


def test_memory_stays_small_whatever_a_file_claims(corpus: list[Entry]) -> None:
    """In another process, since a process's peak never falls."""
    code = (
        "import sys; from pathlib import Path; from custom_components.io.volumes import read_volume\n"
        "peak = lambda: int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
        "read_volume(sys.argv[1])\n"
        "before = peak()\n"
        "for path in sys.argv[2:]:\n"
        "    try: read_volume(path)\n"
        "    except ValueError: pass\n"
        "print((peak() - before) // 1024)"
    )
    first = next(str(entry.path) for entry in corpus if entry.path.suffix == ".nrrd" and entry.expected == "accept")
    files = [first, *(str(entry.path) for entry in corpus)]  # the first loads ITK
    done = run([sys.executable, "-c", code, *files], check=True)
    print(f"{len(files)} files raised the peak memory by {done.stdout.strip()} MB")
    assert int(done.stdout) < 64


def test_the_table_and_the_corpus_have_the_same_rows(corpus: list[Entry]) -> None:
    table = dict(
        re.findall(r"^\| `([a-z0-9-]+)` \|.*\| (accept|warn|refuse) \|[^|]*\|$", TABLE.read_text(), re.MULTILINE)
    )
    found: dict[str, set[str]] = defaultdict(set)
    for entry in corpus:
        found[entry.row].add(entry.expected)
    assert {row: {expected} for row, expected in table.items()} == found
