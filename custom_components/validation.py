"""Validation while training: 3D Dice gathered slice by slice, without ever holding a volume of logits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from ignite.engine import Engine
from ignite.metrics import Metric
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor

from custom_components.domains import Domain, output_channels
from custom_components.engines import SliceTarget

__all__ = ["StackDice"]


class StackDice(Metric):
    """Mean 3D Dice of the validation cases on the network's own grid, before post-processing.

    Counts are added up over a case's slices, in any order and batches, so the result is the Dice of the stacked volume.
    A bone that is neither predicted nor present is not counted; a missed or invented one counts as 0. The value is the
    mean over domains of each domain's mean over cases and bones; `<name>_<domain>` holds those of each domain.

    Args:
        domains: all domains of the run.
        case_domains: domain index of each validation case.
        head: "domain" or "shared", as the network.
    """

    def __init__(self, *, domains: Sequence[Domain], case_domains: Sequence[int], head: str = "domain") -> None:
        self.domains = list(domains)
        self.case_domains = list(case_domains)
        self.channels = output_channels([domain.num_classes for domain in domains], head)
        super().__init__(output_transform=lambda output: (output[Keys.PRED][0], output[Keys.LABEL]))

    def reset(self) -> None:
        """Forget all counts."""
        most = max(domain.num_classes for domain in self.domains)
        self._counts = torch.zeros(len(self.case_domains), most, 2, dtype=torch.long)
        self._num_updates = 0

    def update(self, output: tuple[Tensor, SliceTarget]) -> None:
        """Count one batch, given its logits and its target."""
        logits, (label, _, cases) = output
        channel = logits.argmax(dim=1).cpu()
        label = label[:, 0].cpu().long()
        for case in cases.unique():
            domain = self.case_domains[int(case)]
            mine = cases == case
            for index, wanted in enumerate(self.channels[domain]):
                predicted, present = channel[mine] == wanted, label[mine] == index
                self._counts[case, index, 0] += (predicted & present).sum()
                self._counts[case, index, 1] += predicted.sum() + present.sum()
        self._num_updates += 1

    def compute(self) -> float:
        """Mean over domains; see the class."""
        return float(np.mean(list(self.per_domain().values())))

    def per_domain(self) -> dict[str, float]:
        """Mean over cases and bones of each domain that has a validation case."""
        scores: dict[str, float] = {}
        for index, domain in enumerate(self.domains):
            mine = torch.tensor([k == index for k in self.case_domains])
            shared, total = self._counts[mine, 1 : domain.num_classes].double().unbind(dim=-1)
            counted = total > 0
            if counted.any():
                scores[domain.name] = float((2 * shared[counted] / total[counted]).mean())
        return scores

    def completed(self, engine: Engine, name: str) -> None:
        """Publish the mean and each domain's own."""
        super().completed(engine, name)
        for domain, score in self.per_domain().items():
            engine.state.metrics[f"{name}_{domain}"] = score
