"""`multijoint view` as a process: what ends it."""

import re
import signal
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE

import pytest
from support.commands import scan_of
from support.processes import Process

from multijoint.cli import main


@pytest.mark.parametrize(
    ("ignored", "sent", "code"),
    [(None, signal.SIGINT, 0), (None, signal.SIGTERM, 143), (signal.SIGINT, signal.SIGTERM, 143)],
    ids=["Ctrl-C", "SIGTERM", "SIGTERM in the background"],
)
def test_signals_end_it(
    ignored: signal.Signals | None, sent: signal.Signals, code: int, manifests: dict[str, str]
) -> None:
    scan = scan_of(manifests, "ankle")
    label = scan.parents[1] / "labels" / scan.name
    ignore: Callable[[], object] | None = ignored and (lambda: signal.signal(ignored, signal.SIG_IGN))
    command = [
        sys.executable,
        "-m",
        "multijoint.cli",
        "view",
        scan,
        label,
        "--no-browser",
        "--case",
        scan.name.removesuffix(".nii.gz"),
    ]
    with Process(command, stdout=PIPE, stderr=PIPE, preexec_fn=ignore) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith("1 case, until Ctrl-C: http://127.0.0.1:"), first
        assert first.endswith("/?case=ankle_000\n")
        with urllib.request.urlopen(first.split()[-1], timeout=20) as page:
            assert b"<title>" in page.read()
        process.send_signal(sent)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert "Traceback" not in errors
    assert errors == ("" if code == 0 else "stopped by SIGTERM; the same command again does what is left\n")


def test_meshes_belong_to_one_scan(manifests: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(manifests["ankle"]).parent
    assert main(["view", str(folder / "images"), str(folder / "labels"), "--mesh", "bone.ply"]) == 1
    assert "--mesh must go with one scan, got folders" in capsys.readouterr().err


def test_a_pair_that_does_not_fit_is_refused_in_one_line(
    manifests: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(manifests["ankle"]).parent
    scan, other = folder / "images" / "ankle_000.nii.gz", folder / "labels" / "ankle_001.nii.gz"
    broken = tmp_path / "ankle_000_seg.nii.gz"
    broken.write_bytes((folder / "labels" / "ankle_000.nii.gz").read_bytes()[:-9])
    for segmentation, said in (
        (other, r"error: label map ankle_001.nii.gz must have the \w+ of ankle_000.nii.gz, got .*; resample "),
        (broken, "error: .*ankle_000_seg.nii.gz .*"),
    ):
        assert main(["view", str(scan), str(segmentation), "--no-browser"]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert re.match(said, err), err


def test_results_that_hold_their_scans_need_no_other_folder(
    manifests: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = Path(manifests["ankle"]).parent, tmp_path / "out"
    out.mkdir()
    (out / "ankle_000_seg.nii.gz").write_bytes((folder / "labels" / "ankle_000.nii.gz").read_bytes())
    assert main(["view", str(out), "--no-browser"]) == 1
    assert "scans of out must be given before it, or lie in its folder scans, got neither" in capsys.readouterr().err
    assert main(["view", str(out / "ankle_000_seg.nii.gz"), "--no-browser"]) == 1
    assert "scan of ankle_000_seg.nii.gz must be given before it" in capsys.readouterr().err
    (out / "scans").mkdir()
    (out / "scans" / "ankle_000.nii.gz").write_bytes((folder / "images" / "ankle_000.nii.gz").read_bytes())
    assert main(["view", str(out), "--case", "ankle_00", "--no-browser"]) == 1
    assert "case must be one of 1 viewed case, got 'ankle_00'; did you mean ankle_000?" in capsys.readouterr().err
