import threading

import pytest
import torch
from custom_components.errors import InputError, failure_of
from custom_components.inference.engine import VolumeDataset, VolumeEvaluator
from custom_components.inference.loaders import VolumeLoader
from custom_components.networks.unet import MultiDomainUNet
from custom_components.training.batches import prepare_slices
from ignite.engine import Events
from monai.transforms import Compose, Lambdad


def test_prepare_slices_gives_image_target_and_domains() -> None:
    batch = {
        "image": torch.rand(2, 1, 4, 4),
        "label": torch.ones(2, 1, 4, 4, dtype=torch.uint8),
        "domain": torch.tensor([0, 1]),
        "case": torch.tensor([3, 4]),
    }
    image, target, arguments, keywords = prepare_slices(batch, "cpu")
    assert torch.equal(image, batch["image"])
    assert torch.equal(target.label, batch["label"])
    assert (target.domains, target.cases, arguments, keywords) == (
        batch["domain"],
        batch["case"],
        (batch["domain"],),
        {},
    )


def test_failure_is_the_cause_behind_monais_wrapping() -> None:
    def raise_wrapped(inner: Exception) -> None:
        try:
            raise inner
        except Exception as error:
            raise RuntimeError("applying transform") from error

    for inner in (InputError("scan.nii must be a volume"), OSError("disk full")):
        with pytest.raises(RuntimeError) as caught:
            raise_wrapped(inner)
        assert failure_of(caught.value) == str(inner)
    assert failure_of(MemoryError()).startswith("volume must fit in the memory that is free")


def test_an_error_of_ours_is_the_volumes_failure_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert failure_of(ZeroDivisionError("by zero")).startswith("unexpected ZeroDivisionError: by zero; set MULTIJOINT_")
    monkeypatch.setenv("MULTIJOINT_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        failure_of(ZeroDivisionError())


def make_evaluator(items: list[dict], read: object, after: object) -> VolumeEvaluator:
    network = MultiDomainUNet([2, 3], widths=[2, 4], domain_names=["ankle", "shoulder"])
    return VolumeEvaluator(
        device="cpu",
        val_data_loader=VolumeLoader(VolumeDataset(items, Lambdad("image", read))),
        network=network,
        inferer=lambda images, network: network(images),
        postprocessing=Compose([Lambdad("pred", after)]),
    )


def test_a_network_answers_in_evaluation_mode_and_is_left_as_it_was() -> None:
    evaluator = make_evaluator([{"image": "scan", "name": "scan"}], lambda _: torch.zeros(1, 4, 4), lambda pred: pred)
    modes: list[bool] = []
    evaluator.inferer = lambda images, network: modes.append(network.training) or network(images)
    evaluator.network.train()
    evaluator.run()
    assert (modes, evaluator.network.training, evaluator.failures) == ([False], True, [])


def test_one_bad_volume_costs_that_volume_only() -> None:
    seen: list[tuple[int, ...]] = []

    def read(path: str) -> torch.Tensor:
        if path == "bad":
            raise InputError("bad must be a volume, got noise; replace it")
        return torch.zeros(1, 4, 4)

    items = [
        {"image": "first", "name": "first", "domain": "shoulder"},
        {"image": "bad", "name": "bad", "domain": "shoulder"},
        {"image": "last", "name": "last", "domain": "ankle"},
    ]
    evaluator = make_evaluator(items, read, lambda pred: seen.append(tuple(pred.shape)))
    evaluator.run()
    assert seen == [(3, 4, 4), (2, 4, 4)]  # the item's own domain decides the classes
    assert evaluator.failures == [("bad", "bad must be a volume, got noise; replace it")]
    with pytest.raises(InputError, match="1 of 3 scans could not be segmented: bad must be a volume"):
        evaluator.finish()


def test_a_volume_is_finished_while_the_next_passes_the_network() -> None:
    """Else this would wait for ever: the first is finished only when the second has come to the network."""
    second = threading.Event()
    order: list[str] = []

    def finish(pred: torch.Tensor) -> torch.Tensor:
        assert second.wait(30)
        order.append("finished")
        return pred

    items = [{"image": name, "name": name, "value": float(name)} for name in ("1", "2", "3")]
    evaluator = make_evaluator(items, lambda name: torch.full((1, 4, 4), float(name)), finish)
    inner = evaluator.inferer

    def inferer(images: torch.Tensor, network: object) -> torch.Tensor:
        if images.max() >= 2:
            second.set()
        return inner(images, network)

    evaluator.inferer = inferer
    seen: list[str] = []
    evaluator.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: seen.append(engine.state.output["name"]))
    evaluator.run()
    assert (seen, order, evaluator.failures) == (["1", "2", "3"], ["finished"] * 3, [])


def test_failure_while_saving_is_listed_and_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(_: torch.Tensor) -> None:
        raise OSError("no space left on device: out/a_seg.nii.gz")

    def bug(_: torch.Tensor) -> None:
        raise KeyError("oops")

    items = [{"image": "a", "name": "a"}]
    evaluator = make_evaluator(items, lambda _: torch.zeros(1, 4, 4), full_disk)
    evaluator.run()
    assert evaluator.failures[0][1].startswith("no space left on device")
    evaluator = make_evaluator(items, lambda _: torch.zeros(1, 4, 4), bug)
    evaluator.run()
    assert evaluator.failures[0][1].startswith("unexpected KeyError: 'oops'")
    monkeypatch.setenv("MULTIJOINT_DEBUG", "1")
    with pytest.raises(RuntimeError, match="Lambda"):
        make_evaluator(items, lambda _: torch.zeros(1, 4, 4), bug).run()


def test_run_without_failures_finishes_quietly() -> None:
    evaluator = make_evaluator([{"image": "a", "name": "a"}], lambda _: torch.zeros(1, 4, 4), lambda pred: pred)
    evaluator.run()
    evaluator.finish()
    assert evaluator.num_volumes == 1
