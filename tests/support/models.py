"""A small trained model."""

from __future__ import annotations

import torch
from custom_components.data.preprocessing import Preprocessing
from custom_components.domains import Domain
from custom_components.models.trained_model import TrainedModel
from custom_components.networks.unet import MultiDomainUNet

__all__ = ["DOMAINS", "make_model"]


def make_model(**settings: object) -> TrainedModel:
    torch.manual_seed(0)
    names = [domain.name for domain in DOMAINS]
    network = MultiDomainUNet([3, 2], widths=[2, 4], domain_names=names, **settings).train()
    for domain in range(2):  # statistics that are not those of a new network
        network(torch.randn(2, 1, 8, 8), torch.full((2,), domain))
    training = {"epoch": 3, "validation_dice": 0.9, "subjects": {"training": ["s1", "s2"]}}
    preprocessing = Preprocessing((16, 8), normalization="slice")
    return TrainedModel(DOMAINS, preprocessing, network.settings(), network.state_dict(), training)


DOMAINS = (Domain("ankle", {3: "talus", 1: "tibia"}, "sagittal", "MR T1"), Domain("shoulder", {2: "humerus"}, "axial"))
