"""Segmentation under faults: killed, out of disk, out of memory, at length. Full numbers with `--faults`."""

import csv
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from resource import RLIMIT_FSIZE, getpagesize, setrlimit
from subprocess import DEVNULL, PIPE, STDOUT
from typing import Any

import nibabel
import numpy as np
import pytest
from custom_components.data import channels
from custom_components.errors import printable
from custom_components.inference.report import read_report as read_whole_report
from custom_components.inference.results import ResultFolder
from custom_components.inference.transforms import ReadVolumed
from custom_components.io.volumes import read_label
from support.commands import error_line, read_report, scan_of, segment
from support.forking import Forked, start
from support.hostile_nifti import write_corpus
from support.models import make_model
from support.processes import Process

Amount = Callable[[int, int], int]


def killed_children(work: Callable[[], None], number: int, longest_s: float, seed: int) -> Iterator[float]:
    """Let forked children work, and kill each after a random time; yields after each death."""
    generator = random.Random(seed)
    for _ in range(number):
        begun, tell = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(tell, b"1")
                work()
            finally:
                os._exit(1)
        os.read(begun, 1)
        seconds = generator.uniform(0, longest_s)
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1]), "the child ended by itself"
        os.close(begun), os.close(tell)
        yield seconds


def test_killed_while_writing_segmentations(manifests: dict[str, str], tmp_path: Path, amount: Amount) -> None:
    """At every moment a label map is whole and ours, and finished only if its record says so."""
    item: dict[str, Any] = ReadVolumed("image")({"image": scan_of(manifests, "ankle"), "name": "scan"})
    item["image"] = item["source"].path
    shape = item["source"].array.shape
    model = replace(make_model(), digest="ab" * 32)
    folders = [ResultFolder(tmp_path, model=model, domain="ankle", settings={"map": value}) for value in range(2)]
    maps = [np.random.default_rng(value).integers(0, 2, shape).astype(np.uint8) * (value + 1) for value in range(2)]

    def write_for_ever() -> None:
        while True:
            for folder, labels in zip(folders, maps, strict=True):
                folder.save(item, labels)
                time.sleep(0.003)  # the network's turn

    number = amount(10, 100)
    finished = temporaries = 0
    for _ in killed_children(write_for_ever, number, 0.08, seed=0):
        path = tmp_path / "scan_seg.nii.gz"
        temporaries += len(list(tmp_path.glob(".*")))
        if path.exists():
            labels = read_label(path).array
            assert any(np.array_equal(labels, each) for each in maps)
            found = [folder.find(item) for folder in folders]
            assert all(value is None or np.array_equal(labels, each) for value, each in zip(found, maps, strict=True))
            finished += any(found)
        folders[0].save(item, maps[0])
        assert folders[0].find(item) == path
        assert sorted(each.name for each in tmp_path.iterdir()) == ["scan_seg.json", "scan_seg.nii.gz"]
    print(f"killed {number} times: 0 partial files, {finished} finished, {temporaries} temporaries removed")


def start_segment(trained: Path, out: Path, *scans: Path, fork: bool, **how: Any) -> Forked | Process:
    command = ["multijoint.cli", "segment", *map(str, scans), "--device", "cpu"]
    command += ["--checkpoint", str(trained / "model.pt"), "--domain", "ankle", "--output", str(out)]
    return start(command, fork=fork, **{"stdout": PIPE, "stderr": STDOUT} | how)


@pytest.fixture
def scans(manifests: dict[str, str], tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(12):
        source = Path(manifests["ankle"]).parent / "images" / f"ankle_00{number % 3}.nii.gz"
        shutil.copy(source, folder / f"s{number:02d}.nii.gz")
    return folder


def test_killed_runs_are_finished_by_the_next(
    trained: Path, scans: Path, tmp_path: Path, fork: bool, amount: Amount
) -> None:
    assert segment(trained, tmp_path / "whole", scans) == 0
    expected = {path.name: path.read_bytes() for path in (tmp_path / "whole").glob("*.nii.gz")}
    out, generator, states = tmp_path / "out", random.Random(1), []
    for number in range(amount(2, 20)):
        shutil.rmtree(out, ignore_errors=True)
        process = start_segment(trained, out, scans, fork=fork)
        while not (out / "segment_report.csv").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(generator.uniform(0, 0.6))
        process.send_signal(signal.SIGKILL if number % 2 == 0 else signal.SIGTERM)
        printed = process.communicate(timeout=30)[0]
        assert "Traceback" not in printed
        found = {path.name: path.read_bytes() for path in out.glob("*.nii.gz")}
        assert found.items() <= expected.items()
        states.append(len(found))
        if number % 2 == 1 and process.returncode == 143:
            report = read_report(out)
            assert sum(row["status"] == "written" for row in report.values()) in (len(found), len(found) - 1)
            assert not list(out.glob(".*"))
        assert segment(trained, out, scans) == 0
        assert {path.name: path.read_bytes() for path in out.glob("*.nii.gz")} == expected
        assert not list(out.glob(".*"))
        assert {row["status"] for row in read_report(out).values()} <= {"written", "skipped"}
    print(f"runs stopped with {states} of {len(expected)} scans written; each finished by the next call, same bytes")


def test_disk_full(trained: Path, tmp_path: Path, fork: bool) -> None:
    """A limit on files acts as a full disk does: less than a label map, then less than a report."""
    scans = [tmp_path / f"noise{number}.nii.gz" for number in range(2)]
    for number, scan in enumerate(scans):
        noise = np.random.default_rng(number).normal(size=(160, 160, 128)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(noise, np.diag([1, 1, 3, 1])), scan)
    assert segment(trained, tmp_path / "whole", *scans) == 0
    smallest = min(path.stat().st_size for path in (tmp_path / "whole").glob("*.nii.gz"))
    assert max(path.stat().st_size for path in (tmp_path / "whole").glob("*.[jc]s*")) < smallest - 1
    for limit, wanted in ((smallest - 1, "2 of 2 scans could not be segmented"), (20, "segment_report.csv: could not")):
        out, most = tmp_path / f"limit{limit}", (limit, limit)
        set_limit = partial(setrlimit, RLIMIT_FSIZE, most)
        process = start_segment(trained, out, *scans, fork=fork, preexec_fn=set_limit)
        lines = process.communicate(timeout=60)[0].strip().splitlines()
        assert process.returncode == 1
        assert lines[-1].startswith("error: ")
        assert wanted in lines[-1]
        assert "File too large" in lines[-1]
        assert not [line for line in lines if "Traceback" in line]
        assert not list(out.glob("*.nii.gz"))
        assert not list(out.glob(".*"))
        print(f"files of at most {limit} bytes: {lines[-1][:200]}")


def test_a_hostile_folder_through_the_command_line(
    trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every file of the corpus in one call: each refused one is named with its cause, each other one is written."""
    entries = [entry for entry in write_corpus(tmp_path / "corpus") if entry.kind == "image"]
    assert segment(trained, tmp_path / "out", *(entry.path for entry in entries)) == 1
    printed = capfd.readouterr()
    assert "Traceback" not in printed.out + printed.err
    assert len(printed.err.strip().splitlines()[-1]) < 1000
    rows = {row["file"]: row for row in read_whole_report(tmp_path / "out" / "segment_report.csv")}
    assert len(rows) == len(entries)
    for entry in entries:
        if entry.path.suffix == ".dcm":  # by its name an exam
            refused_exams = [row for row in rows.values() if "scan.dcm must hold DICOM" in row["cause"]]
            assert [row["status"] for row in refused_exams] == ["failed"]
            continue
        name = printable(entry.path.name)
        row = rows.get(f"{entry.path.parent.name}/{name}") or rows[name]
        assert row["status"] == ("failed" if entry.expected == "refuse" else "written"), row
        if entry.expected == "refuse":
            assert re.search(entry.cause, row["cause"]), row
            assert entry.path.name in row["cause"] or entry.row == "missing", row
        else:
            written, array = read_label(tmp_path / "out" / row["output"]), entry.array
            assert written.array.shape == array.shape, row
            np.testing.assert_allclose(written.affine, entry.affine, rtol=1e-6, atol=1e-6)
    refused = sum(entry.expected == "refuse" for entry in entries)
    print(f"{len(entries)} files: {refused} refused, {len(entries) - refused} segmented, none the other way")


def test_a_reader_killed_for_memory_costs_its_scan(
    trained: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read = channels.read_volume

    def read_or_die(path: Path) -> Any:
        if path.name == "s01.nii.gz":
            os.kill(os.getpid(), signal.SIGKILL)
        if path.name == "s02.nii.gz":
            raise MemoryError
        return read(path)

    monkeypatch.setattr(channels, "read_volume", read_or_die)
    out = tmp_path / "out"
    assert segment(trained, out, *(scans / f"s0{number}.nii.gz" for number in range(4))) == 1
    report = read_report(out)
    assert [row["status"] for row in report.values()] == ["written", "failed", "failed", "written"]
    assert "the process that read it was killed by SIGKILL (out of memory?)" in report["s01.nii.gz"]["cause"]
    assert "must fit in the memory that is free" in report["s02.nii.gz"]["cause"]
    assert "2 of 4 scans" in error_line(capsys)


def test_memory_stays_flat_over_many_volumes(trained: Path, scans: Path, tmp_path: Path, amount: Amount) -> None:
    number, source = amount(40, 500), scans / "s00.nii.gz"
    many, out = tmp_path / "many", tmp_path / "out"
    many.mkdir()
    for index in range(number):
        shutil.copy(source, many / f"v{index:03d}.nii.gz")
    process = start_segment(trained, out, many, fork=False, stdout=DEVNULL)
    samples: list[tuple[int, int]] = []
    while process.poll() is None:
        try:
            pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in family(process.pid)]
        except FileNotFoundError:
            continue  # one ended between the listing and the reading
        samples.append((len(list(out.glob("*.nii.gz"))), sum(pages) * getpagesize()))
        time.sleep(0.05)
    assert process.returncode == 0
    with (out / "segment_report.csv").open(newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["written"] * number
    early, late = (
        [size for done, size in samples if low * number <= done <= high * number]
        for low, high in ((0.2, 0.5), (0.7, 0.98))
    )
    growth = float(np.median(late) / np.median(early) - 1)
    print(
        f"{number} volumes: resident memory {np.median(early) / 2**20:.0f}, later {np.median(late) / 2**20:.0f} MiB"
        f" ({100 * growth:+.2f} %), at most {max(size for _, size in samples) / 2**20:.0f} MiB"
    )
    assert abs(growth) < (0.01 if number >= 500 else 0.05)


def family(pid: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]
