import csv
import math
from pathlib import Path

import pytest
import torch
from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.training.batches import SliceTarget
from custom_components.training.validation import StackDice
from ignite.engine import Engine
from ignite.metrics import Metric
from monai.utils.enums import CommonKeys as Keys

ANKLE = Domain("ankle", {1: "calcaneus", 2: "talus"}, "axial")
SHOULDER = Domain("shoulder", {1: "humerus"}, "axial")


def as_logits(classes: torch.Tensor, channels: int = 3) -> torch.Tensor:
    return torch.nn.functional.one_hot(classes, channels).permute(0, 3, 1, 2).float()


def run(metric: Metric, batches: list[tuple[torch.Tensor, SliceTarget]]) -> dict[str, float]:
    engine = Engine(lambda _, batch: {Keys.PRED: (batch[0], None), Keys.LABEL: batch[1]})
    metric.attach(engine, "dice")
    engine.run(batches)
    return engine.state.metrics


def test_dice_of_the_stacked_volume_by_hand() -> None:
    # Case 0 (ankle), two slices of 1 x 4: calcaneus predicted 3, present 2, common 2 -> 0.8; talus missed -> 0.
    predicted = torch.tensor([[[1, 1, 0, 0]], [[1, 0, 0, 0]], [[1, 1, 0, 0]]])
    present = torch.tensor([[[1, 1, 0, 0]], [[0, 2, 0, 0]], [[1, 1, 1, 1]]])
    # Case 1 (shoulder): 2 of 4 voxels found -> 2 * 2 / 6.
    target = SliceTarget(present[:, None], torch.tensor([0, 0, 1]), torch.tensor([0, 0, 1]))
    metric = StackDice(domains=[ANKLE, SHOULDER], case_domains=[0, 1])
    scores = run(metric, [(as_logits(predicted), target)])
    assert scores["dice_ankle"] == pytest.approx(0.4)
    assert scores["dice_shoulder"] == pytest.approx(2 / 3)
    assert scores["dice"] == pytest.approx((0.4 + 2 / 3) / 2)


def test_order_and_batching_of_slices_do_not_matter() -> None:
    generator = torch.Generator().manual_seed(0)
    predicted = torch.randint(0, 3, (8, 5, 5), generator=generator)
    present = torch.randint(0, 3, (8, 5, 5), generator=generator)
    cases = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    order = torch.randperm(8, generator=generator)

    def batches(index: torch.Tensor, size: int) -> list[tuple[torch.Tensor, SliceTarget]]:
        return [
            (as_logits(predicted[part]), SliceTarget(present[part][:, None], torch.zeros(len(part)), cases[part]))
            for part in index.split(size)
        ]

    metric = StackDice(domains=[ANKLE], case_domains=[0, 0])
    whole = run(metric, batches(torch.arange(8), 8))["dice"]
    assert run(metric, batches(order, 3))["dice"] == whole
    assert 0.2 < whole < 0.5


def test_bone_in_neither_is_not_counted_and_an_invented_one_counts_as_zero() -> None:
    present = torch.tensor([[[1, 1, 0, 0]]])
    target = SliceTarget(present[:, None], torch.tensor([0]), torch.tensor([0]))
    metric = StackDice(domains=[ANKLE], case_domains=[0])
    assert run(metric, [(as_logits(present), target)])["dice"] == 1
    assert run(metric, [(as_logits(torch.tensor([[[1, 1, 2, 0]]])), target)])["dice"] == 0.5


def test_shared_head_takes_a_class_of_another_domain_for_background() -> None:
    # Channels of the union: 0 background, 1 calcaneus, 2 talus, 3 humerus.
    predicted = torch.tensor([[[3, 3, 1, 0]]])
    present = torch.tensor([[[1, 1, 0, 0]]])
    target = SliceTarget(present[:, None], torch.tensor([1]), torch.tensor([0]))
    metric = StackDice(domains=[ANKLE, SHOULDER], case_domains=[1], head="shared")
    scores = run(metric, [(as_logits(predicted, 4), target)])
    assert scores["dice_shoulder"] == 1
    assert "dice_ankle" not in scores


def test_counts_stand_beside_the_mean_by_hand() -> None:
    # Ankle: calcaneus found, talus missed. Shoulder: humerus invented. Another ankle: both bones in neither.
    predicted = torch.tensor([[[1, 1, 0, 0]], [[1, 0, 0, 0]], [[0, 0, 0, 0]]])
    present = torch.tensor([[[1, 1, 2, 0]], [[0, 0, 0, 0]], [[0, 0, 0, 0]]])
    target = SliceTarget(present[:, None], torch.tensor([0, 1, 0]), torch.tensor([0, 1, 2]))
    scores = run(StackDice(domains=[ANKLE, SHOULDER], case_domains=[0, 1, 0]), [(as_logits(predicted), target)])
    assert {name: scores[f"dice_{name}"] for name in ("n", "missed", "false_finds")} == {
        "n": 3,
        "missed": 1,
        "false_finds": 1,
    }
    assert scores["dice"] == pytest.approx((1 + 0) / 2 / 2)


def test_nothing_to_count_is_no_score_and_leaves_none_of_an_earlier_epoch() -> None:
    empty = torch.zeros(1, 1, 4, dtype=torch.long)
    full = torch.tensor([[[1, 1, 0, 0]]])
    metric = StackDice(domains=[ANKLE], case_domains=[0])
    engine = Engine(lambda _, batch: {Keys.PRED: (batch[0], None), Keys.LABEL: batch[1]})
    metric.attach(engine, "dice")
    for classes in (full, empty):
        target = SliceTarget(classes[:, None], torch.tensor([0]), torch.tensor([0]))
        engine.run([(as_logits(classes), target)])
    assert math.isnan(engine.state.metrics["dice"])
    assert math.isnan(engine.state.metrics["dice_ankle"])
    assert engine.state.metrics["dice_n"] == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_an_error_not_a_score(value: float) -> None:
    classes = torch.tensor([[[1, 1, 0, 0]], [[1, 0, 0, 0]]])
    logits = as_logits(classes)
    logits[1, 2, 0, 3] = value
    target = SliceTarget(classes[:, None], torch.tensor([0, 1]), torch.tensor([0, 1]))
    metric = StackDice(domains=[ANKLE, SHOULDER], case_domains=[0, 1])
    with pytest.raises(
        InputError, match=r"validation case 1 \(shoulder\) must be finite, got NaN .* in epoch 1; lower"
    ):
        run(metric, [(logits, target)])


def test_the_log_of_a_training_has_the_counts_beside_the_mean(trained: Path) -> None:
    with (trained / "log.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert int(row["val_mean_dice_n"]) == 5  # one case of each joint, three bones and two
    assert 0 <= int(row["val_mean_dice_missed"]) <= 5
    assert row["val_mean_dice_false_finds"] == "0"
