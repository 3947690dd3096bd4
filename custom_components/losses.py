"""The paper's loss: multi-domain cross-entropy (eq. 2) plus supervised contrastive regularisation (eq. 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from custom_components.distributed import gather_rows, num_ranks, weigh_domains
from custom_components.domains import output_channels
from custom_components.errors import InputError
from torch import Tensor, nn

__all__ = ["MultiDomainCrossEntropyLoss", "MultiDomainSegmentationLoss", "SupervisedContrastiveLoss"]


class MultiDomainCrossEntropyLoss(nn.Module):
    """Mean over domains of each domain's mean cross-entropy divided by its number of classes.

    A domain with many pixels or images in the batch weighs no more than another: this is not the mean over the pooled
    pixels. Domains absent from the batch are left out of the mean. Computed in float32 whatever autocast says. In a
    training over several processes it is their mean that is the loss of the global batch, and so are its gradients.

    Args:
        num_classes: classes of each domain, background included.
        head: "domain", or "shared" when the logits cover the union of all classes (then |C_k| is that union's size).

    Shape:
        logits (N, channels, H, W), target class indices (N, H, W) or (N, 1, H, W) counted within the sample's own
        domain, domains (N,) on the CPU. Returns a scalar.

    Source:
        Eq. 2 of Boutillon et al. 2021; its sum over pixels is read as a mean, which the equation leaves out.
    """

    def __init__(self, num_classes: Sequence[int], *, head: str = "domain") -> None:
        super().__init__()
        self.channels = output_channels(num_classes, head)
        self.head = head
        self.num_channels = 1 + max(max(own) for own in self.channels)

    def forward(self, logits: Tensor, target: Tensor, domains: Tensor) -> Tensor:
        """See the class."""
        if not len(domains) == len(target) == len(logits):
            raise ValueError(f"domains and target must have one entry a sample ({len(logits)}), got {len(domains)}")
        if target.ndim == logits.ndim:
            target = target[:, 0]
        per_domain = []
        with torch.autocast(logits.device.type, enabled=False):
            for domain in torch.unique(domains).tolist():
                if not 0 <= domain < len(self.channels):
                    raise ValueError(f"domain index must be 0..{len(self.channels) - 1}, got {domain}")
                # non_blocking, here and below: a copy to a GPU would otherwise wait for all that it has yet to do.
                mine = (domains == domain).nonzero()[:, 0].to(logits.device, non_blocking=True)
                own, own_target = logits.index_select(0, mine).float(), target.index_select(0, mine).long()
                if self.head == "shared":
                    own_target = torch.tensor(self.channels[domain]).to(logits.device, non_blocking=True)[own_target]
                    count = self.num_channels
                else:
                    count = len(self.channels[domain])
                    own = own[:, :count]
                per_domain.append(nn.functional.cross_entropy(own, own_target) / count)
            if num_ranks() == 1:
                return torch.stack(per_domain).mean()
            weights = weigh_domains(domains, len(self.channels))
            return (torch.stack(per_domain) * weights.to(logits.device, torch.float32)).sum()


class SupervisedContrastiveLoss(nn.Module):
    """Pull embeddings of one domain together and push domains apart.

    Cosine similarity, self excluded from the denominator, no projection head, no rescaling by the temperature, which is
    tau of eq. 3. An anchor without a positive is left out of the mean; a batch without any positive gives 0. Computed
    in float32.

    Shape:
        embeddings (N, F), domains (N,). Returns a scalar.

    Source:
        Eq. 3 of Boutillon et al. 2021 after Khosla et al. 2020 (their L_out).

    Example:
        >>> loss = SupervisedContrastiveLoss(temperature=0.1)
        >>> f"{loss(torch.ones(32, 8), torch.arange(32) % 2):.4f}"  # all identical: ln 31
        '3.4340'
    """

    def __init__(self, *, temperature: float = 0.1) -> None:
        super().__init__()
        if not temperature > 0:
            raise InputError(f"temperature must be positive, got {temperature}")
        self.temperature = temperature

    def forward(self, embeddings: Tensor, domains: Tensor) -> Tensor:
        """See the class."""
        with torch.autocast(embeddings.device.type, enabled=False):
            unit = nn.functional.normalize(embeddings.float(), dim=1)
            similarity = unit @ unit.T / self.temperature
            similarity = similarity - similarity.detach().amax(dim=1, keepdim=True)
            itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
            domains = domains.to(unit.device, non_blocking=True)
            positive = (domains[:, None] == domains[None, :]) & ~itself
            log_probability = similarity - similarity.masked_fill(itself, float("-inf")).logsumexp(dim=1, keepdim=True)
            num_positives = positive.sum(dim=1)
            # where(), not a product: the lone sample of a batch has an infinite log-probability of itself.
            zero = log_probability.new_zeros(())
            per_anchor = torch.where(positive, log_probability, zero).sum(dim=1) / num_positives.clamp(min=1)
            return -per_anchor.sum() / (num_positives > 0).sum().clamp(min=1)


class MultiDomainSegmentationLoss(nn.Module):
    """Cross-entropy plus `contrastive_weight` (lambda; 0 leaves the term out) times the contrastive term.

    Shape:
        prediction is `(logits, embeddings)` of `networks.EmbeddingForward`, target is `(label, domains)`,
        of which more may follow (`engines.SliceTarget`).

    After each call `terms` holds the detached parts, for logging. In a training over several processes the contrastive
    term is that of the global batch in each of them, and the mean of the cross-entropies is that of the global batch.

    Source:
        Boutillon et al. 2021, end of section 2.2: L = L_CE + lambda L_Contrastive.
    """

    def __init__(
        self,
        num_classes: Sequence[int],
        *,
        head: str = "domain",
        temperature: float = 0.1,
        contrastive_weight: float = 0.1,
    ) -> None:
        super().__init__()
        if not contrastive_weight >= 0:
            raise InputError(f"contrastive_weight must be 0 or more, got {contrastive_weight}")
        self.cross_entropy = MultiDomainCrossEntropyLoss(num_classes, head=head)
        self.contrastive = SupervisedContrastiveLoss(temperature=temperature)
        self.contrastive_weight = contrastive_weight
        self.terms: dict[str, Tensor] = {}

    def forward(self, prediction: tuple[Tensor, Tensor], target: Sequence[Tensor]) -> Tensor:
        """See the class."""
        (logits, embeddings), (label, domains, *_) = prediction, target
        loss = self.cross_entropy(logits, label, domains)
        self.terms = {"cross_entropy": loss.detach()}
        if self.contrastive_weight > 0:
            contrastive = self.contrastive(gather_rows(embeddings.float()), gather_rows(domains))
            self.terms["contrastive"] = contrastive.detach()
            loss = loss + self.contrastive_weight * contrastive
        return loss
