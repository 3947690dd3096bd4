"""Weights that a network takes from the model that it starts from, and weights that stay."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from custom_components.data.cases import Case
from custom_components.data.splits import Split
from custom_components.errors import InputError
from custom_components.models.checkpoints import load_model, save_checkpoint
from custom_components.models.seen import Seen, seen_by
from custom_components.models.single_domain import fold_domain
from custom_components.models.starting import FRESH_SHARE, start_network
from custom_components.models.trained_model import TrainedModel
from custom_components.networks.unet import MultiDomainUNet
from custom_components.training.runs import TrainingRun
from support.models import make_model

FIRST = "encoder.0.conv1.weight"


def make_network(**settings: object) -> MultiDomainUNet:
    torch.manual_seed(1)
    return MultiDomainUNet([2, 3, 4], **{"widths": [2, 4], **settings})


def start(network: MultiDomainUNet, model: TrainedModel, folder: Path, **options: object) -> dict:
    """Start from the model by way of a file."""
    save_checkpoint(folder / "model.pt", model)
    return start_network(network, folder / "model.pt", **options)


def trained(**settings: object) -> TrainedModel:
    """A model of two domains with random weights and statistics everywhere."""
    network = MultiDomainUNet([3, 2], domain_names=["ankle", "shoulder"], **{"widths": [2, 4], **settings})
    numbers = torch.Generator().manual_seed(2)
    weights = {
        name: torch.randn(tensor.shape, generator=numbers) if tensor.is_floating_point() else tensor + 5
        for name, tensor in network.state_dict().items()
    }
    return replace(make_model(), network=network.settings(), weights=weights)


@pytest.mark.parametrize("norm", ["domain", "shared"])
@pytest.mark.parametrize("head", ["domain", "shared"])
def test_convolutions_and_norms_are_copied_and_output_layers_are_not(tmp_path: Path, norm: str, head: str) -> None:
    kind = {"norm": norm, "head": head}
    network, model = (
        make(widths=[2, 4, 8], deep_supervision=1, **own) for make, own in ((make_network, kind), (trained, {}))
    )
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    random = torch.get_rng_state()
    start(network, model, tmp_path)
    assert torch.equal(random, torch.get_rng_state()), "later random numbers are those of any other start"
    seen = set()
    for name, tensor in network.state_dict().items():
        if name.startswith(("heads", "deep_heads")):
            assert torch.equal(tensor, before[name]), name
            seen.add("head")
        elif ".norms." in name:
            prefix, _, rest = name.partition(".norms.")
            assert torch.equal(tensor, model.weights[f"{prefix}.norms.0.{rest.partition('.')[2]}"]), name
            seen.add(rest)
        else:
            assert torch.equal(tensor, model.weights[name]), name
            seen.add("convolution")
    number = 3 if norm == "domain" else 1
    parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    assert seen == {"head", "convolution"} | {f"{domain}.{part}" for domain in range(number) for part in parts}


def test_gates_that_the_model_lacks_stay_random(tmp_path: Path) -> None:
    network, model = make_network(attention=True), trained()
    before = network.gates[0].phi.weight.clone()
    start(network, model, tmp_path)
    assert torch.equal(network.gates[0].phi.weight, before)
    other = trained(attention=True)
    start(network, other, tmp_path)
    assert torch.equal(network.gates[0].phi.weight, other.weights["gates.0.phi.weight"])


@pytest.mark.parametrize(
    ("channels", "own", "taken", "fresh", "coordinates"),
    [
        (1, 3, {1: [0]}, [0, 2], {}),
        (1, 5, {2: [0]}, [0, 1, 3, 4], {}),
        (3, 1, {0: [0, 1, 2]}, [], {}),
        (3, 5, {2: [0, 1, 2]}, [0, 1, 3, 4], {}),
        (1, 6, {1: [0]}, [0, 2, 3, 4, 5], {}),
        (4, 6, {1: [0]}, [0, 2], {3: 1, 4: 2, 5: 3}),
        (4, 1, {0: [0]}, [], {}),
    ],
)
def test_the_middle_slice_gets_the_weights_of_the_model_s_slices(
    tmp_path: Path, channels: int, own: int, taken: dict, fresh: list[int], coordinates: dict
) -> None:
    network, model = make_network(in_channels=own), trained(in_channels=channels)
    before = dict(network.named_parameters())[FIRST].detach().clone()
    start(network, model, tmp_path)
    after, given = network.state_dict()[FIRST], model.weights[FIRST]
    for channel, sources in taken.items():
        torch.testing.assert_close(after[:, channel], sum(given[:, source] for source in sources))
    for channel in fresh:
        assert torch.equal(after[:, channel], FRESH_SHARE * before[:, channel])
    for channel, source in coordinates.items():
        assert torch.equal(after[:, channel], given[:, source])
    assert torch.equal(network.state_dict()["encoder.0.conv1.bias"], model.weights["encoder.0.conv1.bias"])


def test_equal_neighbours_keep_the_features_of_the_first_convolution(tmp_path: Path) -> None:
    network, model = make_network(in_channels=1), trained(in_channels=3)
    start(network, model, tmp_path)
    image = torch.randn(1, 1, 8, 8)
    expected = torch.nn.functional.conv2d(
        image.expand(1, 3, 8, 8), model.weights[FIRST], model.weights["encoder.0.conv1.bias"], padding=1
    )
    torch.testing.assert_close(network.encoder[0].conv1(image), expected)


def test_models_that_do_not_suit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"widths must be those of .* start_from, \[2, 4\], got \[4, 8\]; set widths"):
        start(make_network(widths=[4, 8]), trained(), tmp_path)
    with pytest.raises(InputError, match="start_from must be a model with norms"):
        start(make_network(), fold_domain(make_model(), "ankle"), tmp_path)
    with pytest.raises(InputError, match="must be a file, got none"):
        start_network(make_network(), tmp_path / "nothing.pt")


@pytest.mark.parametrize(("side", "refused"), [("training", "vt"), ("validation", "t"), ("testing", "")])
def test_who_is_held_out_must_be_unknown_to_the_model(tmp_path: Path, side: str, refused: str) -> None:
    cases = {name: Case(name, "ankle", Path(f"{name}.nii"), Path(f"{name}_seg.nii"), f"of {name}") for name in "lvt"}
    split = Split((cases["l"],), (cases["v"],), (cases["t"],), fold=0, num_folds=3)
    for name in "lvt":
        row = {"domain": "ankle", "case": "another", "subject": f"of {name}"}
        model = replace(trained(), training={"split": {side: [row]}})
        if name in refused:
            with pytest.raises(InputError, match=f"knows 1 of them, ankle of {name} first"):
                start(make_network(), model, tmp_path, split=split)
        else:
            start(make_network(), model, tmp_path, split=split)
    start(make_network(), replace(model, training={"split": {side: [row | {"domain": "knee"}]}}), tmp_path, split=split)


SHAPES = {"domain": "shapes", "licence": "CC0-1.0", "source": "generated"}
KNEE = {"domain": "knee", "licence": "CC-BY-4.0", "source": "a hospital"}
ANKLE = {"domain": "ankle", "licence": "CC0-1.0", "source": "a phantom"}
SHOULDER = {"domain": "shoulder", "licence": "not recorded", "source": "not recorded"}


def test_the_record_names_the_model_and_all_data_behind_it(tmp_path: Path) -> None:
    training = {
        "data": [ANKLE],
        "packaged_data": [{**ANKLE, "training": 3, "validation": 1}],
        "start": {"digest": "0", "data": [SHAPES]},
        "started_from": {"digest": "1", "training": {"data": [KNEE], "start": {"data": [SHAPES]}}},
    }
    record = start(make_network(), replace(trained(), training=training), tmp_path)
    assert record["digest"] == load_model(tmp_path / "model.pt").digest
    assert record["data"] == [ANKLE, SHAPES, KNEE, SHOULDER]


def test_the_record_travels_with_the_run_and_names_who_was_seen(tmp_path: Path) -> None:
    network = make_network()
    split = {"training": [{"domain": "ankle", "case": "a1", "subject": "Ann"}], "validation": []}
    record = start(network, replace(trained(), training={"data": [ANKLE, SHOULDER], "split": split}), tmp_path)
    run = TrainingRun(
        tmp_path / "run",
        domains=[],
        split=Split((), (), (), fold=0, num_folds=1),
        network=network,
        preprocessing=make_model().preprocessing,
        start_record=record,
    )
    run.start()
    run.end()
    seen = record.pop("seen")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["start"] == record
    model = run.model(epoch=1, validation_dice=None)
    assert (model.training["start"], model.training["seen"]) == (record, seen)
    assert seen_by(model.training) == Seen(frozenset({("ankle", "Ann")}))
    run.started_from = make_model()
    with pytest.raises(InputError, match="start_from must be null where a model is adapted"):
        run.start()


def test_a_run_that_is_continued_loads_nothing_and_asks_for_the_same_model(tmp_path: Path) -> None:
    network = make_network()
    record = start(network, trained(), tmp_path)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert start_network(network, tmp_path / "model.pt", resume=True) == {"digest": record["digest"]}
    assert start_network(network, tmp_path / "moved away.pt", resume=True) is None
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_nothing_happens_without_a_start(tmp_path: Path) -> None:
    network = make_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert start_network(network, None) is None
    assert start_network(network, None, resume=True) is None
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
