"""Hostile bundles: each is named with its cause, none runs, none escapes; the good one is safe."""

from __future__ import annotations

import contextlib
import json
import logging.config
import os
import random
import re
import resource
import shutil
import sys
import time
from pathlib import Path

import custom_components
import pytest
import torch
from custom_components.data.preprocessing import Preprocessing
from custom_components.domains import Domain
from custom_components.errors import InputError, ResourceError
from custom_components.models.checkpoints import load_model, save_checkpoint
from custom_components.models.trained_model import TrainedModel
from support.hostile_bundles import (
    DOMAINS,
    INFERENCE,
    MODEL,
    NETWORK,
    Hostile,
    hostile_bundles,
    write_checksums,
    write_good,
    write_json,
    write_tar,
    write_zip,
)
from support.processes import run

from multijoint.cli import main
from multijoint.running import find_bundle
from multijoint.sharing.inspection.inspection import inspect_bundle, open_bundle
from multijoint.sharing.inspection.known_targets import known_of_release
from multijoint.sharing.inspection.report import Concern, Report, shorten
from multijoint.sharing.packaging.packaging import package

HOSTILE = hostile_bundles()


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return write_good(tmp_path_factory.mktemp("good"))


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where private folders go; a folder left in it was forgotten by an inspection."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("zipped", [False, True])
def test_a_packaged_bundle_is_safe(good, tmp_path, temporary, zipped):
    path = write_zip(good, tmp_path / "good.zip") if zipped else good
    before = tree(good)
    report = inspect_bundle(path)
    assert {finding.level for finding in report.concerns} <= {"note"}, report.to_text()
    assert report.summary["name"] == "Multi-joint MR bone segmentation"
    assert report.summary["domains"][1] == "shoulder: 1 humerus, 2 scapula (axial)"
    assert report.summary["licences"] == ["LICENSE", "docs/data_license.txt"]
    weights = torch.load(good / MODEL, weights_only=True)
    assert report.summary["weights"] == sum(tensor.numel() for tensor in weights.values())
    with open_bundle(path) as folder:
        assert tree(folder) == before
        assert (folder == good) is not zipped
        assert zipped is False or stat_mode(folder) == 0o700
        model = load_model(folder)
        assert [domain.name for domain in model.domains] == ["ankle", "shoulder"]
    assert tree(temporary) == set()
    assert tree(good) == before


def stat_mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("single", [None, "ankle"])
def test_what_package_makes_is_safe(good, tmp_path, single):
    weights = torch.load(good / MODEL, weights_only=True)
    domains = tuple(Domain.from_dict(data) for data in DOMAINS)
    training = {"epoch": 1, "seed": 0, "validation_dice": 0.5}
    save_checkpoint(tmp_path / "model.pt", TrainedModel(domains, Preprocessing((32, 32)), NETWORK, weights, training))
    how = {"out": tmp_path / "dist", "single": single, "fold": single is not None}
    made = package(find_bundle(), checkpoint=tmp_path / "model.pt", **how)
    for path in made:
        report = inspect_bundle(path)
        assert {finding.level for finding in report.concerns} <= {"note"}, report.to_text()


def test_there_are_enough_of_them():
    assert len({each.name for each in HOSTILE}) == len(HOSTILE) >= 30


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda each: each.name)
def test_hostile_bundles_are_named_and_never_run(hostile: Hostile, good, tmp_path, temporary, monkeypatch):
    work, made, marks = tmp_path / "work", tmp_path / "hostile", tmp_path / "marks"
    for folder in (work, made, marks):
        folder.mkdir()
    monkeypatch.chdir(work)
    path = hostile.make(made, good, marks / "canary")
    before, modules, start = tree(tmp_path), set(sys.modules), time.monotonic()

    report = inspect_bundle(path)
    named = [each for each in report.unsafe if hostile.file in each.path and _matches(hostile.cause, each.message)]
    assert named, report.to_text()
    assert all(shorten(line, limit=10**4) == line for line in report.to_text().splitlines())
    assert json.loads(report.to_json())["safe"] is False

    with pytest.raises(InputError, match="must be safe"), open_bundle(path):
        pass
    if hostile.always:
        with pytest.raises(InputError, match="trust does not lift this"), open_bundle(path, trust=True):
            pass
    else:
        with open_bundle(path, trust=True) as folder:
            assert folder.is_dir()
    assert time.monotonic() - start < 20
    assert tree(tmp_path) == before
    assert not {name for name in set(sys.modules) - modules if "antigravity" in name}


def _matches(pattern: str, text: str) -> bool:
    return re.search(pattern, text) is not None


RUNS = {
    "weights-call": "import torch; torch.load(BUNDLE + '/models/model.pt', weights_only=False)",
    "weights-call-new-protocol": "import torch; torch.load(BUNDLE + '/models/model.pt', weights_only=False)",
    "weights-legacy": "import torch; torch.load(BUNDLE + '/models/model.pt', weights_only=False)",
    "weights-instruction": "import torch; torch.load(BUNDLE + '/models/model.pt', weights_only=False)",
    "pickle-as-text": "import pickle; pickle.load(open(BUNDLE + '/docs/notes.txt', 'rb'))",
    "expression": "parse('inference.json', 'x')",
    "expression-metadata": "parse('metadata.json', 'description')",
    "target-system": "parse('inference.json', 'x')",
    "target-subprocess": "parse('train.json', 'x')",
    "target-of-ours": "parse('inference.json', 'x')",
    "disabled-expression": "parse('inference.json', 'x')",
    "logging": "import logging.config; logging.config.fileConfig(BUNDLE + '/configs/logging.conf')",
    "yaml-object": "import yaml; yaml.unsafe_load(open(BUNDLE + '/configs/more.yaml'))",
    "changed-module": "exec(open(BUNDLE + '/custom_components/networks/unet.py').read())",
    "shebang": "import subprocess; subprocess.run([sys.executable, BUNDLE + '/install'], check=True)",
}
PRELUDE = """
import sys
BUNDLE = sys.argv[1]
def parse(name, key):
    from monai.bundle import ConfigParser
    parser = ConfigParser()
    parser.read_config(BUNDLE + '/configs/' + name)
    parser.get_parsed_content(key)
"""


def test_the_payloads_are_real(good, tmp_path):
    """Run by the tools they are aimed at, the payloads leave their mark: so the tests above can fail."""
    marks = {}
    lines = [PRELUDE]
    for hostile in (each for each in HOSTILE if each.name in RUNS):
        folder = tmp_path / hostile.name
        folder.mkdir()
        path = hostile.make(folder, good, folder / "canary")
        with open_bundle(path, trust=True) as opened:
            bundle = folder / "opened"
            opened.rename(bundle)
        marks[hostile.name] = folder / "canary"
        assert not marks[hostile.name].exists()
        lines.append(
            f"try:\n    BUNDLE = {str(bundle)!r}; {RUNS[hostile.name]}\nexcept Exception as error: print(error)"
        )
    done = run([sys.executable, "-W", "ignore", "-c", "\n".join(lines), ""])
    assert done.returncode == 0, done.stderr
    assert marks.keys() == RUNS.keys()
    assert [name for name, mark in marks.items() if not mark.exists()] == [], done.stdout


@pytest.mark.parametrize(
    ("name", "with_trust"),
    [("expression", 0), ("target-system", 0), ("changed-module", 0), ("weights-call", 1), ("ratio-bomb", 1)],
)
def test_segment_runs_nothing_of_a_bundle_even_if_trusted(
    good, manifests, tmp_path, temporary, monkeypatch, capsys, name, with_trust
):
    [hostile] = [each for each in HOSTILE if each.name == name]
    for folder in ("hostile", "marks", "work"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "work")
    path = hostile.make(tmp_path / "hostile", good, tmp_path / "marks" / "canary")
    scan = next(Path(manifests["ankle"]).parent.glob("images/*.nii.gz"))
    how = ["segment", str(scan), "--bundle", str(path), "--domain", "ankle", "--output", str(tmp_path / "out")]
    assert main(how) == 1
    assert re.search(hostile.cause, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()
    assert main([*how, "--trust"]) == with_trust
    assert len(list(tmp_path.glob("out/*_seg.nii.gz"))) == 1 - with_trust
    assert tree(tmp_path / "marks") == tree(tmp_path / "work") == tree(temporary) == set()


def test_a_checkpoint_is_no_bundle_and_not_called_unsafe(trained, tmp_path):
    with pytest.raises(InputError, match=r"must be a folder or a zip file, got model\.pt; no code of a checkpoint"):
        inspect_bundle(trained / "model.pt")


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_tar_files_are_refused_in_one_line(good, tmp_path, mode):
    path = write_tar(tmp_path, good, mode=mode)
    with pytest.raises(InputError, match=r"must be a folder or a \.zip, got (tar|gzip)"):
        inspect_bundle(path)
    with pytest.raises(InputError, match="must be a folder"), open_bundle(path, trust=True):
        pass


def test_what_is_no_bundle_is_refused_in_one_line(tmp_path):
    (tmp_path / "text.md").write_text("hello")
    os.mkfifo(tmp_path / "pipe")
    for name, cause in (("text.md", "must be a folder or a"), ("none.zip", "got none"), ("pipe", "plain file")):
        with pytest.raises(InputError, match=cause):
            inspect_bundle(tmp_path / name)


def test_a_bundle_without_checksums_is_not_verifiable(good, tmp_path):
    copy = tmp_path / good.name
    shutil.copytree(good, copy)
    (copy / "checksums.sha256").unlink()
    report = inspect_bundle(copy)
    assert not report.unsafe
    assert [each.message for each in report.concerns if each.level == "warning"] == [
        "no checksums: without checksums.sha256, damage and changes go unseen"
    ]


def test_missing_and_unlisted_files_are_named(good, tmp_path):
    copy = tmp_path / good.name
    shutil.copytree(good, copy)
    (copy / "docs/data_license.txt").unlink()
    (copy / "docs/more.md").write_text("more")
    found = {(each.level, each.path): each.message for each in inspect_bundle(copy).concerns}
    assert found["unsafe", "docs/data_license.txt"] == "is missing, but has a checksum"
    assert found["warning", "docs/more.md"] == "is not listed in the checksums"


def test_what_a_hub_leaves_beside_its_files_is_a_note_and_no_more(good, tmp_path):
    copy = tmp_path / good.name
    shutil.copytree(good, copy)
    records = copy / ".cache/huggingface"
    (records / "download/configs").mkdir(parents=True)
    (records / ".gitignore").write_text("*")
    (records / "download/configs/metadata.json.metadata").write_text("0123\nabcd\n1700000000.0\n")
    (records / "download/configs/metadata.json.lock").touch()
    before, after = inspect_bundle(good).concerns, inspect_bundle(copy).concerns
    assert [each for each in after if each not in before] == [
        Concern("note", "file", ".cache/huggingface", "records of a download by huggingface_hub: not looked into, "
                "nothing here reads them")
    ]  # fmt: skip
    (records / "download/configs/code.py").write_text("print()")
    (records / "download/large.metadata").write_bytes(bytes(5000))
    unsafe = [each.path for each in inspect_bundle(copy).concerns if each.level == "unsafe"]
    assert set(unsafe) == {".cache/huggingface/download/configs/code.py", ".cache/huggingface/download/large.metadata"}


def test_weights_to_download_are_a_note(good, tmp_path):
    copy = tmp_path / good.name
    shutil.copytree(good, copy)
    digest = json.loads((copy / INFERENCE).read_text())["model"]["digest"]
    (copy / MODEL).unlink()
    (copy / f"{MODEL}.sha256").unlink()
    entry = f"path: {MODEL}, url: 'https://example.org/model.pt', hash_val: {digest}, hash_type: sha256"
    (copy / "large_files.yml").write_text(f"large_files: [{{{entry}}}]\n")
    write_checksums(copy)
    report = inspect_bundle(copy)
    assert not report.unsafe
    assert any(MODEL in each.message and each.kind == "download" for each in report.concerns)


def test_the_command_prints_the_report_and_fails_on_what_is_unsafe(good, tmp_path, capsys):
    assert main(["inspect", str(good), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["safe"] is True
    copy = tmp_path / good.name
    shutil.copytree(good, copy)
    (copy / "run.sh").write_text("touch canary\n")
    assert main(["inspect", str(copy)]) == 1
    printed = capsys.readouterr()
    cause = r"must be safe, got run.sh: code, or what makes .* and 1 more; do not run it"
    assert re.search(cause, printed.err)
    lines = printed.out.splitlines()
    assert "unsafe   code        run.sh: code, or what makes a tool run code" in lines
    assert lines[-1].startswith(f"{good.name}: UNSAFE (2 unsafe, 0 warning, ")


def test_known_texts_come_from_the_release():
    known = known_of_release()
    assert "$@evaluator.run()" in known.expressions
    assert {"Compose", "custom_components.models.load_weights", "SupervisedTrainer"} <= known.targets
    assert all(target.startswith(("custom_components.", "torch.")) or "." not in target for target in known.targets)
    assert not {"os.system", "torch.load", "builtins.eval"} & known.targets
    assert known.modes == {"callable"}
    assert len(known.logging) == 1


def test_any_bytes_end_in_a_report_or_one_line(good, tmp_path, temporary):
    """Damaged archives: never a traceback."""
    source = write_zip(good, tmp_path / "good.zip").read_bytes()
    chance = random.Random(0)
    for _ in range(100):
        data = bytearray(source)
        directory = source.rindex(b"PK\x05\x06")
        first = chance.choice([0, directory - 3000, directory])
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(first, len(data))] = chance.randrange(256)
        data = data[: chance.choice([len(data), len(data), chance.randrange(len(data))])]
        path = tmp_path / "damaged.zip"
        path.write_bytes(data)
        with contextlib.suppress(InputError):
            if not inspect_bundle(path).unsafe:  # the damage hit a date or the like
                with open_bundle(path) as folder:
                    assert contents(folder) == contents(good)
    assert tree(temporary) == set()


@pytest.mark.parametrize("name", [MODEL, "models/model.ts", "models/ankle.onnx", INFERENCE, "large_files.yml"])
def test_any_damaged_file_ends_in_a_report(good, tmp_path, name):
    copy = tmp_path / good.name
    shutil.copytree(good, copy)
    path, chance = copy / name, random.Random(1)
    source = path.read_bytes() if path.exists() else b"large_files: [{path: a, url: b}]\n"
    for _ in range(12):
        data = bytearray(source)
        for _ in range(chance.randint(1, 20)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(data)
        assert inspect_bundle(copy).unsafe


def test_reports_are_bounded_sorted_and_printable(good, tmp_path):
    copy = tmp_path / good.name
    shutil.copytree(good, copy)
    write_json(copy / "configs/many.json", {f"k{number}": f"$print({number})" for number in range(15_000)})
    start = time.monotonic()
    report = inspect_bundle(copy)
    assert time.monotonic() - start < 10
    assert sum(each.kind == "expression" for each in report.unsafe) == 200
    assert "more than 200" in report.to_text()
    assert report.to_text() == inspect_bundle(copy).to_text()
    levels = [each.level for each in report.concerns]
    assert levels == sorted(levels, key=["unsafe", "warning", "note"].index)


def test_a_machine_without_room_is_no_judgement_of_the_bundle(good, tmp_path, temporary, capsys):
    path = write_zip(good, tmp_path / "good.zip")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(ResourceError, match=r"must have room .* set TMPDIR to another folder; the bundle was not"):
            inspect_bundle(path)
        assert main(["inspect", str(path)]) == ResourceError.exit_code == 3
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "unsafe" not in capsys.readouterr().err.lower()
    assert tree(temporary) == set()


def test_a_level_must_be_one_of_the_three():
    with pytest.raises(ValueError, match="level must be one of unsafe, warning, note"):
        Report("x").add("bad", "archive", ".", "no")


def test_logging_is_left_alone(good):
    """The inspection configures no logging, as reading logging.conf through the library would."""
    before = list(logging.getLogger().handlers)
    inspect_bundle(good)
    assert logging.getLogger().handlers == before


def test_a_bundle_of_the_release_before_is_refused_with_the_remedy_and_loads_as_data(good, tmp_path, capsys):
    """Names of 0.5.0: targets in flat modules, and a module that is not there any more."""
    copy = tmp_path / good.name
    shutil.copytree(good, copy)
    config = json.loads((copy / INFERENCE).read_text())
    config["model"]["_target_"] = "custom_components.checkpoints.describe_model"
    config["network_def"]["_target_"] = "custom_components.networks.MultiDomainUNet"
    config["evaluator"]["_target_"] = "custom_components.engines.VolumeEvaluator"
    write_json(copy / INFERENCE, config)
    metadata = json.loads((copy / "configs/metadata.json").read_text())
    write_json(copy / "configs/metadata.json", metadata | {"version": "0.5.0"})
    (copy / "custom_components/engines.py").write_text("old = True\n")
    write_checksums(copy)
    with (
        pytest.raises(
            InputError,
            match=rf"must be packaged by release {custom_components.__version__}, got one of 0\.5\.0, whose code and .*"
            r"segment with --trust, or package its model again: multijoint package multijoint_mr_",
        ),
        open_bundle(copy),
    ):
        pass
    assert main(["inspect", str(copy)]) == 1
    assert "got one of 0.5.0" in capsys.readouterr().err
    with open_bundle(copy, trust=True) as folder:
        assert [domain.name for domain in load_model(folder).domains] == ["ankle", "shoulder"]
    again, _ = package(find_bundle(), checkpoint=copy, out=tmp_path / "again")
    assert not inspect_bundle(again).unsafe
    assert torch.load(again / MODEL, weights_only=True).keys() == torch.load(good / MODEL, weights_only=True).keys()
    (copy / "run.sh").write_text("touch canary\n")
    with pytest.raises(InputError, match=r"must be safe, got .*see `multijoint inspect`"), open_bundle(copy):
        pass
