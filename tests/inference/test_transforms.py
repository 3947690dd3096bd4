import json
import pickle
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from custom_components.data.preprocessing import Preprocessing, classes_at, stack_labels
from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.inference.results import ResultFolder
from custom_components.inference.transforms import DecodeLabelsd, ReadVolumed, RestoreSourceGridd, StackSlicesd
from custom_components.models.trained_model import TrainedModel
from monai.transforms import Compose

DOMAINS = (
    Domain("ankle", {30: "talus", 10: "tibia"}, "coronal"),
    Domain("shoulder", {7: "humerus", 200: "scapula"}, "axial"),
)
SHAPE = (9, 14, 11)
# Array axes run to S, L and A (slightly tilted): an axis order no plane expects.
TILT = np.deg2rad(12)
AXES_MM = np.array(
    [[0, -0.7, 0], [-0.5 * np.sin(TILT), 0, 2 * np.cos(TILT)], [0.5 * np.cos(TILT), 0, 2 * np.sin(TILT)]]
)
AFFINE = np.vstack([np.column_stack([AXES_MM, (12, -30, 4)]), (0, 0, 0, 1)])
IN_PLANE = {"coronal": (14, 9), "axial": (14, 11)}  # voxels to the right by voxels up, or forward


def make_model(*, head: str = "domain", domains: tuple[Domain, ...] = DOMAINS, size: tuple[int, int]) -> TrainedModel:
    return TrainedModel(domains, Preprocessing(size), {"head": head}, {}, {})


def make_classes() -> np.ndarray:
    classes = np.zeros(SHAPE, dtype=np.uint8)
    classes[1:5, 2:9, 3:10] = 1
    classes[5:8, 4:13, 1:6] = 2
    return classes


def write_image(path: Path) -> Path:
    image = nib.Nifti1Image(np.random.default_rng(0).normal(size=SHAPE).astype(np.float32), AFFINE)
    image.set_sform(AFFINE, 1)
    image.set_qform(AFFINE, 1)
    image.header["descrip"] = b"Jane Doe"
    nib.save(image, path)
    return path


def logits_of(
    classes: np.ndarray, model: TrainedModel, domain: int, *, channels: list[int], total: int
) -> torch.Tensor:
    """The output of a perfect network: (total, rows, columns, slices), class i in channel `channels[i]`."""
    plane = model.domains[domain].plane
    stack = stack_labels(classes, AFFINE, plane=plane, settings=model.preprocessing)
    in_channels = torch.tensor(channels)[stack.long()]
    return 20.0 * torch.nn.functional.one_hot(in_channels, total).permute(3, 1, 2, 0)


@pytest.mark.parametrize("name", ["ankle", "shoulder"])
@pytest.mark.parametrize(("head", "suffix"), [("domain", ".nii.gz"), ("shared", ".nii")])
def test_the_whole_chain_ends_on_the_source_grid(tmp_path: Path, name: str, head: str, suffix: str) -> None:
    domain = [one.name for one in DOMAINS].index(name)
    model = make_model(head=head, size=IN_PLANE[DOMAINS[domain].plane])
    path = write_image(tmp_path / f"left.scan{suffix}")
    item = Compose([ReadVolumed("image"), StackSlicesd("image", model=model, domain=name)])({"image": path})
    num_slices = {"coronal": 11, "axial": 9}[DOMAINS[domain].plane]
    assert item["image"].shape == (1, *model.preprocessing.image_size, num_slices)
    assert item["image"].dtype == torch.float32
    assert item["image"].mean().item() == pytest.approx(0, abs=1e-5)

    channels, total = {"domain": ([0, 1, 2], 3), "shared": ([[0, 1, 2], [0, 3, 4]][domain], 5)}[head]
    classes = make_classes()
    item["pred"] = logits_of(classes, model, domain, channels=channels, total=total)
    restore = RestoreSourceGridd("pred", model=model, domain=name)
    restored = restore(item)
    assert restored["pred"].shape == (1, *SHAPE)
    np.testing.assert_array_equal(restored["pred"][0], classes)
    np.testing.assert_allclose(restored["pred"].affine, AFFINE, atol=1e-6)

    end = Compose([DecodeLabelsd("pred", model=model, domain=name)])
    ended = end(restored)
    saved = ResultFolder(tmp_path / "out" / "maps", model=model, domain=name).save(ended, np.asarray(ended["pred"])[0])
    assert saved == tmp_path / "out" / "maps" / "left.scan_seg.nii.gz"
    written, source = nib.load(saved), nib.load(path)
    assert written.shape == SHAPE
    assert written.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(written.affine, source.affine)
    np.testing.assert_array_equal(written.get_qform(), source.get_qform())
    values = np.array([0, *DOMAINS[domain].labels], dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(written.dataobj), values[classes])
    assert b"Jane" not in written.header.binaryblock

    record = json.loads((tmp_path / "out" / "maps" / "left.scan_seg.json").read_text())
    names = {"0": "background"} | {str(value): label for value, label in DOMAINS[domain].labels.items()}
    assert record.items() >= {"image": path.name, "domain": name, "labels": names}.items()
    assert sorted(file.name for file in saved.parent.iterdir()) == ["left.scan_seg.json", "left.scan_seg.nii.gz"]


@pytest.mark.parametrize("head", ["domain", "shared"])
def test_indices_of_channels_end_where_their_logits_do(tmp_path: Path, head: str) -> None:
    model = make_model(head=head, size=(48, 32))
    item = ReadVolumed("image")({"image": write_image(tmp_path / "scan.nii")})
    item = StackSlicesd("image", model=model, domain="shoulder")(item)
    assert item["source_slice"] == IN_PLANE["axial"]
    total = {"domain": 3, "shared": 5}[head]
    logits = torch.randn(total, 48, 32, 9, generator=torch.Generator().manual_seed(0))
    restore = RestoreSourceGridd("pred", model=model, domain="shoulder")
    indices = classes_at(logits.permute(3, 0, 1, 2), item["source_slice"]).permute(1, 2, 0)[None]
    expected = restore(item | {"pred": logits})["pred"]
    assert torch.equal(restore(item | {"pred": indices})["pred"], expected)
    with pytest.raises(ValueError, match="indices must have slices of"):
        restore(item | {"pred": indices[:, 1:]})


def test_a_resized_prediction_returns_nearly(tmp_path: Path) -> None:
    model = make_model(size=(48, 32))
    item = ReadVolumed("image")({"image": write_image(tmp_path / "scan.nii")})
    item["pred"] = logits_of(make_classes(), model, 1, channels=[0, 1, 2], total=3)
    restored = np.asarray(RestoreSourceGridd("pred", model=model, domain="shoulder")(item)["pred"])[0]
    for value in (1, 2):
        found, expected = restored == value, make_classes() == value
        assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) > 0.95


@pytest.mark.parametrize(("domains", "channels"), [(DOMAINS, [0, 1, 4]), (DOMAINS[::-1], [0, 3, 2])])
def test_foreign_classes_of_a_shared_head_become_background(
    domains: tuple[Domain, ...], channels: list[int], tmp_path: Path
) -> None:
    model = make_model(head="shared", size=IN_PLANE["axial"], domains=domains)
    item = ReadVolumed("image")({"image": write_image(tmp_path / "scan.nii")})
    # Class 1 is answered by an ankle channel, class 2 by the shoulder's second (union: 0, then two of each domain).
    index = [domain.name for domain in domains].index("shoulder")
    item["pred"] = logits_of(make_classes(), model, index, channels=channels, total=5)
    restored = np.asarray(RestoreSourceGridd("pred", model=model, domain="shoulder")(item)["pred"])[0]
    np.testing.assert_array_equal(restored, np.where(make_classes() == 2, 2, 0))


def test_the_items_own_domain_wins_over_the_default(tmp_path: Path) -> None:
    model = make_model(size=(16, 8))
    item = ReadVolumed("image")({"image": write_image(tmp_path / "scan.nii")})
    assert StackSlicesd("image", model=model, domain="ankle")(item)["image"].shape[-1] == 11
    assert StackSlicesd("image", model=model, domain="ankle")({**item, "domain": "shoulder"})["image"].shape[-1] == 9
    classes = {"pred": np.array([[0, 1, 2]], dtype=np.uint8), "source": item["source"]}
    assert DecodeLabelsd("pred", model=model, domain="ankle")({**classes, "domain": "shoulder"})["pred"].tolist() == [
        [0, 7, 200]
    ]
    with pytest.raises(InputError, match="domain must be one of ankle, shoulder, got None; name the one"):
        StackSlicesd("image", model=model)(item)
    only = make_model(domains=DOMAINS[:1], size=(16, 8))
    assert StackSlicesd("image", model=only)(item)["image"].shape[-1] == 11


def test_the_items_name_names_the_files(tmp_path: Path) -> None:
    model = make_model(size=(16, 8))
    item: dict[str, Any] = ReadVolumed("image")({"image": write_image(tmp_path / "scan.nii")})
    item |= {"name": "case7", "pred": np.zeros((1, *SHAPE), dtype=np.uint8)}
    results = ResultFolder(tmp_path, model=model, domain="ankle")
    assert results.save(item, item["pred"][0]) == tmp_path / "case7_seg.nii.gz"
    assert (tmp_path / "case7_seg.json").is_file()


def test_geometry_outlives_the_voxels_without_their_memory(tmp_path: Path) -> None:
    item = ReadVolumed("image")({"image": write_image(tmp_path / "scan.nii")})
    source = item["source"]
    assert source.array.shape == SHAPE
    assert source.array.strides == (0, 0, 0)
    packed = pickle.dumps(source)  # as a reading process sends it
    assert len(packed) < 4000
    unpacked = pickle.loads(packed)
    assert (unpacked.array.shape, unpacked.array.strides) == (SHAPE, (0, 0, 0))
    np.testing.assert_array_equal(unpacked.affine, source.affine)
    assert (unpacked.header, unpacked.path, unpacked.digest) == (source.header, source.path, source.digest)
    assert source.spacing_mm == pytest.approx((0.5, 0.7, 2.0), rel=1e-5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_logits_that_are_not_finite_are_refused(tmp_path: Path, bad: float) -> None:
    model = make_model(size=(16, 8))
    item = ReadVolumed("image")({"image": write_image(tmp_path / "scan.nii")})
    item["pred"] = torch.zeros(3, 16, 8, 9)
    item["pred"][1, 4, 4, 4] = bad
    with pytest.raises(ValueError, match=r"prediction for scan\.nii must be finite, got NaN or infinity"):
        RestoreSourceGridd("pred", model=model, domain="shoulder")(item)


def test_an_unusable_volume_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"volume none\.nii must be an existing file"):
        ReadVolumed("image")({"image": tmp_path / "none.nii"})
