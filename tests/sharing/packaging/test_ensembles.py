"""A packaged ensemble gives the label maps of its checkpoints from the zip alone, and names no subject."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from custom_components.errors import InputError
from custom_components.models.checkpoints import load_model
from custom_components.models.ensembles import load_ensemble
from custom_components.models.seen import seen_by
from support.bundles import BUNDLES, Run
from support.commands import error_line, scan_of
from support.ensembles import train_folds
from support.processes import run

import multijoint
from multijoint.cli import main
from multijoint.sharing import package
from multijoint.sharing.inspection.inspection import inspect_bundle

JOINT = "multijoint_mr_bone_segmentation"


@pytest.fixture(scope="module")
def folds(manifests: dict[str, str], run_bundle: Run, made_once: Callable[..., Path]) -> list[Path]:
    return train_folds(manifests, run_bundle, made_once)


@pytest.fixture(scope="module")
def packaged(folds: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    out = tmp_path_factory.mktemp("dist")
    words = [word for fold in folds for word in ("--checkpoint", str(fold))]
    assert main(["package", str(BUNDLES / JOINT), *words, "--out", str(out), "--name", "three folds"]) == 0
    (archive,) = out.glob("*.zip")
    return out / "three_folds", archive


def test_the_same_members_in_another_order_are_the_same_package(
    folds: list[Path], packaged: tuple[Path, Path], tmp_path: Path
) -> None:
    _, archive = package(BUNDLES / JOINT, checkpoint=folds[::-1], out=tmp_path, name="three folds")
    assert archive.read_bytes() == packaged[1].read_bytes()


def test_the_zip_alone_segments_as_its_checkpoints_do(
    folds: list[Path], packaged: tuple[Path, Path], manifests: dict[str, str], tmp_path: Path
) -> None:
    scan = scan_of(manifests, "ankle")
    with multijoint.load(folds, device="cpu") as model:
        expected = model.segment(scan, domain="ankle")
    archive = tmp_path / "moved.zip"
    shutil.copyfile(packaged[1], archive)
    with multijoint.load(archive, device="cpu") as model:
        found = model.segment(scan, domain="ankle")
    assert found.label_map == expected.label_map
    assert len(found.record["members_sha256"]) == 3
    kept = ("label", "volume_ml", "expected_dice", "confidence", "training_volume_ml")
    pairs = zip(found.record["quality"], expected.record["quality"], strict=True)
    assert all(own[key] == other[key] for own, other in pairs for key in kept)

    shutil.unpack_archive(archive, tmp_path / "plain")
    (folder,) = (tmp_path / "plain").iterdir()
    settings = {"images": [str(scan)], "output_dir": tmp_path / "monai", "domain": "ankle"}
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    command = ["-m", "monai.bundle", "run", "inference", "--config_file", folder / "configs" / "inference.json"]
    done = run([sys.executable, *command, *words], cwd=tmp_path, env={"PATH": "/usr/bin:/bin"})
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "monai" / "ankle_000_seg.nii.gz").read_bytes() == expected.label_map
    record = json.loads((tmp_path / "monai" / "ankle_000_seg.json").read_text())
    assert record["model_sha256"] == found.record["model_sha256"]


def test_what_the_package_holds_and_says(folds: list[Path], packaged: tuple[Path, Path]) -> None:
    folder = packaged[0]
    names = {path.name for path in (folder / "models").iterdir()}
    weights = {f"{name}.{kind}" for name in ("model", "member_2", "member_3") for kind in ("pt", "safetensors")}
    assert names == weights | {f"{name}.sha256" for name in weights}
    assert not (folder / "configs" / "train.json").exists()
    described = json.loads((folder / "configs" / "inference.json").read_text())["model"]
    assert [member["training"]["epoch"] for member in described["members"]] == [1, 1, 1]
    assert sorted(member["training"]["seed"] for member in described["members"]) == [0, 1, 2]
    text = "".join(path.read_text() for path in folder.rglob("*.json"))
    people = {subject for _, subject in seen_by(load_ensemble(folds).training).everybody}
    assert people
    assert not any(f'"{subject}"' in text for subject in people)
    assert not seen_by(load_model(folder).training).complete
    card = (folder / "docs" / "README.md").read_text()
    assert "the probabilities of 3 networks" in card
    assert "run training" not in card
    report = inspect_bundle(packaged[1])
    assert not report.refusal(most=9, remedy="", trust=False)
    size = sum(each.numel() for fold in folds for each in load_model(fold).weights.values())
    assert report.summary["weights"] == size


def test_one_domain_of_an_ensemble_folded_gives_the_same_labels(
    folds: list[Path], manifests: dict[str, str], tmp_path: Path
) -> None:
    scan = scan_of(manifests, "ankle")
    _, archive = package(BUNDLES / JOINT, checkpoint=folds, out=tmp_path, single="ankle", fold=True)
    with multijoint.load(archive, device="cpu") as model, multijoint.load(folds, device="cpu") as joint:
        found, expected = model.segment(scan), joint.segment(scan, domain="ankle")
    same = torch.from_numpy(found.labels.get_fdata() == expected.labels.get_fdata()).float().mean()
    assert float(same) > 0.999


def test_a_foreign_ensemble_is_looked_through(packaged: tuple[Path, Path], tmp_path: Path) -> None:
    def changed(name: str, change: Callable[[dict], object]) -> str:
        folder = tmp_path / name
        shutil.copytree(packaged[0], folder)
        path = folder / "configs" / "inference.json"
        config = json.loads(path.read_text())
        change(config["model"])
        path.write_text(json.dumps(config))
        return str([str(concern) for concern in inspect_bundle(folder).concerns])

    def widen(model: dict) -> None:
        model["members"][1]["network"]["widths"] = [16000] * 8

    def shrink(model: dict) -> None:
        model["members"][2]["network"]["widths"] = [2, 4]

    assert "size bomb" in changed("wide", widen)
    assert "models/member_3.pt" in changed("other", shrink)
    assert "described by network and training" in changed("deep", lambda model: model["members"][0].update(members=[]))
    assert "over 64" in changed("many", lambda model: model["members"].extend(model["members"][:1] * 70))


def test_what_takes_one_network_refuses_an_ensemble(
    folds: list[Path], packaged: tuple[Path, Path], manifests: dict[str, str], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with pytest.raises(InputError, match="a model for int8 must be one network, got an ensemble of 3"):
        package(BUNDLES / JOINT, checkpoint=folds, out=tmp_path, int8=[manifests["ankle"]])
    knee = tmp_path / "knee.yaml"
    knee.write_text(Path(manifests["ankle"]).read_text().replace("domain: ankle", "domain: knee"))
    for freeze in ("shared", "none"):
        words = ["adapt", "--bundle", str(packaged[1]), "--manifest", str(knee), "--out", str(tmp_path / "run")]
        assert main([*words, "--freeze", freeze, "--dataset-dir", str(Path(manifests["ankle"]).parent)]) == 1
        assert "must be one network here, got an ensemble of 3; give one member" in error_line(capsys)
    words = ["calibrate", "--checkpoint", str(packaged[0]), "--manifests", manifests["ankle"]]
    assert main(words) == 1
    assert "must be a run's model.pt" in error_line(capsys)
