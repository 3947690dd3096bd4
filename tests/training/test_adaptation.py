"""Adding a domain to a trained network: who trains, which weights are frozen, and refusals."""

from pathlib import Path

import pytest
import torch
from custom_components.data.cases import Case
from custom_components.data.manifests import Manifest
from custom_components.data.preprocessing import Preprocessing
from custom_components.data.splits import Split
from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.models.trained_model import TrainedModel
from custom_components.networks.unet import MultiDomainUNet
from custom_components.training.adaptation import VALIDATE_FROM, extend_network, join_domains, split_subjects
from hypothesis import given, settings
from hypothesis import strategies as st

KNEE = Domain("knee", {1: "femur", 2: "tibia", 3: "patella"}, "axial")
OWN = {"widths": [4, 8], "norm": "domain", "head": "domain"}


def network(**settings: object) -> MultiDomainUNet:
    torch.manual_seed(0)
    return MultiDomainUNet([4, 3], widths=[4, 8], domain_names=["ankle", "shoulder"], **settings)


def manifest(num_subjects: int, *, unlabelled: int = 0, domain: Domain = KNEE) -> Manifest:
    """Two cases a subject, the subjects called 0, 1, ...; the last ones without labels."""
    cases = [
        Case(f"{subject}{side}", domain.name, Path("i"), Path("l") if subject < num_subjects else None, str(subject))
        for subject in range(num_subjects + unlabelled)
        for side in "ab"
    ]
    return Manifest(domain, tuple(cases), "CC0-1.0", "made up", Path("knee.yaml"))


def subjects(split: Split) -> tuple[list[str], list[str], list[str]]:
    sides = (split.training, split.validation, split.testing)
    return tuple(list(dict.fromkeys(case.subject for case in side)) for side in sides)


def test_the_new_norms_start_as_copies_and_the_head_afresh() -> None:
    trained = network()
    for index, buffer in enumerate(trained.buffers()):
        if buffer.is_floating_point():
            buffer.copy_(torch.rand_like(buffer) + index)
    images, expected = torch.rand(2, 1, 16, 16), {}
    trained.eval()
    for domain in (0, 1):
        expected[domain] = trained(images, torch.full((2,), domain))
    (features, *_), _ = trained._features(images, [(1, 2)])
    grown = extend_network(trained, domain=KNEE, like="shoulder", settings=OWN)
    assert grown.domain_names == ["ankle", "shoulder", "knee"]
    assert grown.domain == 2
    assert torch.equal(grown._features(images, [(2, 2)])[0][0], features), "norms of the shoulder"
    assert grown(images).shape == (2, 4, 16, 16)
    for domain, logits in expected.items():
        assert torch.equal(grown(images, torch.full((2,), domain))[:, : logits.shape[1]], logits)


def test_without_a_name_the_norms_are_those_that_fit_the_labels() -> None:
    trained = network()
    with torch.no_grad():
        for norm in (module for name, module in trained.named_modules() if name.endswith("norms.0")):
            norm.weight.zero_()  # features that tell nothing apart
    image, label = torch.rand(1, 16, 16), torch.zeros(1, 16, 16, dtype=torch.uint8)
    label[:, 4:12, 4:12] = 1
    grown = extend_network(trained, domain=KNEE, data=[{"image": image + 3 * label, "label": label}])
    assert torch.equal(grown.encoder[0].state_dict()["norm1.norms.2.weight"], torch.ones(4))


@pytest.mark.parametrize("freeze", ["shared", "none"])
def test_what_requires_gradients(freeze: str) -> None:
    grown = extend_network(network(attention=True), domain=KNEE, freeze=freeze)
    free = {name for name, weight in grown.named_parameters() if weight.requires_grad}
    new = {name for name, _ in grown.named_parameters() if ".norms.2." in name or name.startswith("heads.2.")}
    old = {name for name, _ in grown.named_parameters() if ".norms." in name or name.startswith("heads.")} - new
    assert len(new) == 2 * sum(".norms.2.weight" in name for name in new) + 2
    everything = {name for name, _ in grown.named_parameters()}
    assert free == (new if freeze == "shared" else everything - old)


@pytest.mark.parametrize(
    ("given", "change", "message"),
    [
        ({"norm": "shared"}, {}, "norm of a model to adapt must be 'domain'.* got 'shared'; give a model"),
        ({"head": "shared"}, {}, "head of a model to adapt must be 'domain'.* got 'shared'"),
        ({}, {"like": "hip"}, "domain must be one of ankle, shoulder, got 'hip'"),
        ({}, {"freeze": "all"}, "freeze must be shared or none, got 'all'"),
        ({}, {"settings": {"widths": [8, 16]}}, r"widths must be the model's own \(\[4, 8\]\), got \[8, 16\]; leave"),
    ],
)
def test_networks_and_settings_that_do_not_fit(given: dict, change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        extend_network(network(**given), domain=KNEE, **change)


def test_a_folded_network_is_refused() -> None:
    folded = MultiDomainUNet([4], widths=[4, 8], norm="folded")
    with pytest.raises(InputError, match=r"norm of a model to adapt must be 'domain'.* got 'folded'"):
        extend_network(folded, domain=KNEE)


def test_the_new_domain_comes_last_and_must_be_new() -> None:
    ankle = Domain("ankle", {1: "talus"}, "axial")
    model = TrainedModel((ankle,), Preprocessing((16, 16)), {}, {}, {})
    assert join_domains(model, datasets=[manifest(1)]) == [ankle, KNEE]
    with pytest.raises(InputError, match=r"domain of knee.yaml must be new to the model \(ankle\), got ankle; rename"):
        join_domains(model, datasets=[manifest(1, domain=ankle)])
    with pytest.raises(InputError, match="manifests must be one, the new data set's, got 2; add one after the other"):
        join_domains(model, datasets=[manifest(1), manifest(1)])
    with pytest.raises(InputError, match="manifests must be one, the new data set's, got 2"):
        split_subjects([manifest(1), manifest(1)])


@given(num_subjects=st.integers(1, 12), unlabelled=st.integers(0, 2))
@settings(max_examples=30)
def test_all_labelled_subjects_are_learned_from(num_subjects: int, unlabelled: int) -> None:
    data = manifest(num_subjects, unlabelled=unlabelled)
    training, validation, testing = subjects(split_subjects([data]))
    assert training + validation == [str(subject) for subject in range(num_subjects)]
    assert len(validation) == (num_subjects >= VALIDATE_FROM)
    assert testing == []


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"train_subjects": 1}, ("0", "", "1234567")),
        ({"train_subjects": 6}, ("01234", "5", "67")),
        ({"train_subjects": [5, "2"]}, ("25", "", "013467")),
        ({"train_subjects": "7"}, ("7", "", "0123456")),
        ({"train_subjects": 2, "validation_subjects": [0]}, ("12", "0", "34567")),
        ({"validation_subjects": []}, ("01234567", "", "")),
        ({"validation_subjects": ["3", "4"]}, ("012567", "34", "")),
        ({"fold": 7, "train_subjects": 2}, ("12", "0", "7")),
        ({"fold": 0, "num_folds": 4}, ("2367", "15", "04")),
    ],
)
def test_subjects_are_chosen_by_number_by_name_or_by_fold(choice: dict, expected: tuple[str, str, str]) -> None:
    split = split_subjects([manifest(8)], **choice)
    assert subjects(split) == tuple(map(list, expected))
    assert len(split.training) == 2 * len(expected[0]), "all cases of a subject"


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"train_subjects": 4}, "train_subjects must be 1 to 3 for knee.yaml, got 4"),
        ({"train_subjects": 0}, "train_subjects must be 1 to 3 for knee.yaml, got 0"),
        ({"train_subjects": ["9"]}, "train_subjects must be labelled subjects of knee.yaml.* got 9; there are 0, 1, 2"),
        ({"validation_subjects": ["9"]}, "validation_subjects must be labelled subjects of knee.yaml.* got 9"),
        ({"train_subjects": ["1"], "validation_subjects": ["1"]}, "on one side, got 1; there are 0, 2"),
        ({"validation_subjects": ["0", "1", "2"]}, "labelled subjects to train on in knee.yaml must be one or more"),
        ({"fold": 3}, "fold must be a whole number from 0 to 2.*, got 3"),
        ({"fold": 0, "train_subjects": ["1"]}, "subjects of a fold must not be named"),
        ({"fold": 0, "validation_subjects": ["1"]}, "subjects of a fold must not be named"),
    ],
)
def test_subjects_that_cannot_be(choice: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        split_subjects([manifest(3, unlabelled=1)], **choice)


def test_a_data_set_without_labels_is_refused() -> None:
    with pytest.raises(InputError, match=r"labelled subjects to train on in knee.yaml must be one or more, got none"):
        split_subjects([manifest(0, unlabelled=2)])


def test_a_network_whose_bones_share_rows_gets_a_domain_with_rows_of_its_own() -> None:
    names = [["tibia", "talus", "calcaneus"], ["femur", "tibia"]]
    grown = extend_network(network(label_names=names), domain=KNEE, settings=OWN | {"label_names": names})
    assert grown.settings()["label_names"] == [*names, None]
    trained = [name for name, weight in grown.named_parameters() if weight.requires_grad]
    assert {"heads.2.weight", "heads.2.bias"} < set(trained)
    assert all(".norms.2." in name or name.startswith("heads.2.") for name in trained)
    with pytest.raises(InputError, match="label_names must be the model's own"):
        extend_network(network(label_names=names), domain=KNEE, settings=OWN | {"label_names": None})
