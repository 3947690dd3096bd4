"""The MONAI transforms around largest component and closing: types, metadata, memory, refusals."""

import tracemalloc

import numpy as np
import pytest
import torch
from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.postprocessing.closing import spherical_closing
from custom_components.postprocessing.components import component_sizes, largest_component
from custom_components.postprocessing.transforms import (
    KeepLargestComponentd,
    NameInOrderd,
    SphericalClosingd,
    default_steps,
)
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose
from support.bundles import config_files

SPINE = Domain("spine", {5: "L1", 6: "L2", 7: "L3", 9: "sacrum"}, "sagittal")


def interlocked() -> np.ndarray:
    """Two bones that both close over the voxels between them."""
    labels = np.zeros((9, 9, 9), np.uint8)
    labels[2:7, 2:7, 2] = labels[2:7, 2:7, 7] = 1
    labels[2:7, 2, 2:8] = labels[2:7, 6, 2:8] = 1
    labels[2:7, 3:6, 4] = 2
    labels[2, 3:6, 3:7] = 2
    return labels


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int32, np.int64, np.uint16])
def test_every_integer_type_is_kept(dtype):
    labels = interlocked().astype(dtype)
    for result in (largest_component(labels, num_classes=3), spherical_closing(labels, num_classes=3)):
        assert result.dtype == dtype
    np.testing.assert_array_equal(
        spherical_closing(labels, num_classes=3), spherical_closing(interlocked(), num_classes=3)
    )


def test_a_map_without_bones_stays():
    empty = np.zeros((4, 5, 6), np.uint8)
    assert not largest_component(empty, num_classes=1).any()
    assert not spherical_closing(empty, num_classes=3).any()
    assert component_sizes(empty, num_classes=1) == []


TRANSFORMS = [(KeepLargestComponentd, largest_component), (SphericalClosingd, spherical_closing)]


@pytest.mark.parametrize(("transform", "function"), TRANSFORMS)
@pytest.mark.parametrize("num_classes", [3, None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.int64])
def test_transforms_keep_type_and_metadata(transform, function, num_classes, dtype):
    labels = interlocked()
    labels[0, 0, 0] = 2  # a stray voxel, so that both transforms have something to do
    expected = function(labels, num_classes=3)
    assert (expected != labels).any()
    affine = torch.diag(torch.tensor([0.5, 0.5, 3.0, 1.0], dtype=torch.float64))
    tensor = torch.as_tensor(labels)[None].to(dtype)
    meta = MetaTensor(tensor.clone(), affine=affine, meta={"filename_or_obj": "scan.nii.gz"})
    item = {"tensor": tensor, "meta": meta, "array": tensor.numpy(), "image": "untouched"}
    result = transform(["tensor", "meta", "array"], num_classes=num_classes)(item)
    assert type(result["tensor"]) is torch.Tensor
    assert isinstance(result["meta"], MetaTensor)
    assert isinstance(result["array"], np.ndarray)
    torch.testing.assert_close(result["meta"].affine, affine, check_dtype=False)
    assert result["meta"].meta["filename_or_obj"] == "scan.nii.gz"
    assert result["image"] == "untouched"
    for key in ("tensor", "meta", "array"):
        assert result[key].dtype == item[key].dtype
        np.testing.assert_array_equal(np.asarray(result[key]), expected[None])
    np.testing.assert_array_equal(tensor.numpy(), labels[None], "the input must not change")


def test_transforms_pass_their_settings_on():
    labels = np.zeros((1, 3, 3, 3))
    labels[0, 0, 0, 0] = labels[0, 1, 1, 1] = 1
    assert KeepLargestComponentd("x", connectivity=3)({"x": labels})["x"].sum() == 2
    assert KeepLargestComponentd("x")({"x": labels})["x"].sum() == 1
    ring = np.pad(np.ones((1, 5, 5, 5)), 1)[1:2]
    ring[0, 2:5, 2:5, 2:5] = 0
    assert SphericalClosingd("x", radius=2)({"x": ring})["x"].sum() == 5**3
    assert SphericalClosingd("x", radius=0)({"x": ring})["x"].sum() == 5**3 - 3**3
    assert KeepLargestComponentd("x", allow_missing_keys=True)({}) == {}
    with pytest.raises(KeyError):
        SphericalClosingd("x")({})


def test_the_affine_of_a_metatensor_settles_ties():
    labels = np.zeros((4, 3, 2), np.uint8)
    labels[0, 2, 0] = labels[3, 0, 1] = 1
    for affine, first in ((np.eye(4), 0), (np.diag([-2.0, 1, 1, 1]), 3)):
        item = {"pred": MetaTensor(torch.from_numpy(labels)[None], affine=torch.from_numpy(affine))}
        assert np.argwhere(KeepLargestComponentd("pred")(item)["pred"][0].numpy())[0, 0] == first


def large_bones(dtype: torch.dtype, order: str) -> torch.Tensor:
    """2 million voxels; stray ones stretch the boxes of two bones over all of them."""
    labels = np.zeros((128, 128, 128), np.uint8, order=order)
    labels[20:100, 20:100, 20:60], labels[20:100, 20:100, 60:110] = 1, 2
    labels[40:60, 40:60, 40:42] = 0
    labels[0, 0, :2] = labels[-1, -1, -2:] = [1, 2]
    return torch.from_numpy(labels)[None].to(dtype)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(("dtype", "times"), [(torch.uint8, 3), (torch.float32, 4)])
def test_cleaning_takes_little_memory_beside_the_map(dtype, times, order):
    pred = MetaTensor(large_bones(dtype, order), affine=torch.eye(4))
    clean = Compose([KeepLargestComponentd("pred"), SphericalClosingd("pred")])
    tracemalloc.start()
    cleaned = clean({"pred": pred})["pred"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (cleaned[0, 40:60, 40:60, 40:42] == 1).all()
    assert cleaned[0, 0, 0, 0] == 0
    assert peak < times * pred.numel(), "bytes: one array of 64-bit integers or labels would take 8 a voxel"


def test_a_map_keeps_its_order_in_memory():
    pred = large_bones(torch.uint8, "F")
    for clean in (KeepLargestComponentd("pred"), SphericalClosingd("pred")):
        assert clean({"pred": pred})["pred"][0].stride() == pred[0].stride()


@pytest.mark.parametrize(
    ("names", "key"),
    [(["inference.yaml"], "postprocessing"), (["train.yaml", "evaluate.yaml"], "validate#postprocessing")],
)
def test_configurations_take_the_default_steps(names: list[str], key: str) -> None:
    """Confidence is calibrated on `default_steps`: a step that is added to one is added to all."""
    parser = ConfigParser()
    parser.read_config(config_files("multijoint", *names))
    listed = parser[f"{key}#transforms"]
    kinds = [each["_target_"].rpartition(".")[2] for each in listed]
    own = listed[kinds.index("CopyItemsd") + 1 : kinds.index("DecodeLabelsd")]
    assert {each.pop("keys") for each in own} == {"pred"}
    found = [(each.pop("_target_").rpartition(".")[2], each) for each in own]
    steps = [(type(step).__name__, vars(step)) for step in default_steps("pred", domains=[SPINE])]
    assert found[0][1].pop("domains") == "$@model.domains"
    found[0][1].pop("domain", None)  # the default one of items that name none
    assert [name for name, _ in found] == [name for name, _ in steps]
    for (_, given), (_, default) in zip(found, steps, strict=True):
        numbers = {name: parser[value[1:]] if str(value).startswith("@") else value for name, value in given.items()}
        assert numbers.items() <= default.items()


@pytest.mark.parametrize("transform", [KeepLargestComponentd, SphericalClosingd])
def test_float_maps_may_have_more_than_256_classes(transform):
    labels = np.zeros((1, 3, 3, 3), np.float32)
    labels[0, 0] = 300
    np.testing.assert_array_equal(transform("pred")({"pred": labels})["pred"], labels)


def test_errors_name_the_remedy():
    with pytest.raises(InputError, match=r"label map 'pred' must have shape \(1, H, W, D\), got \(3, 2, 2, 2\)"):
        KeepLargestComponentd("pred")({"pred": torch.zeros(3, 2, 2, 2)})
    for value in (0.5, -0.5, 300.5, np.nan, np.inf, -np.inf):
        with pytest.raises(InputError, match=f"label map 'pred' must hold whole numbers, got {value:g}"):
            SphericalClosingd("pred")({"pred": np.full((1, 2, 2, 2), value)})
    with pytest.raises(InputError, match=r"labels must lie in 0\.\.0, got -1\.\.-1"):
        SphericalClosingd("pred")({"pred": np.full((1, 2, 2, 2), -1.0)})


def test_names_are_put_in_order_where_the_labels_are_a_row() -> None:
    labels = torch.tensor([1, 1, 1, 0, 2, 2, 3, 0, 3, 3, 3, 0, 4]).view(1, 13, 1, 1)
    item = {"pred": MetaTensor(labels, affine=torch.diag(torch.tensor([8.0, 8, 8, 1]))), "domain": "spine"}
    domains = [Domain("ankle", {1: "talus"}, "axial"), SPINE]
    named = NameInOrderd("pred", domains=domains)(item)["pred"]
    assert named.flatten().tolist() == [1, 1, 1, 0, 2, 2, 2, 0, 3, 3, 3, 0, 4], "the sacrum is in no row"
    assert torch.equal(named.affine, item["pred"].affine)
    assert NameInOrderd("pred", domains=domains, enabled=False)(item)["pred"] is item["pred"]
    assert NameInOrderd("pred", domains=domains)(item | {"domain": "ankle"})["pred"] is item["pred"]
