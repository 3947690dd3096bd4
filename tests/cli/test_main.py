import os
import sys
from pathlib import Path
from subprocess import CompletedProcess

import nibabel
import numpy as np
import pytest
from custom_components.errors import LOG_PATHS
from support.bundles import BUNDLES
from support.commands import error_line, read_report, scan_of, segment
from support.processes import run

from multijoint.cli import main

JOINT = BUNDLES / "multijoint_mr_bone_segmentation"


def test_phantoms_are_written_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["phantoms", str(tmp_path), "--domains", "shoulder", "--cases", "1", "--size", "32"]) == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "shoulder" / "manifest.yaml")]
    assert (tmp_path / "shoulder" / "labels" / "shoulder_000.nii.gz").is_file()
    assert main(["phantoms", "--output", str(tmp_path), "--domains", "knee", "--cases", "1", "--size", "32"]) == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "knee" / "manifest.yaml")]
    assert main(["phantoms", str(tmp_path), "--domains", "elbow"]) == 1
    assert "elbow" in error_line(capsys)


def test_one_case_is_no_cases_and_its_findings_have_colour(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["phantoms", str(tmp_path), "--domains", "knee", "--cases", "1", "--size", "32"]) == 0
    assert main(["check", str(tmp_path / "knee" / "manifest.yaml")]) == 1
    printed = capsys.readouterr()
    assert ", got 1 case: 1 error, 0 warnings, " in printed.err
    assert "\033" not in printed.out + printed.err
    monkeypatch.setenv("CLICOLOR_FORCE", "1")
    assert main(["check", str(tmp_path / "knee" / "manifest.yaml")]) == 1
    printed = capsys.readouterr()
    assert "\033[31merror\033[0m   knee [tiny-set]: " in printed.out
    assert printed.err.startswith("\033[31merror:\033[0m ")


def test_segment_takes_a_folder_and_names_no_code_may_run_from(
    trained: Path, manifests: dict[str, str], tmp_path: Path
) -> None:
    """A `$` or `@` in a file name is code or a reference to MONAI's configurations."""
    scans = tmp_path / "scans"
    scans.mkdir()
    source = scan_of(manifests, "ankle")
    for name in ("plain", "a@b", "$open('x')"):
        (scans / f"{name}.nii.gz").write_bytes(source.read_bytes())
    assert segment(trained, tmp_path / "out", scans) == 0
    maps = sorted(path.name for path in (tmp_path / "out").glob("*.nii.gz"))
    assert maps == ["$open('x')_seg.nii.gz", "a@b_seg.nii.gz", "plain_seg.nii.gz"]
    assert nibabel.load(tmp_path / "out" / maps[0]).shape == nibabel.load(source).shape


def test_good_scans_are_written_and_bad_ones_listed(
    trained: Path, manifests: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = scan_of(manifests, "ankle")
    image = nibabel.load(good)
    bad = {}
    (tmp_path / "short.nii.gz").write_bytes(good.read_bytes()[:1000])
    bad["short"] = "must be an intact gzip file"
    voxels = np.asarray(image.dataobj).astype(np.float32)
    voxels[0, 0, 0] = np.nan
    nibabel.save(nibabel.Nifti1Image(voxels, image.affine), tmp_path / "nan.nii.gz")
    bad["nan"] = "finite"
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4, 2), np.float32), image.affine), tmp_path / "four.nii.gz")
    bad["four"] = "must be one 3D volume"
    assert segment(trained, tmp_path / "out", good, *(tmp_path / f"{name}.nii.gz" for name in bad)) == 1
    line = error_line(capsys)
    assert "3 of 4 scans could not be segmented" in line
    for name, cause in bad.items():
        assert f"{name}.nii.gz" in line
        assert cause in line
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["ankle_000_seg.json", "ankle_000_seg.nii.gz", "quality.csv", "segment_report.csv"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"domain": "elbow"}, "domain must be one of ankle, shoulder, got 'elbow'"),
        ({"checkpoint": Path("none.pt")}, "checkpoint none.pt must be a file, got none"),
        ({"checkpoint": Path(__file__)}, "must be a readable PyTorch file"),
    ],
)
def test_what_segment_cannot_use_is_one_line(
    change: dict, message: str, trained: Path, manifests: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment(trained, tmp_path / "out", scan_of(manifests, "ankle"), **change) == 1
    assert message in error_line(capsys)
    assert not (tmp_path / "out").exists()


def test_scans_of_one_name_never_overwrite_each_other(
    trained: Path, manifests: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one call they get names of their own; in a second one the second is refused, and the first stays."""
    scans = [tmp_path / name / "scan.nii.gz" for name in ("one", "two")]
    for number, scan in enumerate(scans):
        scan.parent.mkdir()
        source = Path(manifests["ankle"]).parent / "images" / f"ankle_00{number}.nii.gz"
        scan.write_bytes(source.read_bytes())
    assert segment(trained, tmp_path / "out", *scans) == 0
    outputs = {row["output"] for row in read_report(tmp_path / "out").values()}
    assert outputs == {"one_scan_seg.nii.gz", "two_scan_seg.nii.gz"}
    maps = [(tmp_path / "out" / name).read_bytes() for name in sorted(outputs)]
    assert maps[0] != maps[1]

    assert segment(trained, tmp_path / "single", scans[0]) == 0
    capsys.readouterr()
    assert segment(trained, tmp_path / "single", scans[1]) == 1
    assert "scan_seg.nii.gz must not be of another scan, got one of a scan of the same name" in error_line(capsys)
    assert (tmp_path / "single" / "scan_seg.nii.gz").read_bytes() == maps[0]


def test_a_second_call_does_what_is_left(
    trained: Path, manifests: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    for name in ("a", "b"):
        (scans / f"{name}.nii.gz").write_bytes(scan_of(manifests, "ankle").read_bytes())
    (scans / "c.nii.gz").write_bytes(b"noise")
    assert segment(trained, out, scans) == 1
    report = read_report(out)
    assert [report[f"{name}.nii.gz"]["status"] for name in "abc"] == ["written", "written", "failed"]
    assert "c.nii.gz must be an intact gzip file" in report["c.nii.gz"]["cause"]
    assert report["a.nii.gz"]["output"] == "a_seg.nii.gz"
    assert report["c.nii.gz"]["output"] == ""

    first = (out / "a_seg.nii.gz").stat()
    other = Path(manifests["ankle"]).parent / "images" / "ankle_001.nii.gz"
    (scans / "b.nii.gz").write_bytes(other.read_bytes())  # the same name, another content
    (scans / "c.nii.gz").write_bytes(other.read_bytes())
    (out / ".c_seg.nii.gz.tmp-1").write_bytes(b"of a killed process")
    assert segment(trained, out, scans) == 0
    assert [read_report(out)[f"{name}.nii.gz"]["status"] for name in "abc"] == ["skipped", "written", "written"]
    assert (out / "a_seg.nii.gz").stat() == first
    assert (out / "b_seg.nii.gz").read_bytes() == (out / "c_seg.nii.gz").read_bytes()
    assert not list(out.glob(".*"))

    label = nibabel.load(out / "a_seg.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.zeros(label.shape, np.uint8), label.affine), out / "a_seg.nii.gz")
    (out / "b_seg.nii.gz").write_bytes((out / "b_seg.nii.gz").read_bytes()[:-9])
    (out / "c_seg.nii.gz").unlink()
    capsys.readouterr()
    assert segment(trained, out, scans) == 1
    assert "a_seg.nii.gz must be as it was written, got a changed one (by hand?)" in error_line(capsys)
    assert [read_report(out)[f"{name}.nii.gz"]["status"] for name in "abc"] == ["failed", "written", "written"]
    assert segment(trained, out, scans, more=["--overwrite"]) == 0
    assert (out / "a_seg.nii.gz").stat().st_size == first.st_size


def test_no_folder_of_a_scan_is_shown_unless_asked_for(
    trained: Path,
    manifests: dict[str, str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(LOG_PATHS, "0")  # and back, after the option has set it
    scans = tmp_path / "SMITH_JOHN"
    scans.mkdir()
    for name, content in (("good", scan_of(manifests, "ankle").read_bytes()), ("bad", b"noise")):
        (scans / f"{name}.nii.gz").write_bytes(content)
    assert segment(trained, tmp_path / "out", scans) == 1
    printed = capfd.readouterr()
    texts = [printed.out, printed.err, *(path.read_text() for path in (tmp_path / "out").glob("*.[cj]s*"))]
    assert len(texts) == 5
    assert not [text for text in texts if "SMITH" in text]
    assert segment(trained, tmp_path / "shown", scans, more=["--log-paths"]) == 1
    assert str(scans / "bad.nii.gz") in capfd.readouterr().err


def test_a_folder_that_cannot_be_written_to_is_found_out_first(
    trained: Path, manifests: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert segment(trained, tmp_path / "file" / "out", scan_of(manifests, "ankle")) == 1
    assert "folder for results must be a folder, got the file file; choose another name" in error_line(capsys)


def test_overlay_draws_a_picture(manifests: dict[str, str], tmp_path: Path) -> None:
    label = Path(manifests["ankle"]).parent / "labels" / "ankle_000.nii.gz"
    arguments = [str(scan_of(manifests, "ankle")), str(label), "--reference", str(label)]
    assert main(["overlay", *arguments, "--out", str(tmp_path / "picture.png")]) == 0
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def run_bundle_in_shell(*arguments: str) -> CompletedProcess[str]:
    command = [sys.executable, "-m", "monai.bundle", "run", *arguments, "--bundle_root", str(JOINT)]
    environment = {key: value for key, value in os.environ.items() if key != "MULTIJOINT_DEBUG"}
    return run(command, env=environment, cwd="/")


def test_misspelt_override_on_the_command_line_is_one_line_and_an_exit_code(
    manifests: dict[str, str], tmp_path: Path
) -> None:
    done = run_bundle_in_shell(
        "training",
        *("--config_file", str(JOINT / "configs" / "train.yaml"), "--manifests", manifests["ankle"]),
        *("--output_dir", str(tmp_path / "run"), "--max_epoch", "1"),
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        "error: setting max_epoch must be one that the configuration uses; did you mean max_epochs?"
    )
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_bundle_inference_from_another_working_directory(
    trained: Path, manifests: dict[str, str], tmp_path: Path
) -> None:
    done = run_bundle_in_shell(
        "inference",
        *("--config_file", str(JOINT / "configs" / "inference.yaml"), "--checkpoint", str(trained / "model.pt")),
        *("--domain", "shoulder", "--images", str([str(scan_of(manifests, "shoulder"))])),
        *("--output_dir", str(tmp_path / "out"), "--device", "cpu"),
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "shoulder_000_seg.nii.gz").is_file()


def test_segment_says_nothing_of_how_logging_is_set_up(
    trained: Path, manifests: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scan = Path(manifests["ankle"]).parent / "images" / "ankle_000.nii.gz"
    how = ["--checkpoint", str(trained / "model.pt"), "--domain", "ankle", "--out", str(tmp_path)]
    with caplog.at_level("INFO"):
        assert main(["segment", str(scan), *how]) == 0
    assert "ankle_000_seg.nii.gz" in caplog.text
    assert "logging" not in caplog.text
