"""Every bundle trains from its real configuration, then segments and scores; and the three stay alike."""

import csv
import json
import os
import sys
from pathlib import Path
from subprocess import PIPE, STDOUT

import custom_components
import nibabel
import numpy as np
import pytest
import torch
import yaml
from custom_components.errors import InputError, find_cause
from custom_components.models.checkpoints import load_model
from ignite.engine import Events
from monai.bundle import ConfigWorkflow
from support.bundles import BUNDLES, SMALL, Run, config_files
from support.forking import start
from support.processes import run

NAMES = ["ankle", "shoulder", "multijoint"]


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def config(bundle: str, name: str = "train.yaml") -> dict:
    return yaml.safe_load((BUNDLES / f"{bundle}_mr_bone_segmentation" / "configs" / name).read_text())


@pytest.mark.parametrize("bundle", ["ankle", "shoulder"])
def test_single_domain_configs_are_short_overlays_of_the_joint_ones(bundle: str) -> None:
    assert config(bundle) == {"contrastive_weight": 0.0}
    assert config(bundle).keys() <= config("multijoint").keys()
    root = BUNDLES / f"{bundle}_mr_bone_segmentation"
    assert {path.name for path in (root / "configs").iterdir()} == {"train.yaml", "metadata.json"}
    assert "not a medical device" in (root / "docs" / "README.md").read_text()


def test_bundle_has_what_a_zoo_reads() -> None:
    root = BUNDLES / "multijoint_mr_bone_segmentation"
    metadata = json.loads((root / "configs" / "metadata.json").read_text())
    assert metadata["version"] == custom_components.__version__
    assert metadata["version"] in metadata["changelog"]
    assert {"monai_version", "pytorch_version", "numpy_version", "required_packages_version"} <= metadata.keys()
    assert (root / "LICENSE").read_bytes() == (BUNDLES.parent / "LICENSE").read_bytes()
    assert "not a medical device" in (root / "docs" / "README.md").read_text()


@pytest.mark.parametrize(
    ("overlay", "expected"),
    [
        ("shared_norm_and_head.yaml", {"norm": "shared", "head": "shared", "contrastive_weight": 0.0}),
        ("no_contrastive.yaml", {"contrastive_weight": 0.0}),
        ("attention_unet.yaml", {"attention": True}),
    ],
)
def test_methods_are_short_overrides_of_known_settings(overlay: str, expected: dict) -> None:
    assert config("multijoint", overlay) == expected
    assert expected.keys() <= config("multijoint").keys()


def test_training_leaves_all_that_made_the_run(trained: Path) -> None:
    assert {path.name for path in trained.iterdir()} == {
        "config.yaml",
        "last.pt",
        "last.pt.sha256",
        "log.csv",
        "model.pt",
        "model.pt.sha256",
        "run.json",
        "run.log",
        "split.json",
        "tensorboard",
    }
    resolved = yaml.safe_load((trained / "config.yaml").read_text())
    assert resolved["image_size"] == [32, 32]
    record = json.loads((trained / "run.json").read_text())
    assert [domain["name"] for domain in record["domains"]] == ["ankle", "shoulder"]
    assert record["seed"] == 0
    assert {"monai", "torch"} <= record["versions"].keys()
    split = json.loads((trained / "split.json").read_text())
    assert {row["case"] for row in split["testing"]} == {"ankle_000", "shoulder_000"}
    assert {row["case"] for row in split["training"]} == {"ankle_002", "shoulder_002"}
    (row,) = read_rows(trained / "log.csv")
    assert {"loss", "cross_entropy", "contrastive", "val_mean_dice", "val_mean_dice_ankle"} <= row.keys()
    terms = [float(row[name]) for name in ("cross_entropy", "dice", "contrastive")]
    assert float(row["loss"]) == pytest.approx(terms[0] + terms[1] + 0.1 * terms[2], rel=1e-5)
    assert any((trained / "tensorboard").iterdir())


def test_checkpoint_carries_what_inference_needs(trained: Path) -> None:
    torch.load(trained / "last.pt", weights_only=True)
    model = load_model(trained / "model.pt")
    assert [dict(domain.labels) for domain in model.domains] == [
        {1: "calcaneus", 2: "talus", 3: "tibia"},
        {1: "humerus", 2: "scapula"},
    ]
    assert model.preprocessing.image_size == (32, 32)


def test_inference_writes_label_maps_on_the_source_grid(
    trained: Path, manifests: dict[str, str], run_bundle: Run, tmp_path: Path
) -> None:
    source = Path(manifests["shoulder"]).parent / "images" / "shoulder_000.nii.gz"
    turned = tmp_path / "turned.nii.gz"  # another axis order of the same scan
    scan = nibabel.load(source)
    other = nibabel.orientations.axcodes2ornt(("S", "L", "A"))
    change = nibabel.orientations.ornt_transform(nibabel.io_orientation(scan.affine), other)
    nibabel.save(scan.as_reoriented(change), turned)
    run_bundle(
        "multijoint",
        ["inference.yaml"],
        "inference",
        checkpoint=str(trained / "model.pt"),
        domain="shoulder",
        images=[str(source), str(turned)],
        output_dir=str(tmp_path / "out"),
        device="cpu",
    )
    first, second = (nibabel.load(tmp_path / "out" / f"{name}_seg.nii.gz") for name in ("shoulder_000", "turned"))
    for written, given in ((first, scan), (second, nibabel.load(turned))):
        assert written.shape == given.shape
        assert written.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(written.affine, given.affine)
        assert written.header.get_xyzt_units()[0] == given.header.get_xyzt_units()[0]
    np.testing.assert_array_equal(np.asarray(first.as_reoriented(change).dataobj), np.asarray(second.dataobj))
    names = json.loads((tmp_path / "out" / "shoulder_000_seg.json").read_text())
    assert names["labels"] == {"0": "background", "1": "humerus", "2": "scapula"}


def test_evaluation_scores_every_bone_of_every_test_case(
    trained: Path, manifests: dict[str, str], run_bundle: Run, tmp_path: Path
) -> None:
    run_bundle(
        "multijoint",
        ["train.yaml", "evaluate.yaml"],
        "evaluating",
        manifests=list(manifests.values()),
        checkpoint=str(trained / "model.pt"),
        output_dir=str(tmp_path),
        device="cpu",
    )
    text = (tmp_path / "metrics.csv").read_text()
    assert (
        text.splitlines()[0] == "case,subject,domain,label,dice,assd_mm,mssd_mm,status,border,connectivity,spacing_mm,"
        "taken_for,dice_as_one"
    )
    rows = [(row["case"], row["domain"], row["label"]) for row in read_rows(tmp_path / "metrics.csv")]
    assert sorted(rows) == [
        ("ankle_000", "ankle", "calcaneus"),
        ("ankle_000", "ankle", "talus"),
        ("ankle_000", "ankle", "tibia"),
        ("shoulder_000", "shoulder", "humerus"),
        ("shoulder_000", "shoulder", "scapula"),
    ]
    assert "missed" in (tmp_path / "summary.txt").read_text()
    assert (tmp_path / "ankle" / "ankle_000_seg.nii.gz").is_file()


@pytest.mark.parametrize("bundle", ["ankle", "shoulder"])
def test_single_domain_bundle_trains_and_segments_without_naming_its_domain(
    bundle: str, manifests: dict[str, str], run_bundle: Run, tmp_path: Path
) -> None:
    run_bundle(
        bundle, ["train.yaml"], manifests=manifests[bundle], output_dir=str(tmp_path / "run"), device="cpu", **SMALL
    )
    source = Path(manifests[bundle]).parent / "images" / f"{bundle}_000.nii.gz"
    run_bundle(
        bundle,
        ["inference.yaml"],
        checkpoint=str(tmp_path / "run" / "model.pt"),
        images=[str(source)],
        output_dir=str(tmp_path / "out"),
        device="cpu",
    )
    assert nibabel.load(tmp_path / "out" / f"{bundle}_000_seg.nii.gz").shape == nibabel.load(source).shape


@pytest.mark.parametrize("attention", [[], ["attention_unet.yaml"]])
def test_joint_scheme_trains_and_evaluates(
    attention: list[str], manifests: dict[str, str], run_bundle: Run, tmp_path: Path
) -> None:
    common = {"manifests": list(manifests.values()), "device": "cpu"}
    configs = ["train.yaml", "shared_norm_and_head.yaml", *attention]
    run_bundle("multijoint", configs, output_dir=str(tmp_path / "run"), **common, **SMALL)
    network = load_model(tmp_path / "run" / "model.pt").network
    assert (network["norm"], network["head"], network["attention"]) == ("shared", "shared", bool(attention))
    run_bundle(
        "multijoint",
        ["train.yaml", "evaluate.yaml"],
        checkpoint=str(tmp_path / "run" / "model.pt"),
        output_dir=str(tmp_path / "eval"),
        **common,
    )
    assert (tmp_path / "eval" / "metrics.csv").is_file()


def test_resumed_run_equals_the_one_never_stopped(manifests: dict[str, str], run_bundle: Run, tmp_path: Path) -> None:
    common = {"manifests": list(manifests.values()), "device": "cpu", **SMALL, "learning_rate_decay": 0.9}

    def train(folder: str, **more: object) -> None:
        run_bundle("multijoint", ["train.yaml"], output_dir=str(tmp_path / folder), **{**common, **more})

    train("whole", max_epochs=2)

    class Stopped(Exception):
        pass

    def stop(engine: object) -> None:
        raise Stopped

    workflow = ConfigWorkflow(
        config_file=str(BUNDLES / "multijoint_mr_bone_segmentation" / "configs" / "train.yaml"),
        logging_file=False,
        bundle_root=str(BUNDLES / "multijoint_mr_bone_segmentation"),
        output_dir=str(tmp_path / "stopped"),
        **{**common, "max_epochs": 2},
    )
    workflow.initialize()
    trainer = workflow.parser.get_parsed_content("train::trainer")
    trainer.add_event_handler(Events.EPOCH_COMPLETED, stop)  # after the checkpoint of epoch 1
    with pytest.raises(RuntimeError) as caught:
        workflow.run()
    assert find_cause(caught.value, Stopped) is not None
    train("stopped", max_epochs=2, resume=True, num_workers=1, save_interval=0)

    whole, stopped = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("whole", "stopped"))
    assert whole["model"].keys() == stopped["model"].keys()
    for name, weight in whole["model"].items():
        assert torch.equal(weight, stopped["model"][name]), name
    logs = [read_rows(tmp_path / name / "log.csv") for name in ("whole", "stopped")]
    assert [row["loss"] for row in logs[0]] == [row["loss"] for row in logs[1]]


def test_the_number_of_workers_changes_nothing(manifests: dict[str, str], tmp_path: Path) -> None:
    for workers in (0, 2, 4):
        settings = {**SMALL, "max_epochs": 2, "device": "cpu", "num_workers": workers, "logging_file": False}
        settings |= {"manifests": list(manifests.values()), "output_dir": tmp_path / str(workers)}
        command = ["monai.bundle", "run", "training", "--config_file", *config_files("multijoint", "train.yaml")]
        command += [str(part) for name, value in settings.items() for part in (f"--{name}", value)]
        process = start(command, fork=True, stdout=PIPE, stderr=STDOUT)
        output = process.communicate()[0]
        assert process.returncode == 0, output
    weights = [torch.load(tmp_path / str(workers) / "last.pt", weights_only=True)["model"] for workers in (0, 2, 4)]
    for other in weights[1:]:
        assert all(torch.equal(weight, other[name]) for name, weight in weights[0].items())


def test_run_never_overwrites_another(trained: Path, manifests: dict[str, str], run_bundle: Run) -> None:
    before = (trained / "model.pt").read_bytes()
    with pytest.raises(RuntimeError) as caught:
        run_bundle(
            "multijoint",
            ["train.yaml"],
            manifests=list(manifests.values()),
            output_dir=str(trained),
            device="cpu",
            **SMALL,
        )
    assert "choose another folder" in str(find_cause(caught.value, InputError))
    assert (trained / "model.pt").read_bytes() == before


def test_evaluating_on_subjects_the_model_has_seen_is_refused(
    trained: Path, manifests: dict[str, str], run_bundle: Run, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError) as caught:
        run_bundle(
            "multijoint",
            ["train.yaml", "evaluate.yaml"],
            manifests=list(manifests.values()),
            fold=1,
            checkpoint=str(trained / "model.pt"),
            output_dir=str(tmp_path / "eval"),
            device="cpu",
        )
    assert "must be unseen by the checkpoint" in str(find_cause(caught.value, InputError))
    assert not (tmp_path / "eval").exists()


@pytest.mark.parametrize("workflow_type", ["train", "inference"])
@pytest.mark.parametrize("bundle", NAMES)
def test_bundle_has_the_properties_monai_asks_for(
    bundle: str, workflow_type: str, trained: Path, manifests: dict[str, str], tmp_path: Path
) -> None:
    root = BUNDLES / f"{bundle}_mr_bone_segmentation"
    given = {
        "train": {"manifests": manifests["ankle"], "output_dir": str(tmp_path), **SMALL},
        "inference": {
            "checkpoint": str(trained / "model.pt"),
            "domain": "ankle",
            "images": [str(Path(manifests["ankle"]).parent / "images")],
        },
    }[workflow_type]
    workflow = ConfigWorkflow(
        config_file=config_files(bundle, f"{workflow_type}.yaml"),
        workflow_type=workflow_type,
        logging_file=False,
        bundle_root=str(root),
        device="cpu",
        **given,
    )
    workflow.initialize()
    assert workflow.check_properties() == []


LOADED = """
import sys
from monai.bundle import run
run("inference", config_file=sys.argv[1] + "/configs/inference.yaml", bundle_root=sys.argv[1], logging_file=False,
    checkpoint=sys.argv[2], images=[sys.argv[3]], domain="ankle", output_dir=sys.argv[4], device="cpu")
print(*sorted(name for name in sys.modules if name.startswith(("custom_components.training", "multijoint"))))
"""


def test_inference_imports_no_trainer(trained: Path, manifests: dict[str, str], tmp_path: Path) -> None:
    root = BUNDLES / "multijoint_mr_bone_segmentation"
    scan = Path(manifests["ankle"]).parent / "images" / "ankle_000.nii.gz"
    command = [sys.executable, "-W", "ignore", "-c", LOADED, root, trained / "model.pt", scan, tmp_path]
    environment = {**os.environ, "PYTHONPATH": str(BUNDLES.parent)}
    done = run(command, env=environment, check=True)
    assert (tmp_path / "ankle_000_seg.nii.gz").is_file()
    assert done.stdout.splitlines()[-1] == ""
