"""The frame that benchmarks report in: ratios, targets, peak memory."""

import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from custom_components.errors import InputError

from multijoint.benchmarks import BENCHMARKS, Row, format_rows, run_benchmarks
from multijoint.benchmarks.fixtures import Workplace, run_measured
from multijoint.benchmarks.rows import Target, interleave
from multijoint.cli import main


def test_a_row_is_held_to_its_target_and_never_rounded_up_to_it() -> None:
    row = Row("x", 0.50001, 1.0, unit="s", n=3, target=Target(0.5))
    assert (row.ratio, row.verdict) == (0.50001, "missed")
    assert Row("x", 0.5, 1.0, unit="s", n=3, target=Target(0.5)).verdict == "met"
    faster = Row("x", 1.0, 3.0, unit="s", n=3, target=Target(3.0, at_least=True), inverse=True)
    assert (faster.ratio, faster.verdict) == (3.0, "met")
    alone = Row("x", 2.1, None, unit="GiB", n=1, target=Target(2.0, of="ours"))
    assert (alone.ratio, alone.verdict) == (None, "missed")
    assert Row("x", math.nan, 1.0, unit="s", n=1, target=Target(0.5)).verdict == "missed"
    assert Row("x", 1.0, 1.0, unit="s", n=1).verdict == ""


def test_a_row_as_json_and_in_the_table() -> None:
    row = Row("dsbn", 1.02, 1.0, unit="s", n=5, target=Target(1.03), packages=("pytest", "no-such-package"))
    found = json.loads(row.to_json())
    assert list(found) == ["name", "ours", "peer", "ratio", "unit", "n", "device", "versions"]
    assert found["versions"]["pytest"] == pytest.__version__
    assert "no-such-package" not in found["versions"]
    assert "cores" in found["device"]
    assert format_rows([row]).splitlines()[1].split() == ["dsbn", "1.02", "1", "s", "1.02", "<=", "1.03", "met", "5"]
    absent = Row("peer: not installed", math.nan, None, unit="s", n=0)
    assert (json.loads(absent.to_json())["ours"], absent.verdict) == (None, "")
    assert format_rows([absent]).splitlines()[1].split() == ["peer:", "not", "installed", "-", "-", "s", "-", "0"]


def test_a_quick_run_has_a_folder_of_its_own_no_targets_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from multijoint.benchmarks import segmenting

    def measure(place: Workplace) -> Iterator[Row]:
        yield Row(place.folder.name, 1.0, 2.0, "s", place.choose(5), Target(0.1))

    monkeypatch.setattr(segmenting, "start", measure)
    assert main(["bench", "start", "--quick", "--out", str(tmp_path)]) == 0
    table = (tmp_path / "quick" / "table.txt").read_text()
    assert table in capsys.readouterr().out
    first, _, row = table.splitlines()
    assert first.startswith("Quick run: each figure measured once")
    assert row.split() == ["quick", "1", "2", "s", "0.5", "1"]
    assert list(run_benchmarks(["start"], folder=tmp_path)) == list(measure(Workplace(tmp_path)))
    assert "Quick" not in format_rows([])


def test_a_benchmark_that_fails_says_why_and_the_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from multijoint.benchmarks import segmenting

    def fail(place: Workplace) -> Iterator[Row]:
        yield Row("memory, first part", 1.0, None, "GiB", 1)
        raise RuntimeError("label maps must agree,\ngot others")

    def measure(_: Workplace) -> Iterator[Row]:
        yield Row("start", 1.0, 2.0, "s", 1, Target(0.6))

    monkeypatch.setattr(segmenting, "memory", fail)
    monkeypatch.setattr(segmenting, "start", measure)
    assert main(["bench", "memory", "start", "--out", str(tmp_path)]) == 1
    said = capsys.readouterr()
    table = (tmp_path / "table.txt").read_text()
    assert table in said.out
    first, failed, other = table.splitlines()[1:]
    assert first.split()[:4] == ["memory,", "first", "part", "1"]
    assert failed.startswith("memory: label maps must agree, got others ")
    assert failed.split()[-2:] == ["failed", "0"]
    assert other.split()[-2:] == ["met", "1"]
    assert "got 1 that failed: memory: label maps must agree" in said.err
    assert [json.loads(line)["ours"] for line in (tmp_path / "bench.jsonl").read_text().splitlines()] == [1, None, 1]


def test_functions_take_turns_and_warm_up() -> None:
    calls: list[str] = []
    seconds = interleave(lambda: calls.append("a"), lambda: time.sleep(0.01), lambda: calls.append("b"), repetitions=2)
    assert calls == ["a", "b"] * 3
    assert seconds[1] >= 0.01 > seconds[0]


def test_peak_memory_counts_all_processes_of_a_command() -> None:
    child = "import time; kept = bytearray(60 * 2**20); time.sleep(0.5)"
    parent = f"import subprocess, sys; kept = bytearray(60 * 2**20); subprocess.run([sys.executable, '-c', {child!r}])"
    _, alone = run_measured([sys.executable, "-c", child])
    _, both = run_measured([sys.executable, "-c", parent])
    assert 60 / 1024 < alone < 90 / 1024
    assert 120 / 1024 < both < 180 / 1024
    with pytest.raises(RuntimeError, match=r"ended with code 1: .*no such thing"):
        run_measured([sys.executable, "-c", "raise SystemExit('no such thing')"])


def test_every_benchmark_is_there_and_others_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from importlib import import_module

    for name, place in BENCHMARKS.items():
        module, _, function = place.partition(":")
        assert callable(getattr(import_module(f"multijoint.benchmarks.{module}"), function)), name
    with pytest.raises(InputError, match=r"benchmark must be one of dsbn, .*, got 'speed'"):
        list(run_benchmarks(["speed"], folder=tmp_path))
    assert main(["bench", "speed", "--out", str(tmp_path)]) == 1
    assert "benchmark must be one of" in capsys.readouterr().err


def test_label_maps_that_differ_are_no_result(tmp_path: Path) -> None:
    import nibabel as nib

    from multijoint.benchmarks.segmenting import check_same

    labels = np.zeros((4, 4, 4), np.uint8)
    labels[1:3] = 1
    other = labels.copy()
    other[1, 0, 0] = 2
    for name, each in (("a", labels), ("b", other), ("empty", np.zeros_like(labels))):
        nib.save(nib.Nifti1Image(each, np.eye(4)), tmp_path / f"{name}.nii")
    check_same(tmp_path / "a.nii", tmp_path / "a.nii", least_dice=1.0)
    with pytest.raises(RuntimeError, match=r"label maps must agree to Dice 0\.99, got 0\.96"):
        check_same(tmp_path / "a.nii", tmp_path / "b.nii", least_dice=0.99)
    with pytest.raises(RuntimeError, match="got 0"):
        check_same(tmp_path / "empty.nii", tmp_path / "empty.nii", least_dice=0.99)
