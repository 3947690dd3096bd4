"""Images of several channels, from a manifest through a training to segmentations and a package."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from custom_components.errors import InputError
from custom_components.io.records import read_record
from custom_components.models.checkpoints import build_network, load_model, save_checkpoint
from custom_components.models.single_domain import fold_domain, select_domain
from custom_components.models.starting import start_network
from support.bundles import SMALL, Run
from support.commands import error_line

import multijoint
from multijoint.api.adapting import adapt_model
from multijoint.api.training import train
from multijoint.cli import main
from multijoint.phantoms import write_phantoms
from multijoint.sharing.packaging.exports import export_onnx
from multijoint.sharing.packaging.metadata import fill_metadata

FIRST = "encoder.0.conv1"


@pytest.fixture(scope="module")
def data(made_once: Callable[..., Path]) -> Path:
    """Three ankles of one channel, three knees of water and fat."""
    return made_once(
        "channels", lambda folder: write_phantoms(folder, domains=["ankle", "dixon"], num_cases=3, seed=0, size=40)
    )


@pytest.fixture(scope="module")
def mixed(data: Path, run_bundle: Run, made_once: Callable[..., Path]) -> Path:
    """Folder of a run on both."""

    def make(folder: Path) -> None:
        manifests = [str(data / name / "manifest.yaml") for name in ("ankle", "dixon")]
        settings = SMALL | {"manifests": manifests, "context": 1, "position": True, "weight_averaging": 0.9}
        how: Any = {"output_dir": str(folder / "run"), "device": "cpu", "reestimate_norms": True, "snapshots": [1]}
        run_bundle("multijoint", ["train.yaml"], "training", **settings, **how)

    return made_once("mixed", make) / "run"


def files_of(data: Path, case: int = 0) -> list[Path]:
    return [data / "dixon" / "images" / f"dixon_00{case}_000{number}.nii.gz" for number in range(2)]


def segment(model: Path, out: Path, *given: object, domain: str = "dixon") -> int:
    return main(["segment", *map(str, given), "--checkpoint", str(model / "model.pt"), "--domain", domain,
                 "--out", str(out), "--device", "cpu"])  # fmt: skip


def test_two_channels_are_two_contrasts_of_one_anatomy(data: Path) -> None:
    water, fat = (nib.load(path) for path in files_of(data))
    bone = nib.load(data / "dixon" / "labels" / "dixon_000.nii.gz").get_fdata() > 0
    np.testing.assert_array_equal(water.affine, fat.affine)
    assert fat.get_fdata()[bone].mean() > 3 * water.get_fdata()[bone].mean()
    assert abs(np.corrcoef(water.get_fdata().ravel(), fat.get_fdata().ravel())[0, 1]) < 0.5


def test_each_domain_has_a_first_convolution_of_its_own(mixed: Path) -> None:
    model = load_model(mixed / "model.pt")
    assert model.network["in_channels"] == [6, 9]
    shapes = [model.weights[f"{FIRST}.convs.{index}.weight"].shape[1] for index in range(2)]
    assert shapes == [6, 9] == [model.in_channels(name) for name in ("ankle", "dixon")]
    assert [domain.channels for domain in model.domains] == [(), ("water", "fat")]
    alone = select_domain(model, "dixon")
    assert alone.network["in_channels"] == 9
    images = torch.randn(2, 9, 32, 32)
    with torch.inference_mode():
        expected = build_network(model, domain="dixon")(images)
        assert torch.equal(build_network(alone)(images), expected)
        folded = build_network(fold_domain(model, "dixon"))(images)
    torch.testing.assert_close(folded, expected, rtol=1e-3, atol=1e-3)


def test_a_folder_of_numbered_files_named_channels_and_python_agree(mixed: Path, data: Path, tmp_path: Path) -> None:
    assert segment(mixed, tmp_path / "folder", data / "dixon" / "images") == 0
    results = sorted(path.name for path in (tmp_path / "folder").glob("*_seg.nii.gz"))
    assert results == [f"dixon_00{case}_seg.nii.gz" for case in range(3)]
    expected = (tmp_path / "folder" / results[0]).read_bytes()
    water, fat = files_of(data)
    named = ("--channels", f"fat={fat}", f"water={water}")
    assert segment(mixed, tmp_path / "named", *named) == 0
    assert (tmp_path / "named" / results[0]).read_bytes() == expected
    record = read_record(tmp_path / "named" / results[0])
    assert record["image"] == water.name
    assert [row["image"] for row in record["further_images"]] == [fat.name]
    with multijoint.load(mixed / "model.pt", device="cpu") as model:
        scans: list[Any] = [{"fat": fat, "water": water}, [water, fat], [nib.load(water), nib.load(fat)], water.parent]
        for scan in scans[:2]:
            assert model.segment(scan, domain="dixon").label_map == expected
        labels = nib.load(tmp_path / "folder" / results[0]).get_fdata()
        np.testing.assert_array_equal(model.segment(scans[2], domain="dixon").labels.get_fdata(), labels)
        with pytest.raises(InputError, match="scan must be one volume, got a folder of 3"):
            model.segment(scans[3], domain="dixon")
        with pytest.raises(InputError, match="scan must have the channels water, fat, got none called fat"):
            model.segment({"water": water}, domain="dixon")


def test_a_changed_second_channel_is_another_scan(mixed: Path, data: Path, tmp_path: Path) -> None:
    copies = [tmp_path / path.name for path in files_of(data)]
    for path, copy in zip(files_of(data), copies, strict=True):
        copy.write_bytes(path.read_bytes())
    out = tmp_path / "out"

    def status() -> str:
        assert segment(mixed, out, *copies) == 0
        with (out / "segment_report.csv").open() as file:
            return next(csv.DictReader(file))["status"]

    assert status() == "written"
    assert status() == "skipped"
    image = nib.load(files_of(data)[1])
    nib.save(nib.Nifti1Image(image.get_fdata()[::-1].astype(np.int16), image.affine), copies[1])
    assert status() == "written"


def test_wrong_channels_are_one_line(
    mixed: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    water, fat = files_of(data)
    other = files_of(data, 1)[1]
    cases: list[tuple[list[object], str]] = [
        ([water], "must have 2 channels (water, fat) for domain dixon, got 1; fat is missing"),
        ([fat], "must have a file for each channel (0000 water, 0001 fat), got none with 0000"),
        (["--channels", f"water={water}"], "scan must have the channels water, fat, got none called fat"),
        (
            ["--channels", f"water={water}", f"fat={other}"],
            f"channel {other.name} must have the affine of {water.name}",
        ),
        (["--channels", "water"], "--channels must be NAME=FILE, each name once, got 'water'"),
        ([], "scans must be one or more files or folders, got none"),
    ]
    for number, (given, message) in enumerate(cases):
        assert segment(mixed, tmp_path / str(number), *given) == 1
        assert message in error_line(capsys)
    assert segment(mixed, tmp_path / "ankle", "--channels", f"a={water}", f"b={fat}", domain="ankle") == 1
    assert "scan must be one file without channels, got a as well" in error_line(capsys)


def test_a_scan_is_compared_with_domains_of_as_many_channels(mixed: Path, data: Path, tmp_path: Path) -> None:
    ankle = data / "ankle" / "images" / "ankle_002.nii.gz"  # as the other, one that was trained on
    assert segment(mixed, tmp_path, ankle, *files_of(data, 2), domain="auto") == 0
    found = {case: read_record(tmp_path / f"{case}_seg.nii.gz")["domain"] for case in ("ankle_002", "dixon_002")}
    assert found == {"ankle_002": "ankle", "dixon_002": "dixon"}


def test_it_is_evaluated_embedded_and_checked(mixed: Path, data: Path, tmp_path: Path, run_bundle: Run) -> None:
    assert main(["evaluate", str(mixed), "--out", str(tmp_path / "scores")]) == 0
    with (tmp_path / "scores" / "metrics.csv").open() as file:
        assert {row["case"] for row in csv.DictReader(file)} == {"ankle_000", "dixon_000"}
    manifests = [str(data / name / "manifest.yaml") for name in ("ankle", "dixon")]
    settings = SMALL | {"manifests": manifests, "context": 1, "position": True, "device": "cpu", "snapshots": [1]}
    how = {"run_dir": str(mixed), "output_dir": str(tmp_path / "embeddings"), "plan#resume": False}
    run_bundle("multijoint", ["train.yaml", "embed.yaml"], "embedding_slices", **settings, **how)
    arrays = np.load(tmp_path / "embeddings" / "embeddings.npz")
    own = arrays["1/embedding_by_norm"][np.arange(len(arrays["domain"])), arrays["domain"]]
    np.testing.assert_allclose(own, arrays["1/embedding"], rtol=1e-3, atol=1e-4)
    assert main(["check", str(data / "dixon" / "manifest.yaml"), "--out", str(tmp_path / "check")]) == 0


def test_a_check_names_a_channel_that_cannot_be_used(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = yaml.safe_load((data / "dixon" / "manifest.yaml").read_text())
    manifest["cases"][0]["image"][1] = manifest["cases"][1]["image"][1]
    manifest["root"] = str(Path("dixon"))
    path = tmp_path / "manifest.yaml"
    path.write_text(yaml.safe_dump(manifest))
    assert main(["check", str(path), "--dataset-dir", str(data), "--out", str(tmp_path / "check")]) == 1
    assert "channel dixon_001_0001.nii.gz must have the affine of dixon_000_0000.nii.gz" in capsys.readouterr().out


def test_domains_of_equal_channels_share_the_first_convolution(data: Path, tmp_path: Path) -> None:
    train([data / "dixon" / "manifest.yaml"], out=tmp_path / "run", **SMALL, device="cpu", context=0, calibrate=False)
    model = load_model(tmp_path / "run" / "model.pt")
    assert model.network["in_channels"] == 2
    assert model.weights[f"{FIRST}.weight"].shape == (4, 2, 3, 3)


def test_domains_of_different_channels_need_norms_of_their_own(data: Path, tmp_path: Path) -> None:
    manifests = [data / name / "manifest.yaml" for name in ("ankle", "dixon")]
    with pytest.raises(InputError, match="norm must be 'domain' for domains with different channels, got 'shared'"):
        train(manifests, out=tmp_path / "run", **SMALL, device="cpu", norm="shared", head="shared")


def test_a_data_set_with_other_channels_is_added_to_a_model(trained: Path, data: Path, tmp_path: Path) -> None:
    short = {"max_epochs": 1, "min_batches": 2, "batch_size": 4, "device": "cpu", "train_subjects": 1}
    adapt_model(trained / "model.pt", manifest=data / "dixon" / "manifest.yaml", out=tmp_path / "run", settings=short)
    before, after = load_model(trained / "model.pt"), load_model(tmp_path / "run" / "model.pt")
    assert after.network["in_channels"] == [before.network["in_channels"]] * 2 + [10]
    for domain in ("ankle", "shoulder"):
        images = torch.randn(2, before.in_channels(domain), *before.preprocessing.size_of(domain))
        with torch.inference_mode():
            answers = [build_network(model, domain=domain)(images) for model in (before, after)]
        assert torch.equal(*answers)
        assert after.quality(domain) == before.quality(domain)
    assert segment(tmp_path / "run", tmp_path / "out", *files_of(data)) == 0


def test_a_start_spreads_the_first_convolution_over_the_channels(trained: Path, mixed: Path) -> None:
    source, model = load_model(trained / "model.pt"), load_model(mixed / "model.pt")
    network = build_network(model)
    settings = source.preprocessing
    in_channels = settings.in_channels_of(model.domains)
    network = type(network)(**{**network.settings(), "in_channels": in_channels})
    how: Any = {"domains": model.domains, "preprocessing": settings}
    start_network(network, trained / "model.pt", **how)
    given = source.weights[f"{FIRST}.weight"]
    first = network.encoder[0].conv1.convs
    assert torch.equal(first[0].weight, given)
    torch.testing.assert_close(first[1].weight, torch.cat([given, given], 1) / 2)
    for convolution in first:
        assert torch.equal(convolution.bias, source.weights[f"{FIRST}.bias"])


def test_exports_and_metadata_state_the_channels_of_the_domain(mixed: Path, tmp_path: Path) -> None:
    import onnx

    model = load_model(mixed / "model.pt")
    for domain in model.domains:
        found = fill_metadata({}, model, domain=domain, data=[], scores=[])["network_data_format"]["inputs"]["image"]
        count = model.in_channels(domain.name)
        assert found["num_channels"] == count == len(found["channel_def"])
        if domain.channels:
            assert [text.partition(",")[0] for text in found["channel_def"].values()][:6] == ["water"] * 3 + ["fat"] * 3
        graph = onnx.ModelProto.FromString(export_onnx(model, domain=domain.name)).graph
        assert graph.input[0].type.tensor_type.shape.dim[1].dim_value == count
    assert json.loads(json.dumps(model.to_dict()["domains"][1]))["channels"] == ["water", "fat"]
    save_checkpoint(tmp_path / "model.pt", model)
    assert load_model(tmp_path / "model.pt").domains == model.domains


@pytest.mark.parametrize("informative", [False, True])
def test_a_bone_that_only_the_second_channel_shows_is_learned(tmp_path: Path, informative: bool) -> None:
    rng, affine = np.random.default_rng(0), np.diag([1.0, 1.0, 3.0, 1.0])
    for case in range(4):
        label = np.zeros((32, 32, 6), np.uint8)
        x, y = rng.integers(4, 16, 2)
        label[x : x + 10, y : y + 10] = 1
        channels = [rng.normal(size=label.shape).astype(np.float32) for _ in range(2)]
        channels[1] += 4 * label if informative else 0
        for name, array in ((f"c{case}_0000", channels[0]), (f"c{case}_0001", channels[1]), (f"c{case}_label", label)):
            nib.save(nib.Nifti1Image(array, affine), tmp_path / f"{name}.nii")
    manifest = {
        **{"domain": "squares", "plane": "axial", "channels": ["blind", "seeing"], "labels": {1: "square"}},
        **{"licence": "CC0-1.0", "source": "made up"},
        "cases": {"image": ["{case}_0000.nii", "{case}_0001.nii"], "label": "{case}_label.nii"},
    }
    path = tmp_path / "manifest.yaml"
    path.write_text(yaml.safe_dump(manifest))
    settings = SMALL | {"max_epochs": 30, "learning_rate": 0.01, "context": 0, "val_interval": 30, "calibrate": False}
    train([path], out=tmp_path / "run", **settings, device="cpu", contrastive_weight=0.0)
    dice = load_model(tmp_path / "run" / "model.pt").training["validation_dice"]
    assert dice > 0.9 if informative else dice < 0.6
