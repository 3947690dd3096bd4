import pickle
from collections import Counter

import pytest
from custom_components.data.sampling import DomainBalancedBatchSampler, SampleKey
from hypothesis import given, settings
from hypothesis import strategies as st

SIZES = st.lists(st.integers(1, 25), min_size=1, max_size=4)


def make_sampler(sizes: list[int], batch_size: int, **more: int) -> DomainBalancedBatchSampler:
    """Samples of the domains lie interleaved in the data set, as far as they go."""
    domains = sorted((position, domain) for domain, size in enumerate(sizes) for position in range(size))
    return DomainBalancedBatchSampler([domain for _, domain in domains], batch_size=batch_size, **more)


def domain_of(sizes: list[int]) -> list[int]:
    return [
        domain
        for _, domain in sorted((position, domain) for domain, size in enumerate(sizes) for position in range(size))
    ]


def shares_of(batch: list[SampleKey], domains: list[int]) -> list[int]:
    counts = Counter(domains[key.index] for key in batch)
    return [counts[domain] for domain in range(max(domains) + 1)]


def test_the_papers_batches_by_hand() -> None:
    """40 ankle and 25 shoulder slices in batches of 32: 16 + 16, 16 + 16, and the last 8 with 8 of the other."""
    domains = [0] * 40 + [1] * 25
    sampler = DomainBalancedBatchSampler(domains, batch_size=32)
    batches = list(sampler)
    assert len(sampler) == len(batches) == 3
    assert [shares_of(batch, domains) for batch in batches] == [[16, 16], [16, 16], [8, 8]]
    drawn = Counter(key.index for batch in batches for key in batch)
    assert all(drawn[index] == 1 for index in range(40))
    assert sorted(drawn[index] for index in range(40, 65)) == [1] * 10 + [2] * 15
    cycles = [key.cycle for batch in batches for key in batch if domains[key.index] == 1]
    assert cycles == [0] * 25 + [1] * 15


def test_three_domains_take_turns_with_the_extra_places() -> None:
    sizes = [64, 64, 64]
    shares = [shares_of(batch, domain_of(sizes)) for batch in make_sampler(sizes, 32)]
    assert shares == [[11, 11, 10], [11, 10, 11], [10, 11, 11]] * 2


@given(sizes=SIZES, share=st.integers(1, 6), seed=st.integers(0, 99), epoch=st.integers(1, 9))
@settings(max_examples=60)
def test_equal_shares_and_no_sample_lost(sizes: list[int], share: int, seed: int, epoch: int) -> None:
    sampler, domains = make_sampler(sizes, share * len(sizes), seed=seed), domain_of(sizes)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler) == -(-max(sizes) // share)
    for batch in batches:
        assert len(set(shares_of(batch, domains))) == 1, "equal shares"
        in_order = [domains[key.index] for key in batch]
        assert in_order == sorted(in_order), "contiguous by domain"
    assert all(shares_of(batch, domains)[0] == share for batch in batches[:-1])
    drawn = Counter(key.index for batch in batches for key in batch)
    for index, domain in enumerate(domains):
        assert max(sizes) // sizes[domain] <= drawn[index] <= -(-max(sizes) // sizes[domain])
    keys = [key for batch in batches for key in batch]
    assert len(set(keys)) == len(keys), "every drawing has a key, and so an augmentation, of its own"
    assert {key.epoch for key in keys} == {epoch}


@given(sizes=SIZES, batch_size=st.integers(4, 17))
@settings(max_examples=60)
def test_uneven_batch_sizes_lose_nothing_and_stay_within_one(sizes: list[int], batch_size: int) -> None:
    sampler, domains = make_sampler(sizes, batch_size), domain_of(sizes)
    batches = list(sampler)
    assert {key.index for batch in batches for key in batch} == set(range(len(domains)))
    for batch in batches:
        shares = shares_of(batch, domains)
        assert max(shares) - min(shares) <= 1
        assert min(shares) >= 1
    assert all(len(batch) == batch_size for batch in batches[:-1])
    total = [sum(column) for column in zip(*(shares_of(batch, domains) for batch in batches), strict=True)]
    assert max(total) - min(total) <= 1 + len(sizes) // 2
    largest = [total[domain] for domain, size in enumerate(sizes) if size == max(sizes)]
    assert max(sizes) <= min(largest) <= max(largest) <= max(sizes) + len(sizes) // 2


@given(sizes=SIZES, seed=st.integers(0, 99), epoch=st.integers(1, 9))
@settings(max_examples=25)
def test_order_is_a_function_of_seed_and_epoch_alone(sizes: list[int], seed: int, epoch: int) -> None:
    used, fresh = make_sampler(sizes, 8, seed=seed), make_sampler(sizes, 8, seed=seed)
    list(used)
    used.set_epoch(epoch + 1)
    next(iter(used))
    used.set_epoch(epoch)
    fresh.set_epoch(epoch)
    assert list(used) == list(fresh) == list(fresh)


def test_order_differs_between_epochs_seeds_and_cycles() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = make_sampler([30], 30, seed=seed)
        sampler.set_epoch(epoch)
        return [key.index for batch in sampler for key in batch]

    orders = [order(seed, epoch) for seed in (0, 1) for epoch in (1, 2, 3)]
    assert len({tuple(one) for one in orders}) == 6
    assert all(sorted(one) == list(range(30)) for one in orders)

    keys = [key for batch in make_sampler([60, 20], 40) for key in batch if domain_of([60, 20])[key.index] == 1]
    passes = [[key.index for key in keys if key.cycle == cycle] for cycle in range(3)]
    assert len({tuple(one) for one in passes}) == 3
    assert len({tuple(sorted(one)) for one in passes}) == 1


@given(sizes=SIZES, num_ranks=st.integers(1, 3), spare=st.integers(0, 5))
@settings(max_examples=40)
def test_ranks_together_see_the_batch_of_one_process(sizes: list[int], num_ranks: int, spare: int) -> None:
    batch_size, domains = len(sizes) * num_ranks + spare, domain_of(sizes)
    ranks = [list(make_sampler(sizes, batch_size, rank=rank, num_ranks=num_ranks)) for rank in range(num_ranks)]
    single = make_sampler(sizes, batch_size)
    together = [
        Counter(key for batch in batches for key in batch) for batches in zip(*ranks, strict=True)
    ]  # zip: all ranks make equally many steps
    expected = [Counter(batch) for batch in single]
    # Only the last batch may be larger, so that no rank is left without a sample of a domain.
    assert together[:-1] == expected[: len(together) - 1]
    assert len(together) == len(expected)
    assert expected[-1] <= together[-1]
    assert len(together[-1]) <= max(len(expected[-1]), len(sizes) * num_ranks)
    for batches in ranks:
        assert all(min(shares_of(batch, domains)) >= 1 for batch in batches)
    assert all(count == 1 for batch in together for count in batch.values()), "no two ranks draw the same sample"


@given(sizes=SIZES, batch_size=st.integers(4, 17), min_batches=st.integers(1, 12))
@settings(max_examples=40)
def test_an_epoch_has_its_least_number_of_batches(sizes: list[int], batch_size: int, min_batches: int) -> None:
    ordinary, sampler = make_sampler(sizes, batch_size), make_sampler(sizes, batch_size, min_batches=min_batches)
    batches = list(sampler)
    assert len(batches) == len(sampler) == max(min_batches, len(ordinary))
    if min_batches <= len(ordinary):
        assert batches == list(ordinary)
    else:
        assert all(len(batch) == batch_size for batch in batches)
    keys = [key for batch in batches for key in batch]
    assert len(set(keys)) == len(keys), "every drawing has an augmentation of its own"


def test_few_slices_fill_an_epoch_by_several_passes() -> None:
    batches = list(make_sampler([6], 4, min_batches=3))
    assert [len(batch) for batch in batches] == [4, 4, 4]
    assert [key.cycle for batch in batches for key in batch] == [0] * 6 + [1] * 6


def test_keys_travel_to_worker_processes() -> None:
    key = SampleKey(3, 2, 1)
    assert pickle.loads(pickle.dumps(key)) == key


@pytest.mark.parametrize(
    ("domains", "settings", "message"),
    [
        ([], {"batch_size": 4}, "a training must have samples, got none"),
        ([0, 1], {"batch_size": 1}, r"batch_size must be at least 2 \(one sample for each of 2 domains on each of 1"),
        ([0, 1], {"batch_size": 5, "num_ranks": 3}, "batch_size must be at least 6 .*, got 5; raise it"),
        ([0, 1], {"batch_size": 8, "num_ranks": 2, "rank": 2}, r"rank must be 0\.\.1, got 2"),
        ([0, 1], {"batch_size": 8, "rank": -1}, r"rank must be 0\.\.0, got -1"),
    ],
)
def test_bad_settings_are_refused(domains: list[int], settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DomainBalancedBatchSampler(domains, **settings)


def test_a_negative_domain_is_refused_not_left_out() -> None:
    with pytest.raises(ValueError, match="domain index must be 0 or more, got -1"):
        DomainBalancedBatchSampler([0, -1, 1], batch_size=4)


def test_an_epoch_that_goes_on_leaves_out_what_was_done() -> None:
    sampler = DomainBalancedBatchSampler([0] * 11 + [1] * 4, batch_size=4, seed=3)
    sampler.set_epoch(2)
    whole = list(sampler)
    for done in range(len(whole) + 1):
        sampler.skip_batches(done)
        assert len(sampler) == len(whole)
        assert list(sampler) == whole[done:]
        assert list(sampler) == whole, "the next epoch is whole again"


def test_a_domain_without_samples_is_in_no_batch() -> None:
    domains = [2, 0, 2, 2]
    sampler = DomainBalancedBatchSampler(domains, batch_size=2)
    assert all(sorted(domains[key.index] for key in batch) == [0, 2] for batch in sampler)


def test_an_epoch_takes_a_share_of_the_empty_samples_and_others_the_next_time() -> None:
    domains, empty = [0] * 10 + [1] * 4, [True] * 6 + [False] * 4 + [True, True, False, False]
    sampler = DomainBalancedBatchSampler(domains, batch_size=4, seed=0, empty=empty, empty_share=0.5)
    assert len(sampler) == 4, "7 of domain 0, 2 a batch"
    seen = []
    for epoch in (1, 2, 3):
        sampler.set_epoch(epoch)
        keys = [key.index for batch in sampler for key in batch]
        own = [index for index in keys if index < 10]
        assert sorted(index for index in own if index >= 6)[:4] == [6, 7, 8, 9]
        seen.append({index for index in own if index < 6})
        assert [len(seen[-1]), len(own)] == [3, 7]
    assert len(set().union(*seen)) > 3
    nothing = DomainBalancedBatchSampler([0] * 4, batch_size=2, empty=[True] * 4, empty_share=0.0)
    assert len(nothing) == 2, "a domain without any bone has all its slices taken"
    whole = DomainBalancedBatchSampler(domains, batch_size=4, seed=0, empty=empty)
    assert list(whole) == list(DomainBalancedBatchSampler(domains, batch_size=4, seed=0))
