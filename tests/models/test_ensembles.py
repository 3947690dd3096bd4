"""Ensembles: one order of their members, all that they have seen, and what must be the same."""

from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.models.checkpoints import build_network, save_checkpoint
from custom_components.models.ensembles import join_models, load_ensemble, weights_digest
from custom_components.models.seen import seen_by
from custom_components.models.trained_model import QUALITY, TrainedModel
from custom_components.quality.calibration import Calibration, DomainQuality
from support.models import make_model


def member(number: int, **changes: Any) -> TrainedModel:
    """A model of its own weights, trained on one person and validated on another."""
    model = make_model()
    generator = torch.Generator().manual_seed(number)
    weights = {
        name: each + 0.1 * torch.rand(each.shape, generator=generator) if each.is_floating_point() else each
        for name, each in model.weights.items()
    }
    people = [{"domain": "ankle", "case": f"c{place}", "subject": f"s{place}"} for place in (number, number + 1)]
    quality = DomainQuality(Calibration(-0.1, 1.0, 4, 2), {"talus": (3.0 + number, 9.0 + number)}, 4, 0.5 + number)
    training = {
        "epoch": number,
        "split": {"fold": number, "training": people[:1], "validation": people[1:]},
        QUALITY: {"ankle": quality.to_dict()},
    }
    return replace(model, weights=weights, training=training, digest=f"{number:064x}", **changes)


def test_members_are_in_one_order_whatever_the_order_given() -> None:
    joined = [join_models(order) for order in permutations([member(number) for number in range(3)])]
    digests = [[each.digest for each in model.members] for model in joined]
    assert digests[1:] == digests[:-1]
    assert len({model.digest for model in joined}) == 1
    assert [weights_digest(each) for each in joined[0].members] == sorted(map(weights_digest, joined[0].members))
    assert join_models([member(0)]).members == ()
    nested = join_models([join_models([member(0), member(1)]), member(2)])
    assert [each.digest for each in nested.members] == digests[0]


def test_an_ensemble_has_seen_everybody_that_a_member_has_and_states_their_records() -> None:
    model = join_models([member(0), member(1)])
    seen = seen_by(model.training)
    assert seen.complete
    assert seen.everybody == {("ankle", "s0"), ("ankle", "s1"), ("ankle", "s2")}
    assert seen.training == {("ankle", "s0"), ("ankle", "s1")}
    assert [each["sha256"] for each in model.training["members"]] == [each.digest for each in model.members]
    assert {each["split"]["fold"] for each in model.training["members"]} == {0, 1}
    unnamed = replace(member(2), training={})
    assert not seen_by(join_models([member(0), unnamed]).training).complete


def test_the_quality_of_an_ensemble_has_volumes_of_all_and_no_calibration() -> None:
    model = join_models([member(0), member(3)])
    known = model.quality("ankle")
    assert known is not None
    assert known.calibration is None
    assert known.volumes_ml == {"talus": (3.0, 12.0)}
    assert known.farthest == model.members[0].quality("ankle").farthest
    assert model.quality("shoulder") is None


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"domains": (Domain("hip", {1: "femur", 2: "sacrum"}, "axial"),) * 2}, "domains"),
        (
            {"domains": (Domain("ankle", {3: "tibia", 1: "talus"}, "sagittal"), make_model().domains[1])},
            "labels of ankle",
        ),
        (
            {"domains": (replace(make_model().domains[0], plane="axial"), make_model().domains[1])},
            "plane of ankle 'sagittal' in a.pt and 'axial' in b.pt",
        ),
        ({"preprocessing": replace(make_model().preprocessing, image_size=(8, 8))}, r"image_size \(16, 8\)"),
        ({"preprocessing": replace(make_model().preprocessing, normalization="volume")}, "normalization 'slice'"),
        ({"network": {**make_model().network, "head": "shared"}}, "head 'domain' in a.pt and 'shared' in b.pt"),
    ],
)
def test_members_that_differ_are_refused_in_one_line(changes: dict[str, Any], found: str) -> None:
    with pytest.raises(InputError, match=rf"members of an ensemble must .*got {found}.*; give models"):
        join_models([member(0), member(1, **changes)], names=["a.pt", "b.pt"])


def test_the_same_weights_twice_are_refused(tmp_path: Path) -> None:
    for name in ("a.pt", "b.pt"):
        save_checkpoint(tmp_path / name, member(0))
    with pytest.raises(InputError, match=r"must differ, got the same weights in .*a\.pt and .*b\.pt; drop one"):
        load_ensemble([tmp_path / "a.pt", tmp_path / "b.pt"])
    assert load_ensemble([tmp_path / "a.pt"]).members == load_ensemble(tmp_path / "a.pt").members == ()
    with pytest.raises(InputError, match="must be one file or several, got none"):
        load_ensemble([])


def test_a_step_that_takes_one_network_refuses_an_ensemble() -> None:
    with pytest.raises(InputError, match="must be one network here, got an ensemble of 2; give one member"):
        build_network(join_models([member(0), member(1)]))
