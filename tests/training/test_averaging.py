"""The moving average of weights, against the recursion computed here."""

from pathlib import Path

import pytest
import torch
from custom_components.errors import InputError
from custom_components.models.checkpoints import load_checkpoint, load_model
from custom_components.networks import EmbeddingForward, MultiDomainUNet
from custom_components.training.averaging import average_weights
from support.bundles import SMALL, Run

from multijoint.phantoms import write_phantoms


def make_network() -> MultiDomainUNet:
    torch.manual_seed(0)
    return MultiDomainUNet([2, 3], widths=[2, 4])


def step(network: MultiDomainUNet, number: int) -> None:
    """New weights, running statistics and, of the first domain, number of batches."""
    generator = torch.Generator().manual_seed(number)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and name != "heads.1.bias":
            tensor.copy_(torch.rand(tensor.shape, generator=generator))
        elif "norms.0" in name:
            tensor.add_(1)


@pytest.mark.parametrize("decay", [0.2, 0.999])
def test_average_is_the_recursion_with_a_decay_that_grows(decay: float) -> None:
    network = make_network()
    average = average_weights(EmbeddingForward(network), decay=decay)
    assert average is not None
    expected = dict[str, torch.Tensor]()
    for number in range(6):
        step(network, number)
        average.update_parameters(network)
        for name, tensor in network.state_dict().items():
            if number == 0 or not tensor.is_floating_point():
                expected[name] = tensor.double()
            else:
                own = min(decay, (1 + number) / (10 + number))  # 2/11, 3/12, 4/13, ...
                expected[name] = own * expected[name] + (1 - own) * tensor.double()
    found = average.weights()
    assert found.keys() == network.state_dict().keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-5, atol=1e-6)
    assert found["bottleneck.norm1.norms.0.num_batches_tracked"] == 6
    assert torch.equal(found["heads.1.bias"], network.heads[1].bias)  # never changed, so the same to the last bit


def test_average_is_a_network_of_its_own_and_answers_as_one() -> None:
    network = make_network()
    average = average_weights(EmbeddingForward(network), decay=0.9)
    assert average is not None
    images, domains = torch.rand(2, 1, 8, 8), torch.tensor([0, 1])
    before = [part.clone() for part in average.eval()(images, domains)]
    step(network, 0)
    assert all(map(torch.equal, average(images, domains), before))
    average.update_parameters(network)
    assert all(map(torch.equal, average(images, domains), network.eval().forward_with_embedding(images, domains)))


def test_average_goes_on_from_its_state_to_the_same_bits() -> None:
    network = make_network()
    first, second = (average_weights(EmbeddingForward(network), decay=0.99) for _ in range(2))
    assert first is not None
    assert second is not None
    for number in range(6):
        step(network, number)
        first.update_parameters(network)
        if number == 2:
            second.load_state_dict({name: tensor.clone() for name, tensor in first.state_dict().items()})
        if number > 2:
            second.update_parameters(network)
    assert all(torch.equal(tensor, second.weights()[name]) for name, tensor in first.weights().items())


def test_no_decay_is_no_average_and_one_outside_is_refused() -> None:
    assert average_weights(EmbeddingForward(make_network()), decay=0) is None
    for decay in (-0.1, 1.0):
        with pytest.raises(InputError, match=r"weight_averaging must be 0 \(none\) or less than 1, got"):
            average_weights(EmbeddingForward(make_network()), decay=decay)


def test_a_training_validates_and_keeps_the_average_and_trains_as_without(
    manifests: dict[str, str], trained: Path, run_bundle: Run, tmp_path: Path
) -> None:
    settings = {**SMALL, "manifests": list(manifests.values()), "device": "cpu", "tensorboard": False}
    run = run_bundle("multijoint", ["train.yaml"], output_dir=str(tmp_path), weight_averaging=0.5, **settings)
    average = run.parser.get_parsed_content("average")
    assert run.parser.get_parsed_content("validate::evaluator").network is average
    model, last, without = (
        load_checkpoint(path)["model"] for path in (tmp_path / "model.pt", tmp_path / "last.pt", trained / "last.pt")
    )
    assert all(torch.equal(tensor, model[name]) for name, tensor in average.weights().items())
    assert not torch.equal(model["encoder.0.conv1.weight"], last["encoder.0.conv1.weight"])
    assert all(torch.equal(tensor, last[name]) for name, tensor in without.items())


def test_adapting_by_all_parts_of_the_recipe_leaves_the_other_domains_to_the_last_bit(
    trained: Path, run_bundle: Run, tmp_path: Path
) -> None:
    (knee,) = write_phantoms(tmp_path / "knees", domains=["knee"], num_cases=2, seed=0, size=40)
    recipe = {"weight_averaging": 0.9, "schedule": "cosine", "warmup": 0.2, "choose_by": 2, "reestimate_norms": True}
    run_bundle(
        "multijoint",
        ["train.yaml", "adapt.yaml"],
        base=str(trained / "model.pt"),
        manifests=[str(knee)],
        output_dir=str(tmp_path / "run"),
        **{"max_epochs": 2, "min_batches": 3, "batch_size": 8, "device": "cpu", "tensorboard": False},
        **recipe,
    )
    before, after = (load_model(path / "model.pt") for path in (trained, tmp_path / "run"))
    assert all(torch.equal(weight, after.weights[name]) for name, weight in before.weights.items())
    assert [domain.name for domain in after.domains] == ["ankle", "shoulder", "knee"]
