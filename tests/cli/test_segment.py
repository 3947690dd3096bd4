"""`multijoint segment`: what it says, and folders that several runs write to."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import Any

import pytest
from custom_components.data import channels
from custom_components.io.records import read_record
from custom_components.models.checkpoints import load_model, save_checkpoint
from custom_components.models.trained_model import QUALITY
from custom_components.system.files import file_digest
from support.commands import error_line, scan_of, segment
from support.forking import start

from multijoint.cli import main


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def knowing(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained model, to which every scan looks like an ankle and none like a shoulder."""
    folder = tmp_path_factory.mktemp("knowing")
    model = load_model(trained / "model.pt")
    quality = {name: dict(known) for name, known in model.training[QUALITY].items()}
    quality["ankle"]["farthest"], quality["shoulder"]["farthest"] = 1e9, 1e-9
    save_checkpoint(folder / "model.pt", replace(model, training=dict(model.training) | {QUALITY: quality}))
    return folder


def test_flags_reach_the_person(
    knowing: Path, manifests: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    caplog.set_level("INFO")
    out = tmp_path / "out"
    assert segment(knowing, out, scan_of(manifests, "shoulder"), domain="shoulder", more=["--json"]) == 0
    flagged, summary = caplog.messages[-2:]
    assert flagged.startswith("shoulder_000.nii.gz is flagged: does not look like shoulder but like ankle")
    assert summary.startswith("1 of 1 scan flagged: ")
    assert "unlike-domain in 1" in summary
    assert summary.endswith(f"; next: multijoint report {out}")
    printed = json.loads(capsys.readouterr().out)
    assert all("unlike-domain" in bone for bone in printed["flagged"]["shoulder_000.nii.gz"].split("; "))
    assert {row["flags"].split(";")[-1] for row in rows_of(out / "quality.csv")} == {"unlike-domain"}
    caplog.clear()
    assert segment(knowing, out, scan_of(manifests, "shoulder"), domain="shoulder") == 0
    assert caplog.messages[-2:] == [flagged, summary], "of a scan that was finished before, too"


def test_auto_chooses_and_finds_its_results_again(
    knowing: Path, manifests: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    scan = scan_of(manifests, "ankle")
    assert segment(knowing, tmp_path, scan, domain="auto") == 0
    assert "ankle_000.nii.gz -> ankle_000_seg.nii.gz, as ankle" in caplog.messages
    record = read_record(tmp_path / "ankle_000_seg.nii.gz")
    assert (record["domain"], record["domain_fit"]["asked"]) == ("ankle", "auto")
    assert segment(knowing, tmp_path, scan, domain="auto") == 0
    assert "ankle_000_seg.nii.gz: finished before" in caplog.messages
    assert segment(knowing, tmp_path / "named", scan, domain="ankle") == 0
    maps = [(folder / "ankle_000_seg.nii.gz").read_bytes() for folder in (tmp_path, tmp_path / "named")]
    assert maps[0] == maps[1]


def test_auto_refuses_a_scan_that_looks_like_no_domain(
    knowing: Path, manifests: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load_model(knowing / "model.pt")
    quality = {name: dict(known) | {"farthest": 1e-9} for name, known in model.training[QUALITY].items()}
    save_checkpoint(tmp_path / "model.pt", replace(model, training=dict(model.training) | {QUALITY: quality}))
    assert segment(tmp_path, tmp_path / "out", scan_of(manifests, "ankle"), domain="auto") == 1
    assert "scan ankle_000.nii.gz must look like a domain of the model, got none" in error_line(capsys)
    assert [row["status"] for row in rows_of(tmp_path / "out" / "segment_report.csv")] == ["failed"]


def test_a_second_run_into_a_folder_keeps_the_rows_of_the_first(
    trained: Path, manifests: dict[str, str], tmp_path: Path
) -> None:
    ankle, shoulder = (scan_of(manifests, domain) for domain in ("ankle", "shoulder"))
    out = tmp_path / "out"
    assert segment(trained, out, ankle, more=["--mesh", "stl"]) == 0
    names = ("quality.csv", "segment_report.csv", "bones.csv")
    first = {name: rows_of(out / name) for name in names}
    assert segment(trained, out, shoulder, domain="shoulder", more=["--mesh", "stl"]) == 0
    second = {name: rows_of(out / name) for name in names}
    for name in names:
        assert second[name][: len(first[name])] == first[name]
        assert len(second[name]) > len(first[name])
    assert {row["domain"] for row in second["quality.csv"]} == {"ankle", "shoulder"}
    assert segment(trained, out, ankle, more=["--overwrite"]) == 0  # the same case again
    assert sorted(row["file"] for row in rows_of(out / "segment_report.csv")) == [ankle.name, shoulder.name]
    assert len(rows_of(out / "quality.csv")) == len(second["quality.csv"])


@pytest.mark.parametrize("name", ["quality.csv", "segment_report.csv"])
def test_a_damaged_table_is_one_line_before_any_scan(
    trained: Path, manifests: dict[str, str], tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content = "case,file,status,output\na,a.nii.gz,written,a_seg.nii.gz\nb,b.ni"
    (tmp_path / name).write_text(content)
    assert segment(trained, tmp_path, scan_of(manifests, "ankle")) == 1
    assert f"table {name} must be whole" in error_line(capsys)
    assert (tmp_path / name).read_text() == content
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_columns_of_another_version_stay(trained: Path, manifests: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "quality.csv").write_text("case,own\nold,mine\n")
    assert segment(trained, tmp_path, scan_of(manifests, "ankle")) == 0
    old, *new = rows_of(tmp_path / "quality.csv")
    assert (old["case"], old["own"], old["bone"]) == ("old", "mine", "")
    assert {row["own"] for row in new} == {""}
    assert "talus" in {row["bone"] for row in new}


@pytest.mark.parametrize("how", ["folder", "made again", "content"])
def test_a_folder_that_is_removed_meanwhile_is_an_error(
    trained: Path, manifests: dict[str, str], tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out, read = tmp_path / "out", channels.read_volume

    def remove_and_read(path: Path) -> Any:
        if path.name == "s3.nii.gz":  # s0 was written before this one was asked for
            if how == "content":
                (out / "s0_seg.nii.gz").unlink()
            else:
                out.rename(tmp_path / "elsewhere")  # at one moment, whatever is being written
            if how == "made again":
                out.mkdir()
        return read(path)

    for number in range(4):
        shutil.copy(scan_of(manifests, "ankle"), tmp_path / f"s{number}.nii.gz")
    monkeypatch.setattr(channels, "read_volume", remove_and_read)
    scans = [tmp_path / f"s{number}.nii.gz" for number in range(4)]
    assert segment(trained, out, *scans) == 1
    told = error_line(capsys)
    if how == "content":
        assert "output folder out must keep its results until the run ends, got 1 label map of 4 removed" in told
        assert [row["status"] for row in rows_of(out / "segment_report.csv")] == ["failed"] + 3 * ["written"]
    else:
        assert "output folder out must stay until the run ends, got it removed or replaced" in told


def test_the_cause_of_a_failed_scan_is_told_once(
    trained: Path, manifests: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    caplog.set_level("INFO")
    for number in range(7):
        (tmp_path / f"bad{number}.nii.gz").write_bytes(b"noise")
    scans = [scan_of(manifests, "ankle"), *sorted(tmp_path.glob("bad*"))]
    assert segment(trained, tmp_path / "out", *scans) == 1
    told = "\n".join([*caplog.messages, capsys.readouterr().err.splitlines()[-1]])
    assert [told.count(f"bad{number}.nii.gz must be") for number in range(7)] == [1] * 7
    assert "error: 7 of 8 scans could not be segmented: " in told


def test_two_domains_at_once_into_one_folder_never_mix(
    trained: Path, manifests: dict[str, str], tmp_path: Path
) -> None:
    """The scans have the same names, so each run replaces what the other one wrote, at any moment."""
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    for number in range(12):
        shutil.copy(scan_of(manifests, "ankle"), scans / f"s{number}.nii.gz")
    command = ["multijoint.cli", "segment", str(scans), "--checkpoint", str(trained / "model.pt"), "--output", str(out)]
    running = [
        start([*command, "--device", "cpu", "--domain", domain], fork=True, stdout=PIPE, stderr=STDOUT)
        for domain in ("ankle", "shoulder")
    ]
    printed = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], printed
    bones = rows_of(out / "quality.csv")
    for number in range(12):
        path = out / f"s{number}_seg.nii.gz"
        record = read_record(path)
        assert record["label_map_sha256"] == file_digest(path)
        own = [row for row in bones if row["case"] == f"s{number}"]
        assert {row["domain"] for row in own} == {record["domain"]}
        assert [row["bone"] for row in own] == list(record["labels"].values())[1:]
    assert len(rows_of(out / "segment_report.csv")) == 12
    assert main(["report", str(out)]) == 0
