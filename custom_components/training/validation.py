"""3D Dice during training, counted slice by slice without holding a volume of logits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from custom_components.domains import Domain, output_channels
from custom_components.errors import InputError
from custom_components.training.batches import SliceTarget
from ignite.engine import Engine
from ignite.metrics import Metric
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor


class StackDice(Metric):
    """Mean 3D Dice of the validation cases on the network's own grid, before post-processing.

    Counts are added up over a case's slices, in any order and batches, so the result is the Dice of the stacked volume.
    A bone that is neither predicted nor present is not counted; a missed or invented one counts as 0. The value is the
    mean over domains of each domain's mean over cases and bones, NaN if there is nothing to count; `<name>_<domain>`
    holds those of each domain. `<name>_n` is the number of bones counted over all cases, `<name>_missed` and
    `<name>_false_finds` are the numbers of those missed and invented.

    Args:
        domains: of the network, in its order.
        case_domains: index of each validation case's domain.
        head: `domain` or `shared`, as for `MultiDomainUNet`.

    Raises:
        InputError: logits that are not finite; names the epoch and the case.
    """

    def __init__(self, *, domains: Sequence[Domain], case_domains: Sequence[int], head: str = "domain") -> None:
        self.domains = list(domains)
        self.case_domains = list(case_domains)
        self._epoch = 0
        self.channels = output_channels([domain.num_classes for domain in domains], head)
        super().__init__(output_transform=lambda output: (output[Keys.PRED][0], output[Keys.LABEL]))

    def reset(self) -> None:
        """Forget all counts."""
        most = max(domain.num_classes for domain in self.domains)
        # Voxels of each case and class: predicted and present, predicted, present.
        self._counts = torch.zeros(len(self.case_domains), most, 3, dtype=torch.long)

    def started(self, engine: Engine) -> None:
        """Start an epoch."""
        self._epoch = engine.state.epoch
        super().started(engine)

    def update(self, output: tuple[Tensor | list[Tensor], SliceTarget]) -> None:
        """Count one batch, given its logits and its target."""
        logits, (label, domains, cases) = output
        if not isinstance(logits, Tensor):  # a tensor for each domain, see `batches.collate_slices`
            for own, own_label, domain in zip(logits, label, sorted(set(domains.tolist())), strict=True):
                mine = domains == domain
                self.update((own, SliceTarget(own_label, domains[mine], cases[mine])))
            return
        assert isinstance(label, Tensor)
        finite = logits.isfinite().flatten(start_dim=1).all(dim=1).cpu()
        if not finite.all():
            case = int(cases[~finite][0])
            name = self.domains[self.case_domains[case]].name
            raise InputError(
                f"prediction for validation case {case} ({name}) must be finite, got NaN or infinity in epoch "
                f"{self._epoch}; lower learning_rate and begin anew in another output_dir"
            )
        channel = logits.argmax(dim=1).cpu()
        label = label[:, 0].cpu().long()
        for case in cases.unique():
            domain = self.case_domains[int(case)]
            mine = cases == case
            for index, wanted in enumerate(self.channels[domain]):
                predicted, present = channel[mine] == wanted, label[mine] == index
                counts = [(predicted & present).sum(), predicted.sum(), present.sum()]
                self._counts[case, index] += torch.stack(counts)

    def compute(self) -> float:
        """Mean over domains; see the class."""
        scores = self.per_domain().values()
        return math.fsum(scores) / len(scores) if scores else math.nan

    def per_domain(self) -> dict[str, float]:
        """Mean over cases and bones of each domain that has any to count."""
        scores: dict[str, float] = {}
        for index, domain in enumerate(self.domains):
            mine = torch.tensor([k == index for k in self.case_domains])
            shared, predicted, present = self._counts[mine, 1 : domain.num_classes].double().unbind(dim=-1)
            total = predicted + present
            counted = total > 0
            if counted.any():
                scores[domain.name] = float((2 * shared[counted] / total[counted]).mean())
        return scores

    def counts(self) -> dict[str, int]:
        """Number `n` of bones counted over all cases, and of those `missed` and of `false_finds`."""
        predicted, present = (self._counts[:, 1:, 1:] > 0).unbind(dim=-1)
        return {
            "n": int((predicted | present).sum()),
            "missed": int((present & ~predicted).sum()),
            "false_finds": int((predicted & ~present).sum()),
        }

    def completed(self, engine: Engine, name: str) -> None:
        """Publish the mean, its counts, and each domain's own mean."""
        super().completed(engine, name)
        # A domain that has a case has a value in every epoch, so that none is left over from an earlier one.
        tested = {self.domains[index].name: math.nan for index in self.case_domains}
        for key, value in (self.counts() | tested | self.per_domain()).items():
            engine.state.metrics[f"{name}_{key}"] = value
