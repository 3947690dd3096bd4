"""A volume in several planes: the mean of what the network answers in each."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from custom_components.data.planes import add_planes
from custom_components.data.preprocessing import Preprocessing
from custom_components.domains import Domain
from custom_components.inference.domain_fit import FitDomaind
from custom_components.inference.engine import VolumeDataset, VolumeEvaluator
from custom_components.inference.inferers import SlicewiseInferer, spread_slices
from custom_components.inference.loaders import VolumeLoader
from custom_components.inference.results import ResultFolder
from custom_components.inference.transforms import ReadVolumed, RestoreSourceGridd, StackSlicesd, cut_slices
from custom_components.models.checkpoints import build_network
from custom_components.models.single_domain import select_domain
from custom_components.models.trained_model import TrainedModel
from custom_components.networks.unet import MultiDomainUNet
from monai.transforms import Compose

HIP, KNEE = Domain("hip", {2: "femur", 5: "pelvis"}, "coronal"), Domain("knee", {1: "tibia"}, "axial")
SHAPE, SIZE = (9, 12, 7), (8, 16)


@pytest.fixture
def model() -> TrainedModel:
    """A network that answers otherwise in each plane."""
    torch.manual_seed(0)
    domains = tuple(add_planes([KNEE, HIP], planes=["hip"]))
    network = MultiDomainUNet(
        [each.num_classes for each in domains], widths=[4, 8], domain_names=[d.name for d in domains]
    )
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    sizes = dict.fromkeys((each.name for each in domains), SIZE) | {"hip_axial": (16, 8)}
    return TrainedModel(domains, Preprocessing(sizes), network.settings(), network.state_dict(), {})


@pytest.fixture(params=["ras", "turned"])
def scan(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    voxels = np.random.default_rng(0).normal(size=SHAPE).cumsum(axis=0).astype(np.float32)
    image = nib.Nifti1Image(voxels, np.diag([1.0, 1.1, 0.9, 1.0]))
    if request.param == "turned":
        image = image.as_reoriented(np.array([[1, -1], [2, 1], [0, -1]]))
    path = tmp_path / "scan.nii.gz"
    nib.save(image, path)
    return path


def segment(
    model: TrainedModel, scan: Path, domain: str, out: Path, *, fixed: str | None = None
) -> tuple[dict, np.ndarray]:
    """Item after the prediction, class indices on the source grid; probabilities are written to `out`."""
    found: list[dict] = []
    results = ResultFolder(out, model=model, domain=domain, probabilities=True)
    network = build_network(model)
    fit = FitDomaind("image", model=model, network=network, domain=domain)
    evaluator = VolumeEvaluator(
        device="cpu",
        val_data_loader=VolumeDataset(
            [{"image": scan, "name": "scan", "domain": domain}], Compose([ReadVolumed("image"), fit]), results=None
        ),
        network=network,
        inferer=SlicewiseInferer(roi_size=None, spatial_dim=2, sw_batch_size=16, domain=fixed),
        postprocessing=Compose(
            [RestoreSourceGridd("pred", model=model), lambda item: found.append(dict(item)) or item]
        ),
        results=results,
    )
    evaluator.run()
    evaluator.finish()
    return found[0], np.asarray(found[0]["pred"])[0]


def probabilities(out: Path, domain: Domain) -> np.ndarray:
    """In 255 steps, (bones, X, Y, Z)."""
    maps = (nib.load(out / f"scan_prob_{bone}.nii.gz") for bone in domain.labels.values())
    return np.stack([np.asarray(each.dataobj.get_unscaled()) for each in maps]).astype(int)


def test_the_mean_of_three_planes_decides(model: TrainedModel, scan: Path, tmp_path: Path) -> None:
    names = ["hip", "hip_sagittal", "hip_axial"]
    alone = replace(model, domains=tuple(replace(each, plane_of="") for each in model.domains))
    parts = []
    for name in names:
        segment(alone, scan, name, tmp_path / name)
        parts.append(probabilities(tmp_path / name, HIP))
    assert all((one != other).any() for one, other in pairwise(parts))
    total = np.sum(parts, axis=0)
    background = np.maximum(3 * 255 - total.sum(axis=0), 0)
    expected = np.concatenate([background[None], total]).argmax(axis=0)
    assert len(np.unique(expected)) > 1
    item, classes = segment(model, scan, "hip", tmp_path / "mean")
    np.testing.assert_array_equal(classes, expected)
    np.testing.assert_array_equal(probabilities(tmp_path / "mean", HIP), np.round(total / 3))
    shares = np.concatenate([background[None], total]) / (background + total.sum(axis=0))
    ours = expected == np.arange(3)[:, None, None, None]
    dice = 2 * (shares * ours).sum(axis=(1, 2, 3)) / (shares.sum(axis=(1, 2, 3)) + ours.sum(axis=(1, 2, 3)))
    np.testing.assert_allclose(item["expected_dice"], dice, rtol=1e-5)
    # The same where the inferer has a domain of its own, as in a packaged bundle.
    np.testing.assert_array_equal(segment(model, scan, "hip", tmp_path / "set", fixed="hip")[1], expected)


def test_one_plane_can_still_be_asked_for(model: TrainedModel, scan: Path, tmp_path: Path) -> None:
    alone = replace(model, domains=tuple(replace(each, plane_of="") for each in model.domains))
    _, classes = segment(model, scan, "hip_axial", tmp_path / "one")
    np.testing.assert_array_equal(classes, segment(alone, scan, "hip_axial", tmp_path / "other")[1])
    only = select_domain(model, "hip_axial")
    assert only.domain(None).name == "hip_axial"
    np.testing.assert_array_equal(classes, segment(only, scan, "hip_axial", tmp_path / "only")[1])


def test_slices_that_judge_the_domain_are_not_computed_again(
    model: TrainedModel, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[str, int]] = []
    classes = SlicewiseInferer.classes

    def note(self: SlicewiseInferer, *args: object, **how: object) -> torch.Tensor:
        given.append((how["domain"], len(how.get("known", ()))))
        return classes(self, *args, **how)

    monkeypatch.setattr(SlicewiseInferer, "classes", note)
    segment(model, scan, "hip", tmp_path / "out")
    assert given == [("hip", len(spread_slices(12))), ("hip_sagittal", 0), ("hip_axial", 0)]


def test_other_tools_get_one_stack(model: TrainedModel, scan: Path) -> None:
    from monai.data import MetaTensor

    image = nib.load(scan)
    given = MetaTensor(image.get_fdata(), affine=torch.from_numpy(image.affine))
    item = StackSlicesd("image", model=model, domain="hip")(ReadVolumed("image")({"image": given}))
    assert "planes" not in item
    assert item["image"].shape[1:3] == SIZE


def test_a_data_set_keeps_its_planes_when_it_leaves_a_joint_model(
    model: TrainedModel, scan: Path, tmp_path: Path
) -> None:
    own = select_domain(model, "hip")
    assert [each.name for each in own.domains] == ["hip", "hip_sagittal", "hip_axial"]
    assert own.preprocessing.image_size == {"hip": SIZE, "hip_sagittal": SIZE, "hip_axial": (16, 8)}
    assert select_domain(own, None) is own
    assert select_domain(model, "knee").preprocessing.image_size == SIZE
    one, other = (segment(each, scan, "hip", tmp_path / str(n))[1] for n, each in enumerate((model, own)))
    np.testing.assert_array_equal(one, other)


def test_the_reading_process_sends_the_volume_as_it_is(model: TrainedModel, scan: Path) -> None:
    read = Compose([ReadVolumed("image"), StackSlicesd("image", model=model, domain="hip")])
    dataset = VolumeDataset([{"image": scan, "name": "scan"}], read)
    [sent], here = VolumeLoader(dataset, num_workers=1), dataset[0]
    assert sent.keys() == here.keys()
    np.testing.assert_array_equal(sent["voxels"], here["voxels"])
    assert torch.equal(sent["image"], here["image"])
    assert sent["planes"] == here["planes"]
    cut = cut_slices(sent["voxels"], sent["source"], *sent["planes"][0])
    assert torch.equal(cut["image"], sent["image"])
