"""Expected Dice: sums worked by hand, and nothing that depends on threads, batches or order; no label map changes."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from custom_components.inference.inferers import SlicewiseInferer
from custom_components.quality.expected_dice import ExpectedDice
from support.networks import BATCHES, THREADS, make_network


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def logits_of(*slices: list[list[float]]) -> torch.Tensor:
    """Slices of one row from the probabilities of each channel, shape (N, channels, 1, columns)."""
    return torch.log(torch.tensor(slices))[:, :, None]


def test_sums_worked_by_hand() -> None:
    expected = ExpectedDice()
    expected.add(0, logits_of([[0.5, 0.2], [0.3, 0.7], [0.2, 0.1]]))
    expected.add(1, logits_of([[0.1, 0.6], [0.8, 0.3], [0.1, 0.1]]))
    # background: p sums to 1.4, likeliest in 2 pixels with 0.5 + 0.6; bone 1: 2.1, in 2 with 0.7 + 0.8; bone 2: in none
    assert expected.compute() == pytest.approx([2 * 1.1 / 3.4, 2 * 1.5 / 4.1, 0.0])


def test_certainty_is_one_and_nothing_is_nothing() -> None:
    expected = ExpectedDice()
    assert expected.compute() == []
    expected.add(0, torch.tensor([[[[200.0, 0.0]], [[0.0, 200.0]]]]))
    assert expected.compute() == [1.0, 1.0]


def test_of_equal_channels_the_first_is_predicted_as_in_the_label_map() -> None:
    expected = ExpectedDice()
    expected.add(0, torch.zeros(1, 2, 1, 3))
    assert expected.compute() == pytest.approx([2 * 1.5 / (3 + 1.5), 0.0])


def test_agrees_with_the_dice_of_labels_drawn_from_the_probabilities() -> None:
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(scale=3, size=(4, 3, 20, 20))).float()
    expected = ExpectedDice()
    expected.add(0, logits)
    probabilities = logits.softmax(dim=1).movedim(1, -1).numpy()
    predicted = probabilities.argmax(axis=-1)
    drawn = (rng.random((200, *predicted.shape, 1)) > probabilities.cumsum(axis=-1)[..., :-1]).sum(axis=-1)
    for index, value in enumerate(expected.compute()):
        ours, theirs = predicted == index, drawn == index
        dice = 2 * (ours & theirs).sum(axis=(1, 2, 3)) / (ours.sum() + theirs.sum(axis=(1, 2, 3)))
        assert value == pytest.approx(dice.mean(), abs=0.005)


@pytest.mark.parametrize("size", [(32, 48), (45, 61)])
def test_no_bit_depends_on_threads_batches_or_the_run_and_no_label_on_it(size: tuple[int, int]) -> None:
    network, volume = make_network(widths=[4, 8], size=32)
    network.heads[0].bias.data.zero_()
    found = set()
    for num_threads, batch, _ in itertools.product(THREADS, BATCHES, range(2)):
        torch.set_num_threads(num_threads)
        inferer = SlicewiseInferer(roi_size=(32, 48), spatial_dim=2, sw_batch_size=batch)
        expected = ExpectedDice()
        labels = inferer.classes(volume, network, size=size, expected=expected)
        assert torch.equal(labels, inferer.classes(volume, network, size=size))
        found.add(tuple(expected.compute()))
    assert len(found) == 1
    assert sum(0 < value < 1 for value in next(iter(found))) > 1


def test_order_and_batches_of_slices_change_no_bit() -> None:
    logits = torch.randn(7, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    whole, shuffled = ExpectedDice(), ExpectedDice()
    whole.add(0, logits)
    for index in (3, 0, 6, 5, 1, 2, 4):
        shuffled.add(index, logits[index : index + 1])
    assert whole.compute() == shuffled.compute()


def test_half_precision_is_summed_in_full() -> None:
    logits = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    half, full = ExpectedDice(), ExpectedDice()
    half.add(0, logits.bfloat16())
    full.add(0, logits.bfloat16().float())
    assert half.compute() == full.compute()
