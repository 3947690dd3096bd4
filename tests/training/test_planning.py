import json
import logging
import math
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from custom_components.data.cases import Case
from custom_components.data.sampling import DomainBalancedBatchSampler
from custom_components.data.splits import Split, split_of
from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.losses import MultiDomainSegmentationLoss
from custom_components.models.checkpoints import load_model
from custom_components.training import planning, slice_sizes
from custom_components.training.planning import TrainingPlan, parse_budget, plan_training
from custom_components.training.slice_sizes import LADDER, Field, candidates, empty_slices, look_at
from monai.bundle import ConfigWorkflow
from support.bundles import BUNDLES, SMALL, Run

ANKLE = Domain("ankle", {1: "talus", 2: "tibia"}, "axial")
SHOULDER = Domain("shoulder", {1: "humerus"}, "sagittal")
SQUARE = Field(np.array([224.0, 224.0]), np.array([1.0, 1.0]))
SMALL_FIELD = Field(np.array([35.0, 51.0]), np.array([1.0, 1.0]))


def widths_from(first: int) -> list[int]:
    return [first * 2**level for level in range(5)]


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (SQUARE, [[64, 64], [80, 80], [96, 96], [112, 112], [128, 128], [160, 160], [192, 192], [224, 224]]),
        (SMALL_FIELD, [[48, 64]] * 8),
        (Field(np.array([300.0, 100.0]), np.array([1.0, 1.0])), [[64, 32], [80, 32], [96, 32], [112, 48], [128, 48]]),
        (Field(np.array([100.0, 100.0]), np.array([1.0, 2.0])), [[64, 64], [80, 64], [96, 64], [112, 64], [112, 64]]),
    ],
)
def test_a_slice_has_square_pixels_and_no_more_than_the_scans_have(field: Field, expected: list) -> None:
    longest = list(dict.fromkeys(each for each, _ in LADDER))
    assert [field.size(each, factor=16) for each in longest][: len(expected)] == expected


def test_a_rounded_header_makes_no_slice_larger() -> None:
    spacing = float(np.float32(0.7))
    assert Field(np.array([224 * spacing] * 2), np.array([spacing] * 2)).size(256, factor=16) == [224, 224]
    assert SMALL_FIELD.size(112, factor=8) == [40, 56]
    assert SMALL_FIELD.size(112, factor=64) == [64, 64]


def test_candidates_keep_what_is_given_and_do_not_repeat() -> None:
    assert candidates("auto", "auto", {"a": SMALL_FIELD}, shared=False) == [
        ([48, 64], widths_from(first)) for first in (8, 12, 16, 32)
    ]
    both = {"a": SMALL_FIELD, "b": SQUARE}
    assert candidates("auto", [4, 8, 16], both, shared=False)[3] == ({"a": [36, 52], "b": [112, 112]}, [4, 8, 16])
    turned = Field(SMALL_FIELD.extent_mm[::-1], SMALL_FIELD.pixel_mm)
    assert candidates("auto", "auto", {"a": SMALL_FIELD, "b": turned}, shared=True)[0][0] == [64, 64]
    assert candidates("auto", "auto", {"a": SMALL_FIELD, "b": turned}, shared=False)[0][0] == {
        **{"a": [48, 64], "b": [64, 48]}
    }
    assert candidates([32, 48], "auto", both, shared=False) == [([32, 48], widths_from(n)) for n in (8, 12, 16, 32)]
    assert candidates([32, 48], [4, 8], both, shared=False) == [([32, 48], [4, 8])]
    with pytest.raises(InputError, match=r"image_size must be multiples of 16 for 5 widths, got \[40, 48\]"):
        candidates([40, 48], "auto", both, shared=False)


def test_budgets() -> None:
    assert [parse_budget(given) for given in ("15min", "90s", "2h", "1.5 h", 15, "15", 0.5)] == [
        *(900, 90, 7200, 5400, 900, 900, 30)
    ]
    for given in ("15 parsecs", 0, "0s", "-3min", "", True, "1e9", [15], "min"):
        with pytest.raises(InputError, match="budget must be a time above 0 such as 90s"):
            parse_budget(given)


def write(folder: Path, domain: str, name: str, shape: tuple[int, int, int], affine: np.ndarray) -> Case:
    paths = [folder / f"{domain}_{name}_{kind}.nii" for kind in ("image", "label")]
    for path in paths:
        nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.uint8), affine), path)
    return Case(name, domain, paths[0], paths[1], name)


@pytest.fixture
def split(tmp_path: Path) -> Split:
    """Training slices: 20 of the ankle, 6 of the shoulder; validation: 8."""
    plain, turned = np.diag([2.0, 1.0, 4.0, 1.0]), np.eye(4)[[2, 0, 1, 3]] * [0.5, 1.0, 2.0, 1.0]
    ankles = [write(tmp_path, "ankle", f"a{count}", (30, 40, count), plain) for count in (8, 12)]
    # Stored as (A, S, R): 24 x 0.5 mm forward, 50 x 1 mm up, 6 slices along R.
    shoulder = write(tmp_path, "shoulder", "s", (24, 50, 6), turned)
    return split_of(training=[*ankles, shoulder], validation=[ankles[0]])


def plan(split: Split, **given: object) -> TrainingPlan:
    values = {"image_size": "auto", "widths": "auto", "max_epochs": "auto", "batch_size": 4, "network": {}}
    values |= {"domains": [ANKLE, SHOULDER], "loss": MultiDomainSegmentationLoss([3, 2], dice_weight=1.0)}
    return plan_training(**{**values, "split": split, "device": "cpu", **given})


def test_fields_and_slices_come_from_headers(split: Split) -> None:
    fields, slices = look_at(split.training, [ANKLE, SHOULDER])
    assert slices == [0] * 20 + [1] * 6
    assert (fields["ankle"].extent_mm.tolist(), fields["ankle"].pixel_mm.tolist()) == ([60, 40], [2, 1])
    assert (fields["shoulder"].extent_mm.tolist(), fields["shoulder"].pixel_mm.tolist()) == ([12, 50], [0.5, 1])


def test_what_is_given_passes_and_nothing_is_read() -> None:
    given = {"image_size": [48, 30], "widths": (3, 5), "max_epochs": 7}
    made = plan(None, **given, domains=None, loss=None)
    assert made == TrainingPlan(**given)
    assert all(getattr(made, name) is value for name, value in given.items())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"image_size": "Auto"}, "image_size must be auto or a value as in train.yaml, got 'Auto'"),
        ({"max_epochs": 0}, "max_epochs must be auto or a whole number from 1, got 0"),
        ({"budget": "15 parsecs"}, "budget must be a time"),
        ({"budget": 0, "image_size": [32, 32], "widths": [4, 8], "max_epochs": 1}, "budget must be a time"),
        ({"resume": True, "output_dir": "nowhere"}, "resume needs .*nowhere/plan.json where a setting is auto"),
    ],
)
def test_bad_values(given: dict, message: str, split: Split) -> None:
    with pytest.raises(InputError, match=message):
        plan(split, **given)


def test_a_damaged_header_is_the_reader_s_error(split: Split) -> None:
    split.training[0].image.write_bytes(b"no header")
    with pytest.raises(InputError, match=r"ankle_a8_image\.nii"):
        plan(split)


class Clock:
    """Steps that take 0.1, 0.2, 0.3 ... seconds, one rung after the other."""

    def __init__(self) -> None:
        self.asked: list[tuple] = []

    def __call__(self, work: object, image_size: object, widths: object) -> float:
        self.asked.append((image_size, widths))
        return 0.1 * len(self.asked)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(planning, "seconds_a_step", made)
    return made


def epoch_seconds(step: float) -> float:
    """10 steps (20 ankle slices, 2 a batch) and 2 batches of validation slices, as the plan counts them."""
    return (step + 0.01) * (10 + 0.35 * 2) + 0.3


def test_the_dearest_rung_that_pays_is_chosen(split: Split, clock: Clock) -> None:
    # 24,000 slices, 20 an epoch: 1,200 epochs. Of 1.5 hours, 92 % are 4.14 s for each: a step may take 0.349 s.
    made = plan(split, budget="1.5h")
    assert clock.asked == [({"ankle": [32, 48], "shoulder": [32, 64]}, widths_from(n)) for n in (8, 12, 16, 32)]
    assert (made.image_size, made.widths) == clock.asked[2]
    assert made.max_epochs == math.floor(0.92 * 5400 / epoch_seconds(0.3))
    need = 1200 * epoch_seconds(0.4) / 60 + 0.08 * 90
    assert made.lines[-1] == (
        "next would be ankle 32 x 48, shoulder 32 x 64 with widths 32 to 512: 0.4 s a step, "
        f"{need:.3g} min for 24000 slices of a domain"
    )
    assert "10 steps an epoch" in "\n".join(made.lines)
    assert any(line == "ankle: axial slices of 32 x 48 pixels, 1.88 x 0.83 mm each" for line in made.lines)


def test_a_whole_ladder_may_pay(split: Split, clock: Clock) -> None:
    made = plan(split, budget="100h")
    assert made.widths == widths_from(32)
    assert made.lines[-1].startswith(f"{0.1 * len(clock.asked):.3g} s a step")


def test_given_epochs_fit_the_budget(split: Split, clock: Clock) -> None:
    # Of the default budget, 828 s are for 200 epochs of 4.14 s: a step may take 0.349 s.
    made = plan(split, max_epochs=200)
    assert len(clock.asked) == 4
    assert (made.max_epochs, made.widths) == (200, widths_from(16))
    assert made.lines[-1].endswith("for 200 epochs")


def test_too_small_a_budget_takes_the_cheapest_and_says_so(split: Split, clock: Clock) -> None:
    made = plan(split, budget="1min")
    assert len(clock.asked) == 1
    assert made.max_epochs == math.floor(0.92 * 60 / epoch_seconds(0.1))
    assert made.lines[-1].startswith("even the cheapest takes")
    assert plan(split, budget="1s").max_epochs == 2


def test_epochs_alone_may_be_planned(split: Split, clock: Clock) -> None:
    made = plan(split, image_size=[32, 32], widths=[4, 8], budget="1min")
    assert clock.asked == [([32, 32], [4, 8])]
    assert made.max_epochs == math.floor(0.92 * 60 / epoch_seconds(0.1))
    assert "cheapest" not in "".join(made.lines)


def test_shared_norms_get_one_size(split: Split, clock: Clock) -> None:
    assert plan(split, network={"norm": "shared"}, budget="1min").image_size == [32, 64]
    assert plan(split, budget="1min").image_size == {"ankle": [32, 48], "shoulder": [32, 64]}


@pytest.mark.parametrize("network", [{}, {"norm": "shared", "head": "domain"}, {"deep_supervision": 1}])
def test_a_real_step_is_timed_and_random_numbers_stay(
    split: Split, network: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slice_sizes, "LADDER", ((32, (2, 4, 8)), (48, (2, 4, 8))))
    torch.manual_seed(3)
    before = torch.get_rng_state()
    made = plan(split, network=network, context=1, position=True, budget="10h")
    assert torch.equal(torch.get_rng_state(), before)
    assert made.widths == [2, 4, 8]
    assert made.max_epochs > 2


def test_a_run_is_planned_once(
    manifests: dict[str, str],
    run_bundle: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(slice_sizes, "LADDER", ((32, (4, 8)),))
    given = {**SMALL, "image_size": "auto", "widths": "auto", "max_epochs": "auto", "budget": "1s", "device": "cpu"}
    given |= {"manifests": list(manifests.values()), "output_dir": str(tmp_path), "tensorboard": False}
    given |= {"deep_supervision": 0}
    workflow = run_bundle("multijoint", ["train.yaml"], **given)
    content = json.loads((tmp_path / "plan.json").read_text())
    assert (content["widths"], content["max_epochs"]) == ([4, 8], 2)
    steps = len(workflow.parser.get_parsed_content("train::sampler"))
    assert f"{steps} steps an epoch, 2 epochs" in "\n".join(content["lines"])
    assert content["lines"][0] in (tmp_path / "run.log").read_text()
    assert "image_size: auto" in (tmp_path / "config.yaml").read_text()
    size = load_model(tmp_path / "model.pt").preprocessing.image_size
    assert size == tuple(content["image_size"])

    def refuse(*args: object) -> float:
        raise AssertionError("a resumed run must not measure")

    monkeypatch.setattr(planning, "seconds_a_step", refuse)
    run_bundle("multijoint", ["train.yaml"], **{**given, "resume": True, "max_epochs": 3})
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 1 + 3
    assert json.loads((tmp_path / "plan.json").read_text()) == {**content, "max_epochs": 3}


def test_steps_of_an_epoch_are_the_sampler_s(split: Split, clock: Clock) -> None:
    for batch_size in (2, 3, 7, 26, 40):
        made = plan(split, batch_size=batch_size, min_batches=2)
        sampler = DomainBalancedBatchSampler([0] * 20 + [1] * 6, batch_size=batch_size, min_batches=2)
        assert f" {len(sampler)} steps an epoch" in "\n".join(made.lines)


def test_slices_without_bone_are_left_out_as_the_sampler_does(split: Split, clock: Clock) -> None:
    voxels = np.zeros((24, 50, 6), np.uint8)
    voxels[3, 4, 1:3] = 1  # slices 1 and 2 along R
    affine = nibabel.load(split.training[2].image).affine
    nibabel.save(nibabel.Nifti1Image(voxels, affine), split.training[2].label)
    voxels = np.zeros((30, 40, 12), np.uint8)
    voxels[0, 0, ::3] = 2
    affine = np.diag([2.0, 1.0, 4.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(voxels[..., 2:10], affine), split.training[0].label)
    last = voxels.copy()
    last[..., :9] = 0
    nibabel.save(nibabel.Nifti1Image(last, affine), split.training[1].label)
    empty = [*[True, False, True] * 2, True, False, *[True] * 9, False, True, True, True, False, False, *[True] * 3]
    assert empty_slices(split.training, [ANKLE, SHOULDER]) == empty
    sampler = DomainBalancedBatchSampler([0] * 20 + [1] * 6, batch_size=4, empty=empty, empty_share=0.25)
    assert len(sampler) == 4  # 4 ankle slices with bone and 4 of the 16 others, 2 in a batch
    assert " 4 steps an epoch" in "\n".join(plan(split, empty_share=0.25).lines)
    nibabel.save(nibabel.Nifti1Image(voxels[..., :9], affine), split.training[1].label)
    with pytest.raises(InputError, match="must have the 12 slices of its image, got 9"):
        plan(split, empty_share=0.25)
    nibabel.save(nibabel.Nifti1Image(np.zeros_like(voxels), affine), split.training[1].label)
    with pytest.raises(InputError, match=r"label map ankle_a12_label.nii must show a bone, got none"):
        plan(split, empty_share=0.25)


def test_a_configuration_without_auto_does_not_plan(manifests: dict[str, str], tmp_path: Path) -> None:
    root = BUNDLES / "multijoint_mr_bone_segmentation"
    workflow = ConfigWorkflow(
        config_file=str(root / "configs" / "train.yaml"),
        logging_file=False,
        bundle_root=str(root),
        **{**SMALL, "manifests": list(manifests.values()), "output_dir": str(tmp_path), "device": "cpu"},
    )
    workflow.initialize()
    assert workflow.parser.get_parsed_content("plan") == TrainingPlan([32, 32], [4, 8], 1)
    assert workflow.parser.get_parsed_content("train::trainer").state.max_epochs == 1
