"""The models that come with this package: small, licensed, described, and as good as their cards say."""

import csv
import re
import statistics
from pathlib import Path

import pytest
import yaml
from custom_components.errors import InputError
from custom_components.models.checkpoints import load_model
from support.bundles import BUNDLES

import multijoint
from multijoint.phantoms import write_phantoms
from multijoint.sharing import find_shipped, shipped_models
from multijoint.sharing.publishing import score_table
from multijoint.sharing.shipped_models import ShippedModel

MODELS = pytest.mark.parametrize("model", shipped_models(), ids=lambda model: model.name)
HIPPOCAMPUS = "hippocampus_and_phantom_joints"


@MODELS
def test_its_weights_are_small(model: ShippedModel) -> None:
    assert 0 < model.checkpoint.stat().st_size <= 2e6
    assert model.megabytes == model.checkpoint.stat().st_size / 1e6


@MODELS
def test_its_card_holds_the_scores_of_the_tables(model: ShippedModel) -> None:
    card = model.card.read_text(encoding="utf-8")
    assert score_table(model.folder) in card
    for domain, dice in model.dice.items():
        assert re.search(rf"^\| {domain} \| \*\*all bones\*\* \|.*\| {100 * dice:.1f} \(", card, flags=re.MULTILINE)


@MODELS
def test_its_scores_are_of_its_domains_and_bones(model: ShippedModel) -> None:
    opened = load_model(model.checkpoint)
    assert model.bones == {domain.name: list(domain.labels.values()) for domain in opened.domains}
    with (model.folder / "summary.csv").open(newline="") as file:
        tested = {row["domain"]: int(row["n_dice"]) for row in csv.DictReader(file) if row["label"] == "all bones"}
    subjects = [row["domain"] for row in opened.training["split"]["testing"]]
    assert tested == {name: subjects.count(name) * len(bones) for name, bones in model.bones.items()}


@MODELS
def test_its_licence_and_attribution_are_stated(model: ShippedModel) -> None:
    text = (model.folder / "LICENSE").read_text(encoding="utf-8")
    assert model.licence == "CC-BY-SA-4.0"
    assert "Attribution-ShareAlike 4.0 International" in text
    for file in (text, model.card.read_text(encoding="utf-8")):
        for needed in ("Vanderbilt University Medical Center", "s41467-022-30695-9", "1902.09063", "Apache-2.0"):
            assert needed in file
    assert "Not a clinical model" in model.card.read_text(encoding="utf-8")


def test_the_card_names_the_scans_of_the_manifest_and_those_unseen() -> None:
    model = find_shipped(HIPPOCAMPUS)
    manifest = BUNDLES.parent / "data_manifests" / "msd_hippocampus_15.yaml"
    listed = [Path(case["image"]).name[12:15] for case in yaml.safe_load(manifest.read_text())["cases"]]
    card = model.card.read_text(encoding="utf-8")
    assert f"hippocampus_{', '.join(listed)} " in card
    split = load_model(model.checkpoint).training["split"]
    tested, validated = (
        [row["case"][-3:] for row in split[side] if row["domain"] == "hippocampus"]
        for side in ("testing", "validation")
    )
    assert f"the hippocampus scans {tested[0]}, {tested[1]}\nand {tested[2]}**" in card
    assert f"scans {validated[0]}, {validated[1]} and {validated[2]} chose the epoch" in card


@pytest.mark.parametrize("domain", ["ankle", "shoulder"])
def test_it_segments_a_phantom_as_well_as_its_card_says(domain: str, tmp_path: Path) -> None:
    model = find_shipped(HIPPOCAMPUS)
    write_phantoms(tmp_path, domains=[domain], num_cases=1, seed=0)  # that of `make demo`; it was trained on seed 1
    scan, label = (tmp_path / domain / folder / f"{domain}_000.nii.gz" for folder in ("images", "labels"))
    with multijoint.load(HIPPOCAMPUS, device="cpu") as opened:
        seg = opened.segment(scan, domain=domain).save(tmp_path / "out")
    dice = multijoint.draw_overlay(tmp_path / "picture.png", scan, seg, reference=label)
    assert list(dice) == model.bones[domain]
    with (model.folder / "scores.csv").open(newline="") as file:
        (pooled,) = (row for row in csv.DictReader(file) if (row["domain"], row["label"]) == (domain, "all bones"))
    assert statistics.mean(dice.values()) > float(pooled["dice_mean"]) - float(pooled["dice_sd"])


def test_an_unknown_name_is_refused_with_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"got hippocampus_and_joints; did you mean {HIPPOCAMPUS}"):
        find_shipped("hippocampus_and_joints")
    with pytest.raises(InputError, match=f"did you mean {HIPPOCAMPUS}"):
        multijoint.load("hippocampus_and_phantoms_joints")
    with pytest.raises(InputError, match=r"bundle must be a folder or a \.zip, got none at something"):
        multijoint.load("something")


def test_a_path_comes_before_a_name(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / HIPPOCAMPUS).write_bytes((trained / "model.pt").read_bytes())
    with multijoint.load(HIPPOCAMPUS) as model:
        assert list(model.domains) == ["ankle", "shoulder"]
