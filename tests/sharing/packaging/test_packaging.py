"""A packaged bundle runs on its own, everywhere the same, and describes itself without naming its subjects."""

import csv
import hashlib
import json
import os
import shutil
import sys
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import custom_components
import nibabel as nib
import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from custom_components.errors import InputError
from custom_components.models.checkpoints import build_network, load_model, save_checkpoint
from custom_components.models.ensembles import weights_digest
from custom_components.models.seen import seen_by
from custom_components.models.trained_model import QUALITY
from custom_components.workflows.packaged import identify, publish
from monai.bundle import ConfigWorkflow, ckpt_export, load, onnx_export, verify_net_in_out
from monai.bundle.scripts import download_large_files
from support.bundles import BUNDLES
from support.processes import run

from multijoint.cli import main
from multijoint.sharing import package
from multijoint.sharing.packaging import packaging

JOINT = "multijoint_mr_bone_segmentation"


@pytest.fixture(scope="module")
def dist(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The joint bundle, the shoulder's taken from the joint model, and the ankle's with its norms folded."""
    out = tmp_path_factory.mktemp("dist")
    checkpoint = trained / "model.pt"
    package(BUNDLES / JOINT, checkpoint=checkpoint, out=out)
    package(BUNDLES / "shoulder_mr_bone_segmentation", checkpoint=checkpoint, out=out)
    package(BUNDLES / JOINT, checkpoint=checkpoint, out=out, single="ankle", fold=True)
    return out


@pytest.fixture
def without_exports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Package in a second, for tests that are not about TorchScript and ONNX."""
    for name in ("export_torchscript", "export_onnx"):
        monkeypatch.setattr(packaging, name, lambda model, *, domain, **_: f"{domain} {model.digest}".encode())


@pytest.fixture(scope="module")
def scans(manifests: dict[str, str]) -> dict[str, Path]:
    return {name: Path(path).parent / "images" / f"{name}_000.nii.gz" for name, path in manifests.items()}


def segment(scan: Path, model: Path, out: Path, *options: str) -> None:
    kind = "--bundle" if model.is_dir() else "--checkpoint"
    assert main(["segment", str(scan), kind, str(model), "--output", str(out), *options]) == 0


def run_alone(folder: Path, *arguments: str, cwd: Path) -> CompletedProcess[str]:
    """MONAI's command in another working directory, in which only the bundle itself can be imported."""
    code = "import sys; sys.path[:] = [each for each in sys.path if each != sys.argv[1]]; sys.argv[1:2] = []; " + (
        "import runpy; runpy.run_module('monai.bundle', run_name='__main__')"
    )
    command = [sys.executable, "-B", "-c", code, str(BUNDLES.parent), *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return run(command, cwd=cwd, env=environment)


def test_the_zip_alone_segments_from_another_folder(dist: Path, scans: dict[str, Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(next(dist.glob(f"{JOINT}_v*.zip"))) as archive:
        archive.extractall(tmp_path / "unpacked")
    (tmp_path / "elsewhere").mkdir()
    config = tmp_path / "unpacked" / JOINT / "configs" / "inference.json"
    arguments = ["run", "--config_file", str(config), "--images", str([str(scans["shoulder"])])]
    done = run_alone(config, *arguments, "--output_dir", "out", "--domain", "shoulder", cwd=tmp_path / "elsewhere")
    assert done.returncode == 0, done.stderr
    segment(scans["shoulder"], dist / JOINT, tmp_path / "ours", "--domain", "shoulder")
    for name in ("shoulder_000_seg.nii.gz", "shoulder_000_seg.json"):
        assert (tmp_path / "elsewhere" / "out" / name).read_bytes() == (tmp_path / "ours" / name).read_bytes()
    source, found = nib.load(scans["shoulder"]), nib.load(tmp_path / "ours" / "shoulder_000_seg.nii.gz")
    assert found.shape == source.shape
    np.testing.assert_array_equal(found.affine, source.affine)


def test_quality_travels_with_it_until_its_weights_are_others(dist: Path, trained: Path, tmp_path: Path) -> None:
    model = load_model(trained / "model.pt")
    for name in ("ankle", "shoulder"):
        assert load_model(dist / JOINT).quality(name) == model.quality(name) is not None
    alone = load_model(dist / "ankle_mr_bone_segmentation")
    assert alone.training[QUALITY].keys() == {"ankle"}
    assert alone.quality("ankle") == model.quality("ankle")

    shutil.copytree(dist / JOINT, tmp_path / JOINT)
    weights = tmp_path / JOINT / "models" / "model.pt"
    packaged = load_model(tmp_path / JOINT)
    assert identify(packaged, path=weights).quality("ankle") == model.quality("ankle")
    other = {name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in model.weights.items()}
    save_checkpoint(tmp_path / "run" / "model.pt", replace(model, weights=other))
    publish(tmp_path / "run", path=weights)
    assert load_model(tmp_path / JOINT).quality("ankle") is None
    assert identify(packaged, path=weights).quality("ankle") is None


def test_its_own_code_runs(dist: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from monai.bundle import load; "
        "load(sys.argv[1], bundle_dir=sys.argv[2], workflow_type='inference'); "
        "print(sys.modules['custom_components'].__file__)"
    )
    done = run([sys.executable, "-I", "-B", "-W", "ignore", "-c", code, JOINT, dist], cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == str(dist / JOINT / "custom_components" / "__init__.py"), done.stderr


def test_packaging_twice_gives_the_same_bytes(dist: Path, trained: Path, tmp_path: Path) -> None:
    folder, archive = package(BUNDLES / JOINT, checkpoint=trained / "model.pt", out=tmp_path)
    assert archive.read_bytes() == (dist / archive.name).read_bytes()
    with zipfile.ZipFile(archive) as content:
        assert {name: content.read(name) for name in content.namelist()} == {
            f"{JOINT}/{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*") if path.is_file()
        }


def test_nothing_stranger_than_it_should_be_is_in_it(dist: Path, trained: Path) -> None:
    names = {row["subject"] for side in json.loads((trained / "split.json").read_text()).values()
             if isinstance(side, list) for row in side}  # fmt: skip
    foreign = [str(trained), str(BUNDLES.parent), str(Path(sys.prefix)), "site-packages", str(Path.home()), *names]
    for path in (dist / JOINT).rglob("*"):
        content = [path.read_bytes()] if path.is_file() else []
        if path.suffix in (".pt", ".ts"):
            with zipfile.ZipFile(path) as archive:
                content = [archive.read(name) for name in archive.namelist()]
        assert not [word for word in foreign for part in content if word.encode() in part], path
    assert {path.name for path in (dist / JOINT).iterdir() if path.is_dir()} == {
        "configs", "custom_components", "docs", "models"
    }  # fmt: skip
    for path in (dist / JOINT / "custom_components").rglob("*.py"):
        assert path.read_bytes() == (BUNDLES.parent / path.relative_to(dist / JOINT)).read_bytes()


def test_every_file_has_its_digest(dist: Path) -> None:
    for folder in filter(Path.is_dir, dist.iterdir()):
        lines = dict(line.split("  ")[::-1] for line in (folder / "checksums.sha256").read_text().splitlines())
        files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
        del files["checksums.sha256"]
        assert lines == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


@pytest.mark.parametrize(
    ("name", "domains"),
    [
        (JOINT, ["ankle", "shoulder"]),
        ("shoulder_mr_bone_segmentation", ["shoulder"]),
        ("ankle_mr_bone_segmentation", ["ankle"]),
    ],
)
def test_every_form_of_the_weights_agrees(dist: Path, trained: Path, name: str, domains: list[str]) -> None:
    models, joint = dist / name / "models", load_model(trained / "model.pt")
    scripted = torch.jit.load(models / "model.ts")
    assert sorted(path.name for path in models.glob("*.onnx")) == sorted(f"{domain}.onnx" for domain in domains)
    for number, domain in enumerate(domains):
        x = torch.randn(3, 5, 32, 32)
        expected = build_network(joint, domain=domain)(x).detach()
        session = onnxruntime.InferenceSession(models / f"{domain}.onnx")
        scripted.domain = number
        for found in (
            build_network(load_model(dist / name), domain=domain)(x),
            scripted(x),
            torch.from_numpy(session.run(None, {"image": x.numpy()})[0]),
        ):
            torch.testing.assert_close(found.detach(), expected, rtol=0, atol=1e-4)
            assert torch.equal(found.argmax(1), expected.argmax(1))


@pytest.mark.parametrize(("bundle", "options", "domain"), [
    (JOINT, ["--domain", "ankle"], "ankle"),
    ("ankle_mr_bone_segmentation", [], "ankle"),
    ("shoulder_mr_bone_segmentation", [], "shoulder"),
])  # fmt: skip
def test_label_maps_of_single_domain_bundles_are_the_joint_ones(
    dist: Path, trained: Path, scans: dict[str, Path], tmp_path: Path, bundle: str, options: list[str], domain: str
) -> None:
    scan = str(scans[domain])
    assert main(["segment", scan, "--bundle", str(dist / bundle), "--output", str(tmp_path / "a"), *options]) == 0
    main(
        [
            "segment",
            scan,
            "--checkpoint",
            str(trained / "model.pt"),
            "--output",
            str(tmp_path / "b"),
            "--domain",
            domain,
        ]
    )
    name = f"{domain}_000_seg.nii.gz"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("name", [JOINT, "shoulder_mr_bone_segmentation", "ankle_mr_bone_segmentation"])
def test_what_a_zoo_runs(
    dist: Path, scans: dict[str, Path], manifests: dict[str, str], tmp_path: Path, name: str
) -> None:
    root, domain = dist / name, "shoulder" if name.startswith("shoulder") else "ankle"
    common = {"meta_file": str(root / "configs/metadata.json"), "config_file": str(root / "configs/inference.json")}
    common |= {"bundle_root": str(root), "net_id": "network_def"}
    metadata = json.loads((root / "configs/metadata.json").read_text())
    assert metadata["version"] in metadata["changelog"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MONAI and the exporters about themselves
        verify_net_in_out(**common)
        weights = {"ckpt_file": str(root / "models/model.pt")}
        ckpt_export(filepath=str(tmp_path / "model.ts"), **weights, **common)
        onnx_export(filepath=str(tmp_path / "model.onnx"), **weights, **common)
        for kind in ("inference", "train"):
            given = {"images": [str(scans[domain])]} if kind == "inference" else {"manifests": [manifests[domain]]}
            if (root / "configs" / f"{kind}.json").exists():
                workflow = ConfigWorkflow(
                    config_file=str(root / "configs" / f"{kind}.json"), workflow_type=kind, logging_file=False,
                    output_dir=str(tmp_path / kind), **given,
                )  # fmt: skip
                workflow.initialize()
                assert workflow.check_properties() == []
    assert (root / "configs" / "train.json").exists() == (name != "ankle_mr_bone_segmentation")
    assert torch.jit.load(tmp_path / "model.ts")(torch.zeros(1, 5, 32, 32)).shape[1] == len(
        metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    )


@pytest.mark.parametrize("workflow_type", ["train", "inference"])
@pytest.mark.parametrize("name", [JOINT, "shoulder_mr_bone_segmentation"])
def test_monai_loads_the_network_from_either_configuration(dist: Path, name: str, workflow_type: str) -> None:
    before = {path for path in dist.rglob("*") if "__pycache__" not in path.parts}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = load(name, bundle_dir=dist, workflow_type=workflow_type, device="cpu")
    assert isinstance(network, torch.nn.Module)
    weights = torch.load(dist / name / "models" / "model.pt", weights_only=True)
    assert network.state_dict().keys() == weights.keys()
    assert all(torch.equal(tensor, weights[key]) for key, tensor in network.state_dict().items())
    assert {path for path in dist.rglob("*") if "__pycache__" not in path.parts} == before  # no run has been started


def test_the_domain_is_switched(dist: Path, scans: dict[str, Path], tmp_path: Path) -> None:
    configs = dist / JOINT / "configs"
    files = [str(configs / "inference.json"), str(configs / "domain_shoulder.json")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = load(JOINT, bundle_dir=dist, workflow_type="inference", net_override={"domain": "shoulder"})
        default = load(JOINT, bundle_dir=dist, workflow_type="inference")
        workflow = ConfigWorkflow(
            config_file=files, workflow_type="inference", logging_file=False, images=[scans["shoulder"]],
            output_dir=tmp_path,
        )  # fmt: skip
        workflow.initialize()
        workflow.run()
    x = torch.randn(1, 5, 32, 32)
    assert [network.eval()(x).shape[1] for network in (default, loaded)] == [4, 3]
    assert json.loads((tmp_path / "shoulder_000_seg.json").read_text())["domain"] == "shoulder"


def test_training_on_what_another_tool_hands_over(dist: Path, manifests: dict[str, str], tmp_path: Path) -> None:
    root = Path(shutil.copytree(dist / JOINT, tmp_path / JOINT))
    handlers = json.loads((root / "configs/train.json").read_text())["train"]["handlers"]
    handlers.insert(0, handlers[0])  # MONAI Label puts its own first
    folder = Path(manifests["ankle"]).parent
    items = [
        {kind: str(folder / f"{kind}s/ankle_{number:03d}.nii.gz") for kind in ("image", "label")} for number in (0, 1)
    ]
    before = load_model(root)
    for number in (1, 2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            workflow = ConfigWorkflow(
                config_file=str(root / "configs/train.json"), workflow_type="train", logging_file=False, device="cpu",
                **{"train#dataset#data": items[:1], "validate#dataset#data": items[1:], "train#trainer#max_epochs": 1},
                **{"train#handlers": handlers},
            )  # fmt: skip
            workflow.initialize()
            workflow.run()
        assert (root / "runs" / str(number) / "model.pt").is_file()
        trained = load_model(root / "runs" / str(number) / "model.pt")
        assert [row["subject"] for row in trained.training["split"]["training"]] == ["ankle_000"]
        assert not seen_by(trained.training).complete, "the packaged model names nobody"
        after = load_model(root)
        assert after.digest != before.digest
        for name, tensor in after.weights.items():
            assert torch.equal(tensor, trained.weights[name])
            assert torch.equal(tensor, before.weights[name]) or not name.startswith("heads.1")
        before = after
    assert sorted(path.name for path in (root / "models").glob("*.pt")) == ["model.pt"]


def test_it_is_evaluated_by_its_own_configuration(
    dist: Path, manifests: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    configs = dist / JOINT / "configs"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        workflow = ConfigWorkflow(
            config_file=[str(configs / "train.json"), str(configs / "evaluate.json")], workflow_type="inference",
            logging_file=False, manifests=[manifests["shoulder"]], output_dir=str(tmp_path), device="cpu",
        )  # fmt: skip
        workflow.initialize()
        workflow.run()
    with (tmp_path / "metrics.csv").open(newline="") as file:
        assert {row["label"] for row in csv.DictReader(file)} == {"humerus", "scapula"}
    assert "does not say whom it was trained on" in caplog.text


def test_data_of_other_labels_is_refused(dist: Path, manifests: dict[str, str], tmp_path: Path) -> None:
    source = Path(manifests["ankle"])
    other = yaml.safe_load(source.read_text()) | {"labels": {1: "talus", 2: "calcaneus", 3: "tibia"}}
    (source.parent / "other.yaml").write_text(yaml.safe_dump(other))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        workflow = ConfigWorkflow(
            config_file=str(dist / JOINT / "configs/train.json"), workflow_type="train", logging_file=False,
            manifests=[str(source.parent / "other.yaml")], output_dir=str(tmp_path),
        )  # fmt: skip
        workflow.initialize()
        with pytest.raises(RuntimeError) as error:
            workflow.run()
    causes = []
    cause: BaseException | None = error.value
    while cause is not None:
        causes.append(str(cause))
        cause = cause.__cause__
    assert any("domain ankle must have the labels and plane of the checkpoint" in text for text in causes)


def test_large_files_are_left_out_and_found_again(trained: Path, tmp_path: Path, without_exports: None) -> None:
    folder, archive = package(
        BUNDLES / JOINT, checkpoint=trained / "model.pt", out=tmp_path / "dist", weights_url=(tmp_path / "web").as_uri()
    )
    shutil.copytree(folder / "models", tmp_path / "web")
    with zipfile.ZipFile(archive) as content:
        assert not [name for name in content.namelist() if name.startswith(f"{JOINT}/models/")]
        content.extractall(tmp_path / "unpacked")
    root = tmp_path / "unpacked" / JOINT
    with pytest.raises(
        InputError, match="must have its weights, which lie elsewhere; unpack it and fetch them: python"
    ):
        load_model(root)
    (root / "models").mkdir()
    download_large_files(bundle_path=str(root))
    for path in folder.rglob("*"):
        assert path.is_dir() or path.read_bytes() == (root / path.relative_to(folder)).read_bytes()


def test_the_model_card_tells_data_and_scores(trained: Path, tmp_path: Path, without_exports: None) -> None:
    scores = {"domain": "ankle", "label": "all bones", "n": 6, "missed": 1, "dice_mean": 0.8751, "assd_mean_mm": 1.234}
    scores |= {"mssd_mean_mm": "", "border": "inside", "connectivity": 6}
    with (tmp_path / "summary.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, scores)
        table.writeheader()
        table.writerow(scores)
    (tmp_path / "scored_weights.txt").write_text(f"{weights_digest(load_model(trained / 'model.pt'))}\n")
    command = [
        "package",
        str(BUNDLES / JOINT),
        "--checkpoint",
        str(trained / "model.pt"),
        "--out",
        str(tmp_path / "out"),
    ]
    assert main([*command, "--evaluation", str(tmp_path), "--domain", "shoulder"]) == 0
    folder = tmp_path / "out" / JOINT
    card, metadata = (folder / "docs/README.md").read_text(), json.loads((folder / "configs/metadata.json").read_text())
    assert "| ankle | **all bones** | 6 | 1 | 87.5 | 1.23 | - |" in card
    assert "| ankle | 1 | 1 | CC0-1.0" in card
    assert metadata["eval_metrics"] == {"mean_dice ankle all bones": 0.8751}
    assert metadata["network_data_format"]["outputs"]["pred"]["channel_def"] == {
        "0": "background", "1": "humerus", "2": "scapula"
    }  # fmt: skip
    assert "licence: CC0-1.0" in (folder / "docs/data_license.txt").read_text()
    # The bundle's file is another one, with the same weights: the scores are still its own.
    again, _ = package(
        BUNDLES / JOINT, checkpoint=folder, out=tmp_path / "again", domain="shoulder", evaluation=tmp_path
    )
    assert (again / "docs/data_license.txt").read_bytes() == (folder / "docs/data_license.txt").read_bytes()
    assert "| ankle | 1 | 1 | CC0-1.0" in (again / "docs/README.md").read_text()
    assert (again / "models/model.pt").read_bytes() == (folder / "models/model.pt").read_bytes()


def test_a_domain_taken_alone_says_whom_it_learned_with(dist: Path) -> None:
    for name, bones in (("ankle", "calcaneus, talus and tibia"), ("shoulder", "humerus and scapula")):
        folder = dist / f"{name}_mr_bone_segmentation"
        metadata = json.loads((folder / "configs/metadata.json").read_text())
        assert metadata["name"] == f"{name.capitalize()} MR bone segmentation"
        assert metadata["description"] == (
            f"A 2D U-Net that segments {bones} slice by slice, of a network trained on ankle, shoulder together."
        )
        assert metadata["description"] in (folder / "docs/README.md").read_text()
        assert f"| {name} | 1 | 1 | CC0-1.0" in (folder / "docs/README.md").read_text()


def test_a_package_bears_its_makers_name_and_version(trained: Path, tmp_path: Path, without_exports: None) -> None:
    own = {"name": "Hip MR (Graz)", "version": "1.2.0", "author": "A. Müller"}
    folder, archive = package(BUNDLES / JOINT, checkpoint=trained / "model.pt", out=tmp_path, **own)
    assert (folder.name, archive.name) == ("Hip_MR_Graz", "Hip_MR_Graz_v1.2.0.zip")
    metadata = json.loads((folder / "configs/metadata.json").read_text())
    assert (metadata["name"], metadata["version"]) == ("Hip MR (Graz)", "1.2.0")
    assert (metadata["authors"], metadata["copyright"]) == ("A. Müller", "Copyright (c) A. Müller")
    assert metadata["changelog"] == {"1.2.0": f"packaged by multijoint {custom_components.__version__}"}
    assert (folder / "docs/README.md").read_text().startswith("# Hip MR (Graz)\n")
    for wrong in ({"name": "../x\n"}, {"name": "-"}, {"version": "../1"}, {"author": "$x"}, {"author": "a\x1b"}):
        [what] = wrong
        with pytest.raises(InputError, match=f"{what} of a package must .*--{what}"):
            package(BUNDLES / JOINT, checkpoint=trained / "model.pt", out=tmp_path, **wrong)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="folder for results must be a folder, got the file file"):
        package(BUNDLES / JOINT, checkpoint=trained / "model.pt", out=tmp_path / "file")


def test_errors(trained: Path, tmp_path: Path) -> None:
    checkpoint = trained / "model.pt"
    with pytest.raises(InputError, match=r"bundle must be a folder with configs/metadata\.json, got "):
        package(tmp_path, checkpoint=checkpoint, out=tmp_path / "out")
    with pytest.raises(InputError, match=r"evaluation must be a folder with summary\.csv, got "):
        package(BUNDLES / JOINT, checkpoint=checkpoint, out=tmp_path / "out", evaluation=tmp_path)
    (tmp_path / "summary.csv").touch()
    (tmp_path / "scored_weights.txt").write_text("f" * 64)
    with pytest.raises(InputError, match="must be of the weights to package, got scores of others"):
        package(BUNDLES / JOINT, checkpoint=checkpoint, out=tmp_path / "out", evaluation=tmp_path)
    with pytest.raises(InputError, match="domain must be one of ankle, shoulder, got 'knee'"):
        package(BUNDLES / JOINT, checkpoint=checkpoint, out=tmp_path / "out", domain="knee")
    with pytest.raises(
        InputError, match="a model to fold must have one domain, got ankle, shoulder; name it by --single"
    ):
        package(BUNDLES / JOINT, checkpoint=checkpoint, out=tmp_path / "out", fold=True)
    (tmp_path / "out" / JOINT).mkdir(parents=True)
    (tmp_path / "out" / JOINT / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="folder to package to must be new or an earlier package"):
        package(BUNDLES / JOINT, checkpoint=checkpoint, out=tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").rglob("*")] == [JOINT, "mine.txt"]


def test_an_empty_run_id_means_the_usual_run(dist: Path, scans: dict[str, Path], tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        workflow = ConfigWorkflow(
            config_file=str(dist / JOINT / "configs/inference.json"), workflow_type="inference", logging_file=False,
            run_id="", images=[scans["ankle"]], output_dir=tmp_path,
        )  # fmt: skip
        workflow.initialize()
        workflow.run()
    assert (tmp_path / "ankle_000_seg.nii.gz").is_file()
