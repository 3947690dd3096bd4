"""The U-Net of the paper: shared convolutions, with norm and head either shared or one for each domain."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import torch
from custom_components.domains import output_channels
from custom_components.errors import InputError
from custom_components.networks.arguments import check_arguments, check_parts
from custom_components.networks.blocks import AttentionGate, ConvBlock, FirstBlock, OpenGate, add_first
from custom_components.networks.heads import make_head, make_heads
from custom_components.networks.norms import DomainSpecificBatchNorm2d, group_by_domain
from torch import Tensor, nn


class MultiDomainUNet(nn.Module):
    """One 2D U-Net for K domains, each with its own label set.

    The same definition serves the paper's three schemes: *base* (one domain), *joint* (`norm="shared"`,
    `head="shared"`: one output layer over the union of all classes) and *DSL* (the default).

    Called with one tensor it answers for one domain, the `domain` attribute: that is what bundles, exporters and
    `monai.inferers.SliceInferer` need. Called with a domain index for each sample it takes mixed batches.

    Args:
        num_classes: classes of each domain, background included, e.g. `[4, 3]`.
        in_channels: channels of the slices; or one number a domain, then each has its own first convolution.
        widths: feature maps at each resolution, finest first; the last is the size of the embedding.
        norm: "domain" or "shared" batch norm; "folded" has none, for one domain whose norms have been multiplied into
            the convolutions (see `folding`).
        head: "domain" or "shared" 1x1 output layer.
        attention: gate the skips (Attention U-Net).
        embedding: where the embedding is taken: "bottleneck" (the paper's form: after the last norm and ReLU) or
            "convolution" (the last bottleneck convolution, before the domain's own affine weights could label it).
        embedding_scales: resolutions that the embedding is taken from, the bottleneck first, then the encoder's blocks
            from coarse to fine; 1 is the paper's.
        deep_supervision: resolutions below the finest that have their own output layers in training; 0 for none.
        label_names: names of each domain's bones, in class order, to let heads share a row of weights for bones of
            one name; None, for all or for one of them, shares nothing. The background stays each domain's own.
        foreground_prior: probability that each bone starts with, through the bias of the output layer; see `Note`.
        domain_names: names of the domains, so that `domain` may be one of them.
        domain: index or name of the domain answered for when none is given.

    Shape:
        Input (N, in_channels, H, W), H and W multiples of `size_factor` (16 for five widths). Output
        (N, channels, H, W): the domain's own classes, or the union with a shared head. In a mixed batch the
        channels that a domain does not have hold -30,000, a probability of 0.

    Note:
        Bones fill about 1 % of a slice. An output layer that starts even-handed spends its first hundreds of steps
        learning just that: Adam moves a weight by at most the learning rate a step, and few weights reach a logit. The
        bias states it from the start; all other weights are random, as in the paper.

    Source:
        Boutillon et al. 2021, sections 2.1 and 3.2 and fig. 2; Ronneberger 2015; Oktay 2018 for the gates; Lin et al.,
        ICCV 2017, section 4.1 for the prior.

    Example:
        >>> network = MultiDomainUNet([4, 3], widths=[8, 16], domain_names=["ankle", "shoulder"], domain="shoulder")
        >>> network(torch.rand(2, 1, 32, 32)).shape
        torch.Size([2, 3, 32, 32])
        >>> network(torch.rand(2, 1, 32, 32), torch.tensor([1, 0])).shape
        torch.Size([2, 4, 32, 32])
    """

    def __init__(
        self,
        num_classes: Sequence[int],
        *,
        in_channels: int | Sequence[int] = 1,
        widths: Sequence[int] = (32, 64, 128, 256, 512),
        norm: str = "domain",
        head: str = "domain",
        attention: bool = False,
        embedding: str = "bottleneck",
        embedding_scales: int = 1,
        deep_supervision: int = 0,
        label_names: Sequence[Sequence[str] | None] | None = None,
        foreground_prior: float = 0.01,
        domain_names: Sequence[str] | None = None,
        domain: int | str = 0,
    ) -> None:
        super().__init__()
        check_arguments(num_classes, widths, norm, embedding, in_channels)
        check_parts(num_classes, widths, head, embedding_scales, deep_supervision, label_names)
        if not 0 < foreground_prior < 1:
            raise InputError(f"foreground_prior must be a probability between 0 and 1, got {foreground_prior}")
        names = [str(index) for index in range(len(num_classes))] if domain_names is None else list(domain_names)
        if len(names) != len(num_classes) or len(set(names)) != len(names):
            raise InputError(f"domain_names must be {len(num_classes)} different names, got {names}")

        self.num_classes = [int(count) for count in num_classes]
        self.domain_names = names
        self.head = head
        self.shared_norm = norm != "domain"
        self.embedding = embedding
        self.embedding_scales = int(embedding_scales)
        self.deep_supervision = int(deep_supervision)
        self.foreground_prior = float(foreground_prior)
        self.size_factor = 2 ** (len(widths) - 1)
        self._settings = {
            "in_channels": in_channels if isinstance(in_channels, int) else [int(count) for count in in_channels],
            "widths": [int(width) for width in widths],
            "norm": norm,
            "attention": bool(attention),
        }

        num_norms = {"domain": len(self.num_classes), "shared": 1, "folded": 0}[norm]
        self.encoder = nn.ModuleList(
            ConvBlock(source, width, num_norms) if isinstance(source, int) else FirstBlock(source, width, num_norms)
            for source, width in zip([in_channels, *widths[:-2]], widths[:-1], strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.bottleneck = ConvBlock(widths[-2], widths[-1], num_norms)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(below, width, kernel_size=2, stride=2)
            for below, width in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.gates = nn.ModuleList(
            AttentionGate(width, below, num_norms) if attention else OpenGate()
            for below, width in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.decoder = nn.ModuleList(ConvBlock(2 * width, width, num_norms) for width in widths[-2::-1])
        own_channels = output_channels(self.num_classes, head)
        channels = [1 + max(map(max, own_channels))] if head == "shared" else [len(own) for own in own_channels]
        self.label_names = None if label_names is None else [own and list(map(str, own)) for own in label_names]
        make = partial(make_heads, channels=channels, label_names=self.label_names, foreground_prior=foreground_prior)
        self.heads = make(widths[0])
        self.deep_heads = nn.ModuleList(make(width) for width in widths[1 : 1 + deep_supervision])
        self.max_channels = max(channels)
        self.absent_logit = -3.0e4  # exp() of it is 0, and float16 holds it
        self.domain = 0
        self.set_domain(domain)

    def forward(self, x: Tensor, domains: Tensor | None = None) -> Tensor:
        """Logits for the configured domain, or for each sample's own; see the class for shapes."""
        if domains is None:
            features, _ = self._features(x, self._norm_groups([(self.domain, x.shape[0])]))
            return self._head(features[0], self.domain)
        logits, _ = self.forward_with_embedding(x, domains)
        return logits

    def forward_with_embedding(self, x: Tensor, domains: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of a mixed batch and the globally max-pooled embedding of each image, (N, widths[-1]).

        Domain indices are on the CPU for speed; see the class for the other shapes.
        """
        if domains.numel() != x.shape[0]:
            raise ValueError(f"domains must hold one index a sample ({x.shape[0]}), got {domains.numel()}")
        order, groups = group_by_domain(domains, len(self.num_classes))
        if bool((order[1:] > order[:-1]).all()):
            return self.forward_grouped(x, groups)
        order = order.to(x.device, non_blocking=True)
        logits, embedding = self.forward_grouped(x.index_select(0, order), groups)
        inverse = torch.argsort(order)
        return logits.index_select(0, inverse), embedding.index_select(0, inverse)

    def forward_grouped(self, x: Tensor, groups: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """Logits and embeddings of a batch that is contiguous by domain, as the sampler makes them.

        Nothing in here depends on the content of a tensor: no GPU has to be waited for, and `torch.compile` and
        `torch.export` take it as one graph. `groups` are those of `norms.group_by_domain`.
        """
        features, embeddings = self._features(x, self._norm_groups(groups))
        return self._heads_grouped(features[0], groups), embeddings[0]

    @torch.jit.unused
    def forward_training(self, x: Tensor, groups: list[tuple[int, int]]) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """All that a loss may need of a batch that is contiguous by domain.

        Returns:
            Logits; the embedding of each scale, (N, channels of the scale); in training the logits of each resolution
            of deep supervision, finest first.
        """
        features, embeddings = self._features(x, self._norm_groups(groups))
        finest, *coarser = features
        deep = [self._deep_heads_grouped(each, groups, level) for level, each in enumerate(coarser)]
        return self._heads_grouped(finest, groups), embeddings, deep

    @torch.jit.unused
    def embed(self, x: Tensor, domains: Tensor) -> tuple[Tensor, Tensor]:
        """Globally max-pooled features of the bottleneck, by the encoder alone.

        `domains` (N,), on the CPU, say whose norms each image passes through.

        Returns:
            After the last norm and ReLU (the paper's embedding), and of the last convolution, before the last norm's
            own affine weights; (N, widths[-1]) each.
        """
        order, groups = group_by_domain(domains, len(self.num_classes))
        features, convolution, _ = self._encode(x.index_select(0, order.to(x.device)), self._norm_groups(groups))
        bottleneck = features[-1]
        inverse = torch.argsort(order).to(x.device)
        return bottleneck.amax(dim=(2, 3))[inverse], convolution.amax(dim=(2, 3))[inverse]

    def _norm_groups(self, groups: list[tuple[int, int]]) -> list[tuple[int, int]]:
        if not self.shared_norm:
            return groups
        total = 0
        for group in groups:
            total += group[1]
        return [(0, total)]

    def _encode(self, x: Tensor, groups: list[tuple[int, int]]) -> tuple[list[Tensor], Tensor, list[Tensor]]:
        """Features of each resolution, finest first; the bottleneck's last convolution; embeddings, coarsest first."""
        if x.shape[2] % self.size_factor != 0 or x.shape[3] % self.size_factor != 0:
            raise ValueError(
                f"image size must be a multiple of {self.size_factor}, got {x.shape[2]} x {x.shape[3]}; set image_size"
            )
        features: list[Tensor] = []
        embeddings: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            convolved = block.convolve(x, groups)  # type: ignore[operator]
            features.append(block.activate(convolved, groups))  # type: ignore[operator]
            if len(self.encoder) - level < self.embedding_scales:
                embeddings.insert(0, self._embed(convolved, features[-1]))
            x = self.pool(features[-1])
        convolution = self.bottleneck.convolve(x, groups)
        features.append(self.bottleneck.activate(convolution, groups))
        embeddings.insert(0, self._embed(convolution, features[-1]))
        return features, convolution, embeddings

    def _embed(self, convolved: Tensor, activated: Tensor) -> Tensor:
        return torch.amax(activated if self.embedding == "bottleneck" else convolved, dim=(2, 3))

    def _features(self, x: Tensor, groups: list[tuple[int, int]]) -> tuple[list[Tensor], list[Tensor]]:
        """Features for the output layers, finest first, and the embedding of each scale, coarsest first."""
        skips, _, embeddings = self._encode(x, groups)
        x = skips.pop()
        features: list[Tensor] = []
        for up, gate, block in zip(self.up, self.gates, self.decoder):  # noqa: B905  (TorchScript)
            x = block(torch.cat([gate(skips.pop(), x, groups), up(x)], dim=1), groups)
            if self.training and 0 < len(skips) <= self.deep_supervision:
                features.insert(0, x)
        features.insert(0, x)
        return features, embeddings

    def _head(self, features: Tensor, domain: int) -> Tensor:
        wanted = 0 if self.head == "shared" else domain
        logits = features
        for index, head in enumerate(self.heads):
            if index == wanted:
                logits = head(features)
        return logits

    def _heads_grouped(self, features: Tensor, groups: list[tuple[int, int]]) -> Tensor:
        if self.head == "shared":
            return self._head(features, 0)
        outputs: list[Tensor] = []
        for part, group in zip(torch.split(features, [group[1] for group in groups], dim=0), groups):  # noqa: B905
            outputs.append(self._pad(self._head(part, group[0])))
        return torch.cat(outputs, dim=0)

    def _pad(self, logits: Tensor) -> Tensor:
        missing = self.max_channels - logits.shape[1]
        return logits if missing == 0 else nn.functional.pad(logits, [0, 0, 0, 0, 0, missing], value=self.absent_logit)

    @torch.jit.unused
    def _deep_heads_grouped(self, features: Tensor, groups: list[tuple[int, int]], level: int) -> Tensor:
        heads = cast(nn.ModuleList, self.deep_heads[level])
        if self.head == "shared":
            return heads[0](features)
        parts = features.split([count for _, count in groups])
        return torch.cat([self._pad(heads[domain](part)) for part, (domain, _) in zip(parts, groups, strict=True)])

    @torch.jit.unused
    def set_domain(self, domain: int | str) -> None:
        """Choose the domain, by index or name, that `network(x)` answers for."""
        self.domain = self._domain_index(domain)

    @torch.jit.unused
    def add_domain(self, num_classes: int, *, name: str, like: int | str = 0, first: Tensor | None = None) -> int:
        """Add a domain to a trained network: its norms start as copies of domain `like`, its head afresh.

        Outputs for the other domains do not change. Needs `norm="domain"` and `head="domain"`. With `first`, weights
        (features, channels, 3, 3) of its first convolution, each domain has its own from then on.

        Returns:
            Index of the new domain.
        """
        if self.shared_norm or self.head == "shared":
            raise InputError("a domain can be added only to a network with norm='domain' and head='domain'")
        if name in self.domain_names:
            raise InputError(f"domain {name!r} must be new, the network has {', '.join(self.domain_names)}")
        if num_classes < 2:
            raise InputError(f"num_classes must be at least 2 (background and one bone), got {num_classes}")
        source = self._domain_index(like)
        for module in self.modules():
            if isinstance(module, DomainSpecificBatchNorm2d):
                module.add_domain(source)
        if self.label_names is not None:
            self.label_names.append(None)  # a row of the others would change them
        for heads in (self.heads, *self.deep_heads):
            weight = next(heads[0].parameters())
            heads.append(make_head(weight.shape[1], num_classes, self.foreground_prior).to(weight))
        self._settings["in_channels"] = add_first(self.encoder, first, like=source, num_domains=len(self.num_classes))
        self.num_classes.append(int(num_classes))
        self.domain_names.append(name)
        self.max_channels = max(self.max_channels, num_classes)
        return len(self.num_classes) - 1

    @torch.jit.unused
    def settings(self) -> dict[str, Any]:
        """Keyword arguments, in plain types, that build this network again."""
        return {
            **self._settings,
            "num_classes": list(self.num_classes),
            "head": self.head,
            "embedding": self.embedding,
            "embedding_scales": self.embedding_scales,
            "deep_supervision": self.deep_supervision,
            "label_names": self.label_names,
            "foreground_prior": self.foreground_prior,
            "domain_names": list(self.domain_names),
        }

    @torch.jit.unused
    def _domain_index(self, domain: int | str) -> int:
        if isinstance(domain, str):
            if domain not in self.domain_names:
                raise InputError(f"domain must be one of {', '.join(self.domain_names)}, got {domain!r}")
            domain = self.domain_names.index(domain)
        if not 0 <= domain < len(self.num_classes):
            raise ValueError(f"domain index must be 0..{len(self.num_classes) - 1}, got {domain}")
        return int(domain)
