"""Losses of several domains: cross-entropy (eq. 2 of the paper), Dice, contrastive regularisation (eq. 3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from custom_components.distributed import gather_rows, num_ranks, sum_over_ranks, weigh_domains
from custom_components.domains import output_channels
from custom_components.errors import InputError
from torch import Tensor, nn

__all__ = [
    "MultiDomainCrossEntropyLoss",
    "MultiDomainDiceLoss",
    "MultiDomainSegmentationLoss",
    "SupervisedContrastiveLoss",
]

Slices = Tensor | Sequence[Tensor]
"""A batch: one tensor, or where domains have their own sizes one for each domain present, in ascending order."""

_DEEP_WEIGHT = 0.8
"""Of a resolution, relative to the finer one. nnU-Net has 0.5, but here the coarse ones must name bones."""


def _device_of(slices: Slices) -> str:
    return (slices if isinstance(slices, Tensor) else slices[0]).device.type


class _DomainLoss(nn.Module):
    """Base of losses that are computed for each domain by itself, in float32 whatever autocast says."""

    def __init__(self, num_classes: Sequence[int], *, head: str = "domain") -> None:
        super().__init__()
        self.channels = output_channels(num_classes, head)
        self.head = head
        self.num_channels = 1 + max(max(own) for own in self.channels)

    def _by_domain(self, logits: Slices, target: Slices, domains: Tensor) -> Iterator[tuple[int, Tensor, Tensor, int]]:
        """Index, logits, target and number of channels of each domain in the batch, in ascending order."""
        present = torch.unique(domains).tolist()
        for place, domain in enumerate(present):
            if not 0 <= domain < len(self.channels):
                raise ValueError(f"domain index must be 0..{len(self.channels) - 1}, got {domain}")
            if isinstance(logits, Tensor) and isinstance(target, Tensor):
                if not len(domains) == len(target) == len(logits):
                    raise ValueError(
                        f"domains and target must have an entry a sample ({len(logits)}), got {len(domains)}"
                    )
                # non_blocking, here and below: a copy to a GPU would otherwise wait for all that it has yet to do.
                mine = (domains == domain).nonzero()[:, 0].to(logits.device, non_blocking=True)
                own, own_target = logits.index_select(0, mine).float(), target.index_select(0, mine).long()
            else:
                if not len(present) == len(target) == len(logits):
                    raise ValueError(f"logits must have an entry a domain ({len(present)}), got {len(logits)}")
                own, own_target = logits[place].float(), target[place].long()
            if own_target.ndim == own.ndim:
                own_target = own_target[:, 0]
            count = self.num_channels
            if self.head == "shared":
                own_target = torch.tensor(self.channels[domain]).to(own.device, non_blocking=True)[own_target]
            else:
                count = len(self.channels[domain])
                own = own[:, :count]
            yield domain, own, own_target, count


class MultiDomainCrossEntropyLoss(_DomainLoss):
    """Mean over domains of each domain's mean cross-entropy divided by its number of classes.

    A domain with many pixels or images in the batch weighs no more than another: this is not the mean over the pooled
    pixels. Domains absent from the batch are left out of the mean. In a training over several processes it is their
    mean that is the loss of the global batch, and so are its gradients.

    Args:
        num_classes: classes of each domain, background included.
        head: "domain", or "shared" when the logits cover the union of all classes (then |C_k| is that union's size).
        weighting: "classes" divides by the number of classes, as eq. 2; "equal" does not, so that a domain does not
            weigh less for having more classes.

    Shape:
        logits (N, channels, H, W), target class indices (N, H, W) or (N, 1, H, W) counted within the sample's own
        domain, domains (N,) on the CPU. Where domains have slices of their own size, logits and target are one such
        tensor for each domain present, in ascending order. Returns a scalar.

    Source:
        Eq. 2 of Boutillon et al. 2021; its sum over pixels is read as a mean, which the equation leaves out.
    """

    def __init__(self, num_classes: Sequence[int], *, head: str = "domain", weighting: str = "classes") -> None:
        super().__init__(num_classes, head=head)
        if weighting not in ("classes", "equal"):
            raise InputError(f"domain_weighting must be 'classes' or 'equal', got {weighting!r}")
        self.weighting = weighting

    def forward(self, logits: Slices, target: Slices, domains: Tensor) -> Tensor:
        """See the class."""
        with torch.autocast(_device_of(logits), enabled=False):
            per_domain = []
            for _, own, own_target, count in self._by_domain(logits, target, domains):
                loss = nn.functional.cross_entropy(own, own_target)
                per_domain.append(loss / count if self.weighting == "classes" else loss)
            if num_ranks() == 1:
                return torch.stack(per_domain).mean()
            weights = weigh_domains(domains, len(self.channels))
            return (torch.stack(per_domain) * weights.to(per_domain[0].device, torch.float32)).sum()


class MultiDomainDiceLoss(_DomainLoss):
    """Mean over domains of one minus the mean soft Dice of each domain's foreground classes.

    A class is counted over all images of its domain in the batch (over all processes too), so a slice without it counts
    by its predictions only. With `smooth` in numerator and denominator, a class that is in none of
    the images costs nothing where it is not predicted, and up to 1 where it is. Domains absent from the batch are left
    out of the mean.

    Args:
        num_classes, head: as for `MultiDomainCrossEntropyLoss`.
        smooth: pixels.

    Shape:
        As for `MultiDomainCrossEntropyLoss`.

    Source:
        Milletari et al., 3DV 2016, with the sums of the first power; over a batch as nnU-Net (Isensee et al. 2021).

    Example:
        >>> loss = MultiDomainDiceLoss([2], smooth=0.0)
        >>> logits = torch.tensor([[0.0, 0.0], [0.0, 1000.0]]).view(1, 2, 1, 2)  # p of the bone: 1/2 and 1
        >>> round(float(loss(logits, torch.tensor([[[0, 1]]]), torch.tensor([0]))), 4)  # 1 - 2 * 1 / (1.5 + 1)
        0.2
    """

    def __init__(self, num_classes: Sequence[int], *, head: str = "domain", smooth: float = 1.0) -> None:
        super().__init__(num_classes, head=head)
        self.smooth = smooth

    def forward(self, logits: Slices, target: Slices, domains: Tensor) -> Tensor:
        """See the class."""
        with torch.autocast(device := _device_of(logits), enabled=False):
            # Of each domain and channel: true positives, predicted and present pixels.
            parts: dict[int, Tensor] = {}
            for domain, own, own_target, _ in self._by_domain(logits, target, domains):
                probability, flat = own.softmax(dim=1), own_target.flatten()
                size = probability.shape[1]
                right = probability.gather(1, own_target[:, None]).flatten()
                found = torch.zeros(size, device=own.device).index_add(0, flat, right)
                present = torch.bincount(flat, minlength=size)
                counts = torch.stack([found, probability.sum(dim=(0, 2, 3)), present.float()], dim=1)
                parts[domain] = nn.functional.pad(counts, [0, 0, 0, self.num_channels - size])
            empty = torch.zeros(self.num_channels, 3, device=device)
            sums = sum_over_ranks(torch.stack([parts.get(k, empty) for k in range(len(self.channels))]))
            losses = []
            for own_channels, counts in zip(self.channels, sums, strict=True):
                found, predicted, present = counts[own_channels[1:]].unbind(dim=1)
                dice = (2 * found + self.smooth) / (predicted + present + self.smooth).clamp(min=1e-6)
                losses.append(1 - dice.mean())
            seen = (sums[:, :, 2].detach().sum(dim=1) > 0).float()
            return (torch.stack(losses) * seen).sum() / seen.sum()


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
    """Cross-entropy, plus `dice_weight` times Dice, plus `contrastive_weight` (lambda) times the contrastive term.

    A weight of 0 leaves its term out. With deep supervision, cross-entropy and Dice are weighted means over the
    network's resolutions, each 0.8 times the weight of the finer one; labels are resized by nearest neighbour. With
    embeddings of several scales the contrastive term is their mean.

    Args:
        num_classes, head: as for `MultiDomainCrossEntropyLoss`.
        temperature: of the contrastive term.
        contrastive_weight: lambda of the paper.
        dice_weight: 0 for the paper's loss.
        domain_weighting: of the cross-entropy, see `MultiDomainCrossEntropyLoss`; Dice weighs domains equally.

    Shape:
        prediction is `(logits, embeddings)` or `(logits, embeddings, deep)` of `networks.EmbeddingForward`: embeddings
        (N, F), or a list of such of several scales, and deep a list of logits of lower resolutions, the finest first.
        target is `(label, domains)`, of which more may follow (`training.SliceTarget`).

    After each call `terms` holds the detached parts, for logging. In a training over several processes the contrastive
    term is that of the global batch in each of them, and the mean of the other terms is that of the global batch.

    Source:
        Boutillon et al. 2021, end of section 2.2: L = L_CE + lambda L_Contrastive. Boutillon et al., arXiv 2207.13502,
        for several scales; Lee et al., AISTATS 2015, for deep supervision.
    """

    def __init__(
        self,
        num_classes: Sequence[int],
        *,
        head: str = "domain",
        temperature: float = 0.1,
        contrastive_weight: float = 0.1,
        dice_weight: float = 0.0,
        domain_weighting: str = "classes",
    ) -> None:
        super().__init__()
        for name, weight in (("contrastive_weight", contrastive_weight), ("dice_weight", dice_weight)):
            if not weight >= 0:
                raise InputError(f"{name} must be 0 or more, got {weight}")
        self.cross_entropy = MultiDomainCrossEntropyLoss(num_classes, head=head, weighting=domain_weighting)
        self.dice = MultiDomainDiceLoss(num_classes, head=head)
        self.contrastive = SupervisedContrastiveLoss(temperature=temperature)
        self.contrastive_weight = contrastive_weight
        self.dice_weight = dice_weight
        self.terms: dict[str, Tensor] = {}

    def forward(self, prediction: Sequence[Any], target: Sequence[Any]) -> Tensor:
        """See the class."""
        (logits, embeddings, *rest), (label, domains, *_) = prediction, target
        resolutions = [(logits, label), *((each, _resize(label, like=each)) for each in (rest[0] if rest else []))]
        self.terms = {"cross_entropy": _over_resolutions(self.cross_entropy, resolutions, domains)}
        loss = self.terms["cross_entropy"]
        if self.dice_weight > 0:
            self.terms["dice"] = _over_resolutions(self.dice, resolutions, domains)
            loss = loss + self.dice_weight * self.terms["dice"]
        if self.contrastive_weight > 0:
            scales = [embeddings] if isinstance(embeddings, Tensor) else embeddings
            everywhere = gather_rows(domains)
            each = [self.contrastive(gather_rows(scale.float()), everywhere) for scale in scales]
            self.terms["contrastive"] = each[0] if len(each) == 1 else torch.stack(each).mean()
            loss = loss + self.contrastive_weight * self.terms["contrastive"]
        self.terms = {name: term.detach() for name, term in self.terms.items()}
        return loss


def _over_resolutions(loss: _DomainLoss, resolutions: Sequence[tuple[Slices, Slices]], domains: Tensor) -> Tensor:
    """Weighted mean of a loss over pairs of logits and labels, the finest first."""
    if len(resolutions) == 1:
        return loss(*resolutions[0], domains)
    weights = [_DEEP_WEIGHT**level for level in range(len(resolutions))]
    terms = [weight * loss(*each, domains) for weight, each in zip(weights, resolutions, strict=True)]
    return torch.stack(terms).sum() / sum(weights)


def _resize(label: Slices, *, like: Slices) -> Slices:
    if not isinstance(label, Tensor):
        return [cast(Tensor, _resize(own, like=other)) for own, other in zip(label, like, strict=True)]
    label = label if label.ndim == 4 else label[:, None]
    return nn.functional.interpolate(label.float(), cast(Tensor, like).shape[2:], mode="nearest-exact")
