"""Logits and label maps that no number of threads, no sub-batch and no other run changes by a bit."""

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from custom_components.errors import InputError
from custom_components.inference.inferers import SlicewiseInferer
from custom_components.inference.transforms import ReadVolumed, StackSlicesd
from custom_components.models.checkpoints import build_network, load_model, save_checkpoint
from custom_components.quality.expected_dice import ExpectedDice
from monai.data import MetaTensor
from monai.inferers import SliceInferer
from support.bundles import Run
from support.networks import BATCHES, THREADS, make_network
from torch.nn.functional import interpolate


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    "settings",
    [
        {"widths": [4, 8], "size": 32},
        {"widths": [8, 16, 32], "size": 48, "attention": True},
        {"widths": [16, 32, 64], "size": 64, "norm": "shared", "head": "shared"},
    ],
    ids=str,
)
def test_no_bit_depends_on_threads_sub_batches_or_the_run(settings: dict[str, Any]) -> None:
    network, volume = make_network(**settings)
    results = []
    for num_threads, batch, _ in itertools.product(THREADS, BATCHES, range(2)):
        torch.set_num_threads(num_threads)
        inferer = SlicewiseInferer(roi_size=volume.shape[2:4], spatial_dim=2, sw_batch_size=batch, overlap=0.0)
        results.append(inferer(volume, network))
    for other in results[1:]:
        assert torch.equal(results[0], other)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_agrees_with_monai_whatever_the_axis(axis: int) -> None:
    network, volume = make_network(widths=[4, 8], size=32)
    volume = volume.movedim(-1, axis + 2)
    settings = {"roi_size": (32, 48), "spatial_dim": axis, "sw_batch_size": 4, "overlap": 0.0}
    torch.set_num_threads(2)
    with torch.no_grad():
        expected = SliceInferer(**settings)(volume, network)
    found = SlicewiseInferer(**settings)(volume, network)
    assert found.shape == expected.shape == (1, 4, *volume.shape[2:])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(SlicewiseInferer(**settings)(MetaTensor(volume), network), found, atol=0, rtol=0)


@pytest.mark.parametrize(
    "settings",
    [
        {"widths": [4, 8]},
        {"widths": [4, 8, 8], "attention": True, "domain": 1},
        {"widths": [4, 8], "norm": "shared", "head": "shared"},
    ],
    ids=str,
)
def test_folded_norms_give_the_logits_of_norms_that_have_seen_data(settings: dict[str, Any]) -> None:
    network, volume = make_network(size=32, **settings)
    network.train()
    for index in range(0, 18, 6):
        network(3 * volume[0, ..., index : index + 6].permute(3, 0, 1, 2) + 1, torch.tensor([0, 1] * 3))
    network.eval()
    how = {"roi_size": (32, 48), "spatial_dim": 2, "sw_batch_size": 4, "overlap": 0.0}
    with torch.no_grad():
        expected = SliceInferer(**how)(volume, network)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    torch.testing.assert_close(SlicewiseInferer(**how)(volume, network), expected, atol=1e-4, rtol=1e-4)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("axis", [0, 2])
@pytest.mark.parametrize("size", [(32, 48), (45, 61), (20, 30)])
def test_classes_are_those_of_the_logits_brought_to_the_size(axis: int, size: tuple[int, int]) -> None:
    network, volume = make_network(widths=[4, 8], size=32)
    network.heads[0].bias.data.zero_()  # all classes as likely
    volume = volume.movedim(-1, axis + 2)
    inferer = SlicewiseInferer(roi_size=(32, 48), spatial_dim=axis, sw_batch_size=4)
    logits = inferer(volume, network)[0].movedim(axis + 1, 0)  # (slices, channels, rows, columns)
    expected = torch.stack([interpolate(one[None], size=size, mode="bilinear")[0].argmax(0) for one in logits])
    found = inferer.classes(volume, network, size=size)
    assert (found.dtype, found.shape[:2]) == (torch.uint8, (1, 1))
    assert torch.equal(found[0, 0].movedim(axis, 0), expected)
    assert len(expected.unique()) > 1


@pytest.mark.parametrize(
    ("size", "blocks"), [((16, 16), [18]), ((48, 64), [9, 9]), ((96, 96), [3] * 6), ((128, 160), [1] * 18)], ids=str
)
def test_small_slices_pass_in_blocks_that_neither_threads_nor_sub_batches_change(
    size: tuple[int, int], blocks: list[int]
) -> None:
    for num_threads, batch in itertools.product((1, 2), (1, 16)):
        torch.set_num_threads(num_threads)
        seen: list[int] = []

        def network(slices: torch.Tensor, seen: list[int] = seen) -> torch.Tensor:
            seen.append(len(slices))
            return slices * 2

        volume = torch.randn(1, 1, *size, 18)
        found = SlicewiseInferer(roi_size=size, spatial_dim=2, sw_batch_size=batch)(volume, network)
        assert seen == blocks
        assert torch.equal(found, volume * 2)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_of_equal_constant_slices_one_is_computed_and_all_are_answered(num_threads: int) -> None:
    torch.set_num_threads(num_threads)
    network, volume = make_network(widths=[4, 8], size=160)
    network.heads[0].bias.data.zero_()
    volume[..., [0, 4, 17]], volume[..., 5] = -0.25, 0.5
    volume[..., 9] = volume[..., 8]  # equal, but not constant
    inferer = SlicewiseInferer(roi_size=(160, 176), spatial_dim=2, sw_batch_size=16)
    seen: list[torch.Tensor] = []

    def watched(slices: torch.Tensor) -> torch.Tensor:
        seen.extend(slices)
        return network(slices)

    logits, expected = inferer(volume, watched), ExpectedDice()
    assert len(seen) == 16
    with torch.no_grad():
        each = [network(volume[..., index]) for index in range(18)]
    assert all(torch.equal(logits[..., index], own) for index, own in enumerate(each))
    labels = inferer.classes(volume, watched, size=(160, 176), expected=expected)
    assert torch.equal(labels[0, 0], logits[0].argmax(0))
    plain = ExpectedDice()
    for index, own in enumerate(each):
        plain.add(index, own)
    assert expected.compute() == plain.compute()


def test_known_logits_are_not_computed_again_but_checked() -> None:
    network, volume = make_network(widths=[4, 8], size=32)
    network.heads[0].bias.data.zero_()
    seen: list[int] = []

    def watched(slices: torch.Tensor) -> torch.Tensor:
        seen.append(len(slices))
        return network(slices)

    known = {index: torch.randn(1, 4, 32, 48) for index in (2, 17)}
    found = {}
    for num_threads, given in itertools.product((1, 2), (None, known)):
        torch.set_num_threads(num_threads)
        inferer, expected = SlicewiseInferer(roi_size=(32, 48), spatial_dim=2, sw_batch_size=16), ExpectedDice()
        labels = inferer.classes(volume, watched, size=(45, 61), expected=expected, known=given)[0, 0]
        again = found.setdefault(given is None, (labels, expected.compute()))
        assert torch.equal(again[0], labels)
        assert again[1] == expected.compute()
    assert sum(seen) == 2 * 18 + 2 * 16
    computed, mixed = found[True][0], found[False][0]
    others = [index for index in range(18) if index not in known]
    assert torch.equal(mixed[..., others], computed[..., others])
    for index, logits in known.items():
        assert torch.equal(mixed[..., index], interpolate(logits, size=(45, 61), mode="bilinear")[0].argmax(0))
    viewing = SlicewiseInferer(roi_size=(32, 48), spatial_dim=2, sw_batch_size=16, views=["flip-columns"])
    seen.clear()
    viewing.classes(volume, watched, size=(32, 48), known=known)
    assert sum(seen) == 2 * 18
    broken = {3: torch.full((1, 4, 32, 48), torch.nan)}
    with pytest.raises(InputError, match=r"prediction for scan\.nii must be finite, got NaN or infinity"):
        inferer.classes(volume, network, size=(32, 48), name="scan.nii", known=broken)


def test_a_network_is_folded_again_only_when_its_weights_or_domain_change() -> None:
    network, volume = make_network(widths=[4, 8], size=32)
    inferer = SlicewiseInferer(roi_size=(32, 48), spatial_dim=2, sw_batch_size=16)

    def answer() -> torch.Tensor:
        found, fresh = (
            each(volume, network)
            for each in (inferer, SlicewiseInferer(roi_size=(32, 48), spatial_dim=2, sw_batch_size=16))
        )
        assert torch.equal(found, fresh)
        return found

    first, folded = answer(), inferer._folded[0][1]
    assert torch.equal(answer(), first)
    assert inferer._folded[0][1] is folded
    network.set_domain(1)
    assert answer().shape[1] == 3
    network.set_domain(0)
    assert torch.equal(answer(), first)
    assert inferer._folded[0][1] is folded  # planes of a data set take turns
    with torch.no_grad():
        network.encoder[0].conv1.weight.add_(1.0)
    assert not torch.equal(answer(), first)
    network.load_state_dict({name: torch.zeros_like(tensor) for name, tensor in network.state_dict().items()})
    assert not answer().any()


def test_classes_of_logits_that_are_not_finite_are_refused() -> None:
    inferer = SlicewiseInferer(roi_size=(4, 4), spatial_dim=2)
    with pytest.raises(InputError, match=r"prediction for scan\.nii must be finite, got NaN or infinity; train again"):
        inferer.classes(torch.full((1, 1, 4, 4, 3), torch.nan), lambda slices: slices, size=(4, 4), name="scan.nii")


@pytest.mark.parametrize("num_threads", [1, 2])
def test_settings_of_the_caller_reach_every_thread(num_threads: int) -> None:
    network, volume = make_network(widths=[4, 8], size=32)
    torch.set_num_threads(num_threads)
    inferer = SlicewiseInferer(roi_size=(32, 48), spatial_dim=2, sw_batch_size=16)
    seen: list[tuple[bool, bool]] = []

    def watched(slices: torch.Tensor, domains: torch.Tensor) -> torch.Tensor:
        assert slices.is_contiguous()
        seen.append((torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")))
        return network(slices, domains)

    with torch.autocast("cpu"):
        found = inferer(volume, watched, torch.tensor([1]))
    assert seen == [(False, True)] * 18
    assert (found.dtype, found.requires_grad) == (torch.bfloat16, False)
    assert torch.get_num_threads() == num_threads


@pytest.mark.parametrize("shape", [(1, 1, 32, 32, 4), (2, 1, 32, 48, 4)])
def test_other_slices_than_agreed_are_refused(shape: tuple[int, ...]) -> None:
    inferer = SlicewiseInferer(roi_size=(32, 48), spatial_dim=2)
    with pytest.raises(ValueError, match=r"inputs must be one volume of slices of \[32, 48\], got \["):
        inferer(torch.zeros(shape), lambda slices: slices)


def test_label_maps_are_the_same_bytes(
    trained: Path, manifests: dict[str, str], run_bundle: Run, tmp_path: Path
) -> None:
    scan = Path(manifests["ankle"]).parent / "images" / "ankle_000.nii.gz"
    model = load_model(trained / "model.pt")  # which has learnt too little to find a bone: make all classes as likely
    weights = dict(model.weights) | {"heads.0.bias": torch.zeros_like(model.weights["heads.0.bias"])}
    rows = torch.randn(weights["heads.0.weight"].shape, generator=torch.Generator().manual_seed(0))
    weights["heads.0.weight"] = rows
    item = StackSlicesd("image", model=model)(ReadVolumed("image")({"image": scan, "domain": "ankle"}))
    with torch.no_grad():
        logits = build_network(dataclasses.replace(model, weights=weights))(item["image"].permute(3, 0, 1, 2))
    weights["heads.0.bias"] = -logits.movedim(1, 0).flatten(start_dim=1).median(dim=1).values
    save_checkpoint(tmp_path / "model.pt", dataclasses.replace(model, weights=weights))
    maps = set()
    for num_threads, batch, again in itertools.product(THREADS, BATCHES, range(2)):
        torch.set_num_threads(num_threads)
        folder = tmp_path / f"{num_threads}_{batch}_{again}"
        run_bundle(
            "multijoint",
            ["inference.yaml"],
            "inference",
            checkpoint=str(tmp_path / "model.pt"),
            domain="ankle",
            images=[str(scan)],
            output_dir=str(folder),
            slice_batch_size=batch,
            num_workers=again,  # read here, and in a separate process
            device="cpu",
        )
        maps.add((folder / "ankle_000_seg.nii.gz").read_bytes())
    assert len(maps) == 1
    assert set(np.unique(nibabel.load(folder / "ankle_000_seg.nii.gz").dataobj)) == {0, 1, 2, 3}
