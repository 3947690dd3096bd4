"""Adapting a trained model by the real workflow: the new domain learns, the others stay to the last bit."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from custom_components.data.manifests import load_manifest
from custom_components.errors import InputError, find_cause
from custom_components.models.checkpoints import build_network, load_model
from custom_components.models.trained_model import TrainedModel
from custom_components.system.files import read_csv
from support.bundles import SMALL, Run
from torch import Tensor

from multijoint.api.adapting import adapt_model, adaptation_settings
from multijoint.api.training import evaluation_workflow
from multijoint.cli import main
from multijoint.phantoms import write_phantoms

SHORT: Mapping[str, Any] = {"max_epochs": 2, "min_batches": 3, "batch_size": 8, "device": "cpu"}


@pytest.fixture(scope="module")
def knee(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of three knees."""
    (path,) = write_phantoms(tmp_path_factory.mktemp("knees"), domains=["knee"], num_cases=3, seed=0, size=40)
    return path


@pytest.fixture(scope="module")
def adapted(trained: Path, knee: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the joint model adapted to one knee."""
    out = tmp_path_factory.mktemp("adapted") / "run"
    settings = {**SHORT, "train_subjects": ["knee_001"]}
    assert adapt_model(trained / "model.pt", manifest=knee, out=out, settings=settings) == out / "model.pt"
    return out


def changed(before: TrainedModel, after: TrainedModel) -> set[str]:
    return {name for name, weight in before.weights.items() if not torch.equal(weight, after.weights[name])}


def logits(model: TrainedModel, domain: str, seed: int = 0) -> Tensor:
    network = build_network(model, domain=domain)
    with torch.inference_mode():
        shape = (3, model.preprocessing.in_channels, *model.preprocessing.size_of())
        return network(torch.randn(shape, generator=torch.manual_seed(seed)))


def test_all_but_the_new_norm_and_head_stays_to_the_last_bit(trained: Path, adapted: Path) -> None:
    before, after = load_model(trained / "model.pt"), load_model(adapted / "model.pt")
    assert [domain.name for domain in after.domains] == ["ankle", "shoulder", "knee"]
    assert after.preprocessing == before.preprocessing
    assert changed(before, after) == set()
    for domain in ("ankle", "shoulder"):
        for seed in range(3):
            assert torch.equal(logits(before, domain, seed), logits(after, domain, seed))
    new = after.weights.keys() - before.weights.keys()
    assert {name for name in new if ".norms.2." not in name} == {"heads.2.weight", "heads.2.bias"}
    for name in (name for name in new if ".norms.2." in name):
        assert not torch.equal(after.weights[name], before.weights[name.replace(".norms.2.", ".norms.0.")]), name


def test_it_is_an_ordinary_run_that_says_where_it_comes_from(trained: Path, adapted: Path) -> None:
    assert {path.name for path in trained.iterdir()} <= {path.name for path in adapted.iterdir()}
    split = json.loads((adapted / "split.json").read_text())
    assert [row["case"] for row in split["training"]] == ["ankle_002", "shoulder_002", "knee_001"]
    assert [row["case"] for row in split["validation"]] == ["ankle_001", "shoulder_001"]
    assert [row["case"] for row in split["testing"]] == ["ankle_000", "shoulder_000", "knee_000", "knee_002"]
    model, base = load_model(adapted / "model.pt"), load_model(trained / "model.pt")
    assert model.training["split"] == split
    assert model.training["started_from"]["digest"] == base.digest
    assert model.training["validation_dice"] is None
    record = json.loads((adapted / "run.json").read_text())
    assert [domain["name"] for domain in record["domains"]] == ["ankle", "shoulder", "knee"]
    assert record["started_from"]["training"]["seed"] == 0
    assert yaml.safe_load((adapted / "config.yaml").read_text())["freeze"] == "shared"
    with (adapted / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["steps"] for row in rows] == ["3", "3"], "one knee of few slices, passed through more than once"
    assert "contrastive" not in rows[0]


def evaluate(run_bundle: Run, adapted: Path, knee: Path, base: Path, out: Path, **settings: Any) -> None:
    run_bundle(
        "multijoint",
        ["train.yaml", "adapt.yaml", "evaluate.yaml"],
        "evaluating",
        base=base,
        manifests=[knee],
        checkpoint=str(adapted / "model.pt"),
        output_dir=str(out),
        device="cpu",
        **settings,
    )


def test_those_left_for_testing_are_scored_and_others_refused(
    trained: Path, adapted: Path, knee: Path, run_bundle: Run, tmp_path: Path
) -> None:
    evaluate(run_bundle, adapted, knee, trained / "model.pt", tmp_path, train_subjects=["knee_001"])
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["case"], row["label"]) for row in rows} == {
        (case, bone) for case in ("knee_000", "knee_002") for bone in ("femur", "tibia", "patella")
    }
    with pytest.raises(RuntimeError) as failure:
        evaluate(run_bundle, adapted, knee, trained / "model.pt", tmp_path, train_subjects=["knee_002"])
    assert "test subject knee_001 (knee) must be unseen" in str(find_cause(failure.value, InputError))


def test_an_old_subject_is_still_known_as_seen(
    adapted: Path, manifests: dict[str, str], run_bundle: Run, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError) as failure:
        run_bundle(
            "multijoint",
            ["train.yaml", "evaluate.yaml"],
            "evaluating",
            manifests=[manifests["ankle"]],
            fold=2,
            checkpoint=str(adapted / "model.pt"),
            output_dir=str(tmp_path),
            device="cpu",
        )
    assert "test subject ankle_002 (ankle) must be unseen" in str(find_cause(failure.value, InputError))


def test_an_adapted_model_segments_and_is_adapted_again(
    adapted: Path, knee: Path, manifests: dict[str, str], run_bundle: Run, tmp_path: Path
) -> None:
    run_bundle(
        "multijoint",
        ["inference.yaml"],
        "inference",
        checkpoint=str(adapted / "model.pt"),
        domain="knee",
        images=[str(knee.parent / "images" / "knee_000.nii.gz")],
        output_dir=str(tmp_path / "segmented"),
        device="cpu",
    )
    names = json.loads((tmp_path / "segmented" / "knee_000_seg.json").read_text())
    assert names["labels"] == {"0": "background", "1": "femur", "2": "tibia", "3": "patella"}
    other = Path(manifests["ankle"]).parent / "other.yaml"
    other.write_text(Path(manifests["ankle"]).read_text().replace("domain: ankle", "domain: foot"))
    try:
        adapt_model(adapted / "model.pt", manifest=other, out=tmp_path / "again", like="knee", settings=SHORT)
    finally:
        other.unlink()
    before, after = load_model(adapted / "model.pt"), load_model(tmp_path / "again" / "model.pt")
    assert [domain.name for domain in after.domains] == ["ankle", "shoulder", "knee", "foot"]
    assert changed(before, after) == set()
    assert torch.equal(logits(before, "knee"), logits(after, "knee"))


def test_without_freezing_the_convolutions_move_but_not_the_other_norms(
    trained: Path, knee: Path, tmp_path: Path
) -> None:
    adapt_model(trained / "model.pt", manifest=knee, out=tmp_path / "run", freeze="none", settings=SHORT)
    before, after = load_model(trained / "model.pt"), load_model(tmp_path / "run" / "model.pt")
    moved = changed(before, after)
    assert moved == {name for name in before.weights if ".norms." not in name and not name.startswith("heads.")}
    assert not torch.equal(logits(before, "ankle"), logits(after, "ankle"))


def test_the_command_takes_settings_continues_and_repeats_itself_bit_for_bit(
    trained: Path, adapted: Path, knee: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "costs $1 @ home"  # code or a reference to MONAI's configurations
    settings = [f"{name}={value}" for name, value in SHORT.items()] + ["train_subjects=[knee_001]"]
    call = ["adapt", "--bundle", str(trained / "model.pt"), "--manifest", str(knee), "--out", str(out), "--set"]
    assert main([*call, *settings]) == 0
    assert capsys.readouterr().out.strip() == str(out / "model.pt")
    first, again = load_model(adapted / "model.pt"), load_model(out / "model.pt")
    assert changed(first, again) == set()
    assert main([*call, *settings, "resume=true", "max_epochs=3"]) == 0
    longer = load_model(out / "model.pt")
    assert longer.training["epoch"] == 3
    assert all(".norms.2." in name or name.startswith("heads.2.") for name in changed(again, longer))
    assert main(["evaluate", str(out), "--out", str(tmp_path / "scores")]) == 0
    tested = {row["subject"] for row in read_csv(tmp_path / "scores" / "metrics.csv")}
    assert tested == {case.subject for case in load_manifest(knee).cases} - {"knee_001"}
    with pytest.raises(InputError, match="adapted from a model that must still be there, got nothing at its path"):
        evaluation_workflow(out, base=str(tmp_path / "gone"))


def test_one_of_many_subjects_validates_and_decides(trained: Path, knee: Path, tmp_path: Path) -> None:
    settings = {**SHORT, "train_subjects": 1, "validation_subjects": ["knee_002"], "val_interval": 1}
    adapt_model(trained / "model.pt", manifest=knee, out=tmp_path / "run", settings=settings)
    model = load_model(tmp_path / "run" / "model.pt")
    assert 0 <= model.training["validation_dice"] <= 1
    with (tmp_path / "run" / "log.csv").open(newline="") as file:
        assert all(float(row["val_mean_dice_knee"]) >= 0 for row in csv.DictReader(file))


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({"manifest": "ankle"}, {}, r"domain of .* must be new to the model \(ankle, shoulder\), got ankle; rename it"),
        ({"manifest": Path("none.yaml")}, {}, "manifest must be an existing .yaml or .json file, got none.yaml"),
        ({"model": Path("none.pt")}, {}, "checkpoint none.pt must be a file, got none"),
        ({"like": "hip"}, {}, "domain must be one of ankle, shoulder, got 'hip'"),
        ({"like": "$print(1)"}, {}, r"like must be free of \$, @, % and #"),
        ({"like": "knee#2"}, {}, r"like must be free of \$, @, % and # \(code to MONAI\), got knee#2"),
        ({"freeze": "all"}, {}, "freeze must be shared or none, got 'all'"),
        ({}, {"planes": "all"}, "planes must be own for a data set that is added, got 'all'"),
        ({}, {"image_size": [64, 64]}, r"image_size, .* and position must be the model's own .*\[32, 32\]"),
        ({}, {"attention": True}, r"attention must be the model's own \(False\), got True"),
        ({}, {"train_subjects": 4}, "train_subjects must be 1 to 3"),
        ({}, {"max_epoch": 4}, "setting max_epoch must be one of train.yaml or adapt.yaml .*did you mean max_epochs?"),
        ({}, {"manifests": ["x"]}, "setting manifests must be one of train.yaml or adapt.yaml that is free to choose"),
    ],
)
def test_what_does_not_fit_is_one_line(
    trained: Path,
    knee: Path,
    manifests: dict[str, str],
    tmp_path: Path,
    change: dict[str, Any],
    settings: dict[str, Any],
    message: str,
) -> None:
    given = {"model": trained / "model.pt", "manifest": knee, "out": tmp_path / "run"} | change
    if given["manifest"] == "ankle":
        given["manifest"] = manifests["ankle"]
    with pytest.raises(InputError, match=message) as failure:
        adapt_model(**given, settings={**SHORT, **settings})
    assert "\n" not in str(failure.value)
    assert not (tmp_path / "run" / "model.pt").exists()


def test_labels_that_the_manifest_does_not_name_are_refused(trained: Path, knee: Path, tmp_path: Path) -> None:
    fewer = knee.parent / "fewer.yaml"
    fewer.write_text(knee.read_text().replace("3: patella", "4: patella"))
    with pytest.raises(InputError, match=r"knee_000.nii.gz .*\b3\b"):
        adapt_model(trained / "model.pt", manifest=fewer, out=tmp_path / "run", settings=SHORT)
    fewer.unlink()


def test_a_shared_norm_is_refused(manifests: dict[str, str], knee: Path, run_bundle: Run, tmp_path: Path) -> None:
    run_bundle(
        "multijoint",
        ["train.yaml", "shared_norm_and_head.yaml"],
        "training",
        manifests=[manifests["ankle"], manifests["shoulder"]],
        output_dir=str(tmp_path / "joint"),
        device="cpu",
        **SMALL,
    )
    with pytest.raises(InputError, match=r"norm of a model to adapt must be 'domain' .* got 'shared'"):
        adapt_model(tmp_path / "joint" / "model.pt", manifest=knee, out=tmp_path / "run", settings=SHORT)


def test_settings_are_those_of_both_files() -> None:
    given = {"min_batches": 5, "learning_rate": 1e-3, "fold": 0, "flip_axes": []}
    assert adaptation_settings(given) == given
    assert np.all([name not in given for name in ("base", "network_def")])
    for name in ("base", "network_def", "run", "train#sampler#domains"):
        with pytest.raises(InputError, match=f"setting {name} must be"):
            adaptation_settings({name: 1})
