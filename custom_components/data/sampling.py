"""Batches that hold an equal share of every domain, in an order that depends on (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from custom_components.errors import InputError
from torch.utils.data import Sampler


@dataclass(frozen=True, slots=True)
class SampleKey:
    """Names one drawing of one sample: its augmentation is a pure function of (seed, index, epoch, cycle)."""

    index: int
    epoch: int  # from 1
    cycle: int  # how often the sample's domain had been passed through before in this epoch, from 0


class DomainBalancedBatchSampler(Sampler[list[SampleKey]]):
    """Each batch takes an equal share of every domain, contiguous by domain.

    An epoch is one pass over the largest domain; smaller ones cycle, shuffled anew each time. No sample is lost: the
    last batch is smaller instead. When the batch size is no multiple of the number of domains, extra places go round.

    Args:
        domains: domain index of each sample of the data set.
        batch_size: samples in a batch over all domains and ranks.
        seed: with the epoch, decides the order.
        rank: this process among the data-parallel ones (`multi_gpu_train.yaml` sets both).
        num_ranks: number of data-parallel processes; each takes every `num_ranks`-th sample of each domain's share, so
            that together they see the batch that a single process would.
        min_batches: an epoch has so many batches at least: small data sets are passed through several times.
        empty: whether each sample is empty, without any bone; None if unknown.
        empty_share: share of a domain's empty samples that a pass takes, drawn anew each time.

    Raises:
        ValueError: no samples, a domain index that is negative or without samples, or a batch too small for one sample
            a domain and rank.

    Example:
        >>> sampler = DomainBalancedBatchSampler([0, 0, 0, 0, 1, 1], batch_size=4, seed=0)
        >>> [[key.index // 4 for key in batch] for batch in sampler]
        [[0, 0, 1, 1], [0, 0, 1, 1]]
    """

    def __init__(
        self,
        domains: Sequence[int],
        *,
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        num_ranks: int = 1,
        min_batches: int = 1,
        empty: Sequence[bool] | None = None,
        empty_share: float = 1.0,
    ) -> None:
        if min(domains, default=0) < 0:
            raise ValueError(f"domain index must be 0 or more, got {min(domains)}")
        # One sort: comparing all samples with each domain would take longer with the square of their number.
        indices = np.asarray(domains, dtype=np.int64)
        _, counts = np.unique(indices, return_counts=True)
        self._members = np.split(np.argsort(indices, kind="stable"), np.cumsum(counts)[:-1]) if len(counts) else []
        if not 0 <= empty_share <= 1:
            raise InputError(f"empty_share must be from 0 to 1, got {empty_share}")
        self._empty = np.zeros(len(indices), bool) if empty is None else np.asarray(empty)
        # A domain without any bone has all its slices taken.
        self._num_empty = [
            own.sum() if own.all() else round(empty_share * own.sum())
            for own in (self._empty[members] for members in self._members)
        ]
        if not self._members:
            raise InputError("a training must have samples, got none; check the data set and its labels")
        if batch_size < len(self._members) * num_ranks:
            raise InputError(
                f"batch_size must be at least {len(self._members) * num_ranks} (one sample for each of "
                f"{len(self._members)} domains on each of {num_ranks} processes), got {batch_size}; raise it"
            )
        if not 0 <= rank < num_ranks:
            raise ValueError(f"rank must be 0..{num_ranks - 1}, got {rank}")
        self.batch_size = batch_size
        self.seed = seed
        self.rank, self.num_ranks = rank, num_ranks
        self.min_batches = min_batches
        self.epoch = 1
        self._num_skipped = 0
        self._plan = self._plan_shares()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch (from 1) that the next iteration draws."""
        self.epoch = epoch

    def skip_batches(self, count: int) -> None:
        """Leave out the first `count` batches of the next iteration, which a run that goes on has done before."""
        self._num_skipped = count

    def __len__(self) -> int:
        """Number of batches in a whole epoch."""
        return len(self._plan)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        """Batches of this rank."""
        num_skipped, self._num_skipped = self._num_skipped, 0
        streams = [self._stream(domain) for domain in range(len(self._members))]
        for number, shares in enumerate(self._plan):
            # Every process draws the whole batch and keeps its share: so the order is that of one process alone, and
            # the streams of a run that goes on within an epoch stand where they stood.
            batch: list[SampleKey] = []
            for stream, share in zip(streams, shares, strict=True):
                batch += [next(stream) for _ in range(share)][self.rank :: self.num_ranks]
            if number >= num_skipped:
                yield batch

    def _plan_shares(self) -> list[list[int]]:
        """Samples of each domain in each batch, until every domain has been seen whole."""
        num_domains = len(self._members)
        base, extra = divmod(self.batch_size, num_domains)

        def whole(turn: int) -> np.ndarray:  # places left over go round the domains
            return np.array([base + ((domain - turn * extra) % num_domains < extra) for domain in range(num_domains)])

        seen = np.zeros(num_domains, dtype=int)
        empty = [self._empty[members].sum() for members in self._members]
        sizes = np.array([len(members) for members in self._members]) - empty + self._num_empty
        plan: list[list[int]] = []
        while (seen < sizes).any():
            # The last batch takes no more than is left, and never less than one sample a domain and rank.
            shares = np.minimum(whole(len(plan)), max((sizes - seen).max(), self.num_ranks))
            seen += shares
            plan.append(shares.tolist())
        if len(plan) < self.min_batches:
            plan = [whole(turn).tolist() for turn in range(self.min_batches)]
        return plan

    def _stream(self, domain: int) -> Iterator[SampleKey]:
        members, cycle = self._members[domain], 0
        while True:
            # A new generator for each pass, from numbers alone: no state has to be saved to resume.
            generator = np.random.default_rng((self.seed, self.epoch, domain, cycle))
            order = generator.permutation(members)
            empty = self._empty[order]
            kept = ~empty | (np.cumsum(empty) <= self._num_empty[domain])
            for index in order[kept].tolist():
                yield SampleKey(index, self.epoch, cycle)
            cycle += 1
