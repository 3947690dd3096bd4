"""The MONAI metric: the same numbers as `score_case`, however the batches come, and an honest summary."""

import math

import numpy as np
import pytest
import torch
from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.metrics.bone_scores import score_case
from custom_components.metrics.monai_metric import BoneMetrics, ClassSummary
from monai.data import MetaTensor
from monai.networks import one_hot

DOMAIN = Domain("foot", {7: "talus", 3: "calcaneus", 9: "tibia"}, "sagittal")
SPACINGS_MM = [(0.5, 0.7, 3.0), (1.0, 1.0, 1.0), (0.4, 0.4, 2.0)]


def cases() -> tuple[torch.Tensor, torch.Tensor]:
    """Three cases of shape (1, 8, 7, 6): talus always, calcaneus missed then invented, tibia never."""
    predictions, references = torch.zeros(2, 3, 1, 8, 7, 6)
    for case in range(3):
        references[case, 0, 2:5, 2:6, 1:4] = 1
        predictions[case, 0, 1 + case : 5, 2:6, 1:4] = 1
    references[1, 0, 6:, 0, 0] = 2
    predictions[2, 0, 6:, 0, 0] = 2
    return predictions, references


def expected_scores(border: str = "inside") -> np.ndarray:
    predictions, references = (each[:, 0].numpy().astype(int) for each in cases())
    return np.array(
        [
            [
                (score.dice, score.assd_mm, score.mssd_mm)
                for score in score_case(p, r, domain=DOMAIN, spacing_mm=spacing_mm, border=border)
            ]
            for p, r, spacing_mm in zip(predictions, references, SPACINGS_MM, strict=True)
        ]
    )


@pytest.mark.parametrize("border", ["inside", "surface"])
@pytest.mark.parametrize("form", ["classes", "one-hot", "mixed", "list", "list of one-hot MetaTensors", "one by one"])
def test_every_form_of_input_gives_the_scores_of_score_case(form, border):
    predictions, references = cases()
    metric = BoneMetrics(num_classes=4, border=border)
    hot_predictions, hot_references = (one_hot(each, num_classes=4) for each in (predictions, references))
    if form == "one by one":
        results = [
            metric(p[None], r[None], spacing=spacing_mm)
            for p, r, spacing_mm in zip(predictions, references, SPACINGS_MM, strict=True)
        ]
        result = torch.cat(results)
    else:
        inputs = {
            "classes": (predictions.to(torch.uint8), references),
            "one-hot": (hot_predictions, hot_references),
            "mixed": (hot_predictions, references),
            "list": (list(predictions), list(references)),
            "list of one-hot MetaTensors": ([MetaTensor(each) for each in hot_predictions], list(hot_references)),
        }[form]
        result = metric(*inputs, spacing=SPACINGS_MM)
    np.testing.assert_allclose(result, expected_scores(border), rtol=1e-6)
    assert type(result) is torch.Tensor
    scores, _ = metric.get_buffer()
    np.testing.assert_array_equal(scores, result)


def test_the_summary_counts_missed_false_and_absent():
    metric = BoneMetrics(num_classes=4)
    metric(*cases(), spacing=SPACINGS_MM)
    summary = metric.aggregate()
    assert list(summary) == [1, 2, 3]
    talus = expected_scores()[:, 0]
    assert summary[1] == ClassSummary(
        *(pytest.approx(value, rel=1e-6) for value in talus.mean(axis=0)),
        n=3,
        n_distance=3,
        missed=0,
        false_finds=0,
        absent=0,
    )
    for index, counts in ((2, (1, 0, 1, 1, 1)), (3, (0, 0, 0, 0, 3))):
        each = summary[index]
        assert (each.n, each.n_distance, each.missed, each.false_finds, each.absent) == counts
        assert math.isnan(each.assd_mm)
        assert math.isnan(each.mssd_mm)
    # A missed and an invented bone are two zeros, never left out; a bone in no case has no mean at all.
    assert summary[2].dice == 0.0
    assert math.isnan(summary[3].dice)


def test_distances_are_averaged_over_the_cases_that_have_them():
    reference, missed = torch.zeros(2, 1, 1, 5, 5, 5)
    reference[..., 1:3, 1:3, 1:3] = 1
    shifted = reference.roll(1, dims=4)
    metric = BoneMetrics(num_classes=2)
    alone = metric(shifted, reference, spacing=(1.0, 1.0, 2.0))[0, 0]
    metric(missed, reference, spacing=(1.0, 1.0, 2.0))
    each = metric.aggregate()[1]
    assert (each.n, each.n_distance, each.missed) == (2, 1, 1)
    # Shifted by a column of 2 mm: half of the voxels coincide; the missed bone halves the Dice, not the distance.
    assert (each.dice, each.assd_mm, each.mssd_mm) == (0.25, 1.0, 2.0)
    assert alone.tolist() == [0.5, 1.0, 2.0]


def test_reset_starts_anew():
    metric = BoneMetrics(num_classes=4)
    metric(*cases(), spacing=SPACINGS_MM)
    metric.reset()
    with pytest.raises(InputError, match="metric must have scored a case before it aggregates, got none"):
        metric.aggregate()
    predictions, references = cases()
    metric(predictions[:1], references[:1], spacing=SPACINGS_MM[0])
    assert metric.aggregate()[1].n == 1


@pytest.mark.parametrize("form", ["classes", "one-hot"])
def test_the_background_is_scored_on_request(form):
    predictions, references = cases()
    if form == "one-hot":
        predictions, references = (one_hot(each, num_classes=4) for each in (predictions, references))
    metric = BoneMetrics(num_classes=4, include_background=True)
    result = metric(predictions, references, spacing=SPACINGS_MM)
    assert result.shape == (3, 4, 3)
    np.testing.assert_allclose(result[:, 1:], expected_scores(), rtol=1e-6)
    background = [(each == 0).sum().item() for each in (cases()[0][0], cases()[1][0])]
    both = ((cases()[0][0] == 0) & (cases()[1][0] == 0)).sum().item()
    assert result[0, 0, 0].item() == pytest.approx(2 * both / sum(background))
    assert list(metric.aggregate()) == [0, 1, 2, 3]


def test_errors_name_the_remedy():
    predictions, references = cases()
    metric = BoneMetrics(num_classes=4)
    for spacing in (None, (1.0, 1.0), [(1.0, 1.0, 1.0)] * 2):
        for batch in ((predictions, references), (list(predictions), list(references))):
            with pytest.raises(
                InputError, match=r"spacing must be 3 numbers \(mm\) or 3 times 3, got .*; pass spacing="
            ):
                metric(*batch, spacing=spacing)
    with pytest.raises(InputError, match="spacing_mm must be 3 positive numbers"):
        metric(predictions, references, spacing=(1.0, 1.0, 0.0))
    good = {"spacing": (1.0, 1.0, 1.0)}
    with pytest.raises(
        InputError, match=r"y must have the batch and spatial shape of y_pred \(3, .*got \(2, 1, 8, 7, 6\)"
    ):
        metric(predictions, references[:2], **good)
    with pytest.raises(InputError, match=r"y must have the batch and spatial shape .*got None"):
        metric(predictions, **good)
    with pytest.raises(InputError, match=r"y must be as many items as y_pred \(3\), got 2"):
        metric(list(predictions), list(references[:2]), **good)
    with pytest.raises(InputError, match=r"y must be as many items as y_pred \(0\), got 0"):
        metric([], [], **good)
    with pytest.raises(InputError, match=r"y_pred must hold class indices 0\.\.3, got 4"):
        metric(predictions + 3, references, **good)
    with pytest.raises(
        InputError, match=r"y must be class indices in one channel or one-hot \(0 or 1\) in 4, got 3 chan"
    ):
        metric(predictions, references.expand(-1, 3, -1, -1, -1), **good)
    with pytest.raises(InputError, match=r"y_pred must be .*got 4 channels of 0\.5\.\.0\.5; take the argmax"):
        metric(torch.full((3, 4, 8, 7, 6), 0.5), references, **good)
    with pytest.raises(InputError, match="border must be one of inside, surface, got 'edge'"):
        BoneMetrics(num_classes=4, border="edge")(predictions, references, **good)
    assert metric.get_buffer() is None, "a refused batch must leave no score behind"
