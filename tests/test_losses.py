import math
from collections.abc import Sequence

import pytest
import torch
from custom_components.errors import InputError
from custom_components.losses import (
    MultiDomainCrossEntropyLoss,
    MultiDomainDiceLoss,
    MultiDomainSegmentationLoss,
    SupervisedContrastiveLoss,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

EIGHT_DOMAINS = torch.tensor([0, 1, 1, 0, 2, 1, 0, 3])  # domain 3 has one sample: an anchor without a positive


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def contrastive_by_loops(embeddings: Tensor, domains: Sequence[int], temperature: float) -> Tensor:
    """Eq. 3 as printed: a sum over anchors, over positives, over all others; in double precision."""
    points = embeddings.double()
    unit = [point / point.norm() for point in points]
    anchors = []
    for i, own in enumerate(domains):
        positives = [j for j, other in enumerate(domains) if j != i and other == own]
        if not positives:
            continue
        others = [torch.exp(unit[i] @ unit[k] / temperature) for k in range(len(domains)) if k != i]
        terms = [torch.log(torch.exp(unit[i] @ unit[j] / temperature) / sum(others)) for j in positives]
        anchors.append(-sum(terms) / len(positives))
    return sum(anchors) / len(anchors)


def test_cross_entropy_by_hand() -> None:
    """Domain 0 (2 classes): one image; domain 1 (3 classes): two. Two pixels each."""
    odds = torch.tensor(
        [
            [[1, 1], [3, 1], [7, 9]],  # domain 0: its third channel is not its own
            [[1, 2], [1, 1], [2, 1]],
            [[1, 1], [1, 1], [1, 8]],
        ],
        dtype=torch.float32,
    )
    target = torch.tensor([[1, 0], [2, 0], [0, 2]])
    # Probabilities of the targets: 3/4, 1/2; then 2/4, 2/4, 1/3, 8/10.
    first = (math.log(4 / 3) + math.log(2)) / 2 / 2
    second = (math.log(2) + math.log(2) + math.log(3) + math.log(10 / 8)) / 4 / 3
    loss = MultiDomainCrossEntropyLoss([2, 3])
    logits, domains = odds.log()[..., None], torch.tensor([0, 1, 1])
    assert loss(logits, target[..., None], domains).item() == pytest.approx((first + second) / 2, rel=1e-6)
    assert loss(logits, target[:, None, :, None], domains).item() == pytest.approx((first + second) / 2, rel=1e-6)
    assert loss(logits[1:], target[1:, :, None], domains[1:]).item() == pytest.approx(second, rel=1e-6)


@given(copies=st.integers(1, 4), order=st.permutations(range(6)))
@settings(max_examples=15)
def test_more_images_of_a_domain_do_not_weigh_more(copies: int, order: list[int]) -> None:
    loss = MultiDomainCrossEntropyLoss([3, 3])
    logits, target = randn(6, 3, 2, 2), torch.arange(24).reshape(6, 2, 2) % 3
    domains = torch.tensor([0, 1, 0, 0, 1, 1])
    once = loss(logits, target, domains).item()
    assert loss(logits[order], target[order], domains[order]).item() == pytest.approx(once, rel=1e-5)
    more = torch.cat([torch.arange(6), *[torch.tensor([1, 4, 5])] * copies])
    assert loss(logits[more], target[more], domains[more]).item() == pytest.approx(once, rel=1e-5)
    pooled = torch.nn.functional.cross_entropy(logits[more], target[more]).item() / 3
    assert pooled != pytest.approx(once, rel=1e-3)


def test_shared_head_counts_the_union_of_the_classes() -> None:
    loss = MultiDomainCrossEntropyLoss([3, 2], head="shared")  # channels: background, 2 of domain 0, 1 of domain 1
    logits = randn(2, 4, 1, 2)
    target = torch.tensor([[[0, 2]], [[0, 1]]])
    in_union = torch.tensor([[[0, 2]], [[0, 3]]])
    probability = logits.softmax(dim=1).gather(1, in_union[:, None])
    expected = -probability.log().mean().item() / 4
    assert loss(logits, target, torch.tensor([0, 1])).item() == pytest.approx(expected, rel=1e-6)


def test_an_absent_domain_gets_no_gradient_and_no_share() -> None:
    logits = randn(2, 3, 4, 4).requires_grad_()
    target = torch.ones(2, 4, 4, dtype=torch.uint8)
    loss = MultiDomainCrossEntropyLoss([2, 3, 4])(logits, target, torch.tensor([0, 0]))
    expected = torch.nn.functional.cross_entropy(logits[:, :2], target.long()) / 2
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert bool((logits.grad[:, 2] == 0).all()), "a channel that the domain lacks gets no gradient"


@pytest.mark.parametrize("unknown", [-1, 2])
def test_cross_entropy_refuses_an_unknown_domain(unknown: int) -> None:
    with pytest.raises(ValueError, match=rf"domain index must be 0\.\.1, got {unknown}"):
        MultiDomainCrossEntropyLoss([2, 3])(randn(1, 3, 2, 2), torch.zeros(1, 2, 2), torch.tensor([unknown]))


def clusters(cosine: float, *, num_each: int = 16) -> tuple[Tensor, Tensor]:
    """Two tight clusters at a given cosine of the angle between them."""
    first, second = torch.tensor([1.0, 0.0]), torch.tensor([cosine, math.sqrt(1 - cosine**2)])
    return torch.cat([first.expand(num_each, 2), second.expand(num_each, 2)]), torch.arange(2 * num_each) // num_each


@pytest.mark.parametrize("temperature", [1.0, 0.1, 0.01])
@pytest.mark.parametrize("cosine", [1.0, 0.5, 0.0, -1.0])
def test_two_tight_clusters_follow_the_formula(cosine: float, temperature: float) -> None:
    # Every anchor: -ln( e^(1/t) / (15 e^(1/t) + 16 e^(c/t)) ) = ln(15 + 16 e^((c-1)/t)).
    expected = math.log(15 + 16 * math.exp((cosine - 1) / temperature))
    loss = SupervisedContrastiveLoss(temperature=temperature)(*clusters(cosine))
    assert loss.item() == pytest.approx(expected, abs=2e-5)


def test_known_values_of_the_method() -> None:
    tight = SupervisedContrastiveLoss(temperature=1e-3)(*clusters(0.0))
    assert tight.item() == pytest.approx(2.7081, abs=1e-4)  # ln 15
    identical = SupervisedContrastiveLoss()(torch.ones(32, 5), torch.arange(32) % 2)
    assert identical.item() == pytest.approx(3.4340, abs=1e-4)  # ln 31
    opposite = SupervisedContrastiveLoss(temperature=0.1)(*clusters(-1.0))
    assert opposite.item() == pytest.approx(math.log(15 + 16 * math.exp(-20)), abs=1e-5)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_value_and_gradient_equal_the_loops(temperature: float) -> None:
    fast = randn(8, 4).requires_grad_()
    slow = fast.detach().clone().requires_grad_()
    loss = SupervisedContrastiveLoss(temperature=temperature)(fast, EIGHT_DOMAINS)
    expected = contrastive_by_loops(slow, EIGHT_DOMAINS.tolist(), temperature)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(fast.grad, slow.grad, atol=1e-5, rtol=1e-4)
    assert fast.grad.abs().max() > 0.01


@given(order=st.permutations(range(8)), scales=st.lists(st.floats(1e-3, 1e3), min_size=8, max_size=8))
@settings(max_examples=25)
def test_order_and_length_of_embeddings_do_not_matter(order: list[int], scales: list[float]) -> None:
    loss, embeddings = SupervisedContrastiveLoss(), randn(8, 4)
    once = loss(embeddings, EIGHT_DOMAINS).item()
    assert loss(embeddings[order], EIGHT_DOMAINS[order]).item() == pytest.approx(once, rel=1e-4)
    assert loss(embeddings * torch.tensor(scales)[:, None], EIGHT_DOMAINS).item() == pytest.approx(once, rel=1e-4)


@pytest.mark.parametrize("domains", [[0], [0, 1], [2, 0, 1]])
def test_without_positives_it_is_zero_with_finite_gradients(domains: list[int]) -> None:
    embeddings = randn(len(domains), 4).requires_grad_()
    loss = SupervisedContrastiveLoss()(embeddings, torch.tensor(domains))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(embeddings.grad, torch.zeros_like(embeddings))


def test_a_batch_of_one_domain_is_legal() -> None:
    embeddings = randn(5, 4).requires_grad_()
    loss = SupervisedContrastiveLoss()(embeddings, torch.zeros(5, dtype=torch.int64))
    assert loss.item() == pytest.approx(contrastive_by_loops(embeddings, [0] * 5, 0.1).item(), rel=1e-5)
    loss.backward()
    assert bool(torch.isfinite(embeddings.grad).all())


@pytest.mark.parametrize("scale", [1e-9, 1e-6, 1e6, 1e15])
@pytest.mark.parametrize("temperature", [1e-3, 0.1, 100.0])
def test_stable_for_tiny_and_huge_embeddings(scale: float, temperature: float) -> None:
    loss = SupervisedContrastiveLoss(temperature=temperature)
    embeddings = (randn(8, 4) * scale).requires_grad_()
    value = loss(embeddings, EIGHT_DOMAINS)
    assert value.item() == pytest.approx(loss(embeddings.detach() / scale, EIGHT_DOMAINS).item(), rel=1e-3)
    value.backward()
    assert bool(torch.isfinite(embeddings.grad).all())


def test_a_dead_embedding_gives_finite_values() -> None:
    embeddings = randn(4, 3)
    embeddings[1] = 0
    embeddings.requires_grad_()
    loss = SupervisedContrastiveLoss()(embeddings, torch.tensor([0, 0, 1, 1]))
    loss.backward()
    assert math.isfinite(loss.item())
    assert bool(torch.isfinite(embeddings.grad).all())


def test_autocast_does_not_lower_the_precision() -> None:
    embeddings, logits, target = randn(8, 64), randn(8, 3, 4, 4), torch.ones(8, 4, 4, dtype=torch.int64)
    domains = torch.arange(8) % 2
    loss = MultiDomainSegmentationLoss([3, 3], contrastive_weight=1.0)
    expected = loss((logits, embeddings), (target, domains))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (embeddings @ embeddings.T).dtype == torch.bfloat16
        value = loss((logits, embeddings), (target, domains))
        low = loss((logits.bfloat16(), embeddings.bfloat16()), (target, domains))
    assert torch.equal(value, expected)
    assert low.dtype == torch.float32
    rounded = loss((logits.bfloat16().float(), embeddings.bfloat16().float()), (target, domains))
    assert torch.equal(low, rounded)


@pytest.mark.parametrize("weight", [0.0, 0.1, 2.0])
def test_the_sum_is_cross_entropy_plus_weighted_contrastive(weight: float) -> None:
    logits, embeddings = randn(8, 4, 2, 2), randn(8, 5).requires_grad_()
    target, domains = torch.ones(8, 1, 2, 2, dtype=torch.uint8), torch.arange(8) % 2
    loss = MultiDomainSegmentationLoss([4, 2], temperature=0.2, contrastive_weight=weight)
    value = loss((logits.requires_grad_(), embeddings), (target, domains, "more may follow"))
    cross_entropy = MultiDomainCrossEntropyLoss([4, 2])(logits, target, domains)
    contrastive = SupervisedContrastiveLoss(temperature=0.2)(embeddings, domains)
    torch.testing.assert_close(value, cross_entropy + weight * contrastive)
    parts = {"cross_entropy": cross_entropy, "contrastive": contrastive} if weight else {"cross_entropy": cross_entropy}
    torch.testing.assert_close(loss.terms, {name: part.detach() for name, part in parts.items()})
    assert not any(term.requires_grad for term in loss.terms.values())
    value.backward()
    assert (embeddings.grad is None) is (weight == 0)


def test_shared_head_passes_through_the_sum() -> None:
    logits, target, domains = randn(2, 4, 2, 2), torch.ones(2, 2, 2, dtype=torch.int64), torch.tensor([0, 1])
    loss = MultiDomainSegmentationLoss([3, 2], head="shared", contrastive_weight=0)
    expected = MultiDomainCrossEntropyLoss([3, 2], head="shared")(logits, target, domains)
    assert torch.equal(loss((logits, randn(2, 4)), (target, domains)), expected)


def test_bad_settings_are_refused() -> None:
    for temperature in (0.0, -0.1, math.nan):
        with pytest.raises(ValueError, match=f"temperature must be positive, got {temperature}"):
            SupervisedContrastiveLoss(temperature=temperature)
    for weight in (-0.1, math.nan):
        with pytest.raises(ValueError, match=f"contrastive_weight must be 0 or more, got {weight}"):
            MultiDomainSegmentationLoss([2], contrastive_weight=weight)
    with pytest.raises(ValueError, match="head must be 'domain' or 'shared', got 'union'"):
        MultiDomainSegmentationLoss([2], head="union")


def test_dice_by_hand() -> None:
    """Domain 0 (2 classes): one image; domain 1 (3 classes): two, counted together. Two pixels each."""
    odds = torch.tensor(
        [
            [[1, 1], [3, 1], [7, 9]],  # p of the bone: 3/4, 1/2; the third channel is not the domain's own
            [[1, 2], [1, 1], [2, 1]],  # p of the bones: 1/4, 1/4 and 1/2, 1/4
            [[1, 1], [1, 1], [1, 8]],  # 1/3, 1/10 and 1/3, 8/10
        ],
        dtype=torch.float32,
    )
    target = torch.tensor([[1, 0], [2, 0], [0, 2]])
    loss, logits = MultiDomainDiceLoss([2, 3], smooth=0.0), odds.log()[..., None]
    first = 1 - 2 * (3 / 4) / (3 / 4 + 1 / 2 + 1)
    second = 1 - (0 + 2 * (1 / 2 + 8 / 10) / (1 / 2 + 1 / 4 + 1 / 3 + 8 / 10 + 2)) / 2
    whole = loss(logits, target[..., None], torch.tensor([0, 1, 1])).item()
    assert whole == pytest.approx((first + second) / 2, rel=1e-5)
    assert loss(logits[1:], target[1:, None, :, None], torch.tensor([1, 1])).item() == pytest.approx(second, rel=1e-5)


def test_dice_of_a_class_in_no_image_costs_what_is_predicted() -> None:
    loss, target = MultiDomainDiceLoss([2]), torch.zeros(1, 1, 2, dtype=torch.long)
    nothing, one_pixel = torch.tensor([[9.0, 9], [-99, -99]]), torch.tensor([[-99.0, 9], [9, -99]])
    assert loss(nothing.view(1, 2, 1, 2), target, torch.tensor([0])).item() == pytest.approx(0, abs=1e-6)
    assert loss(one_pixel.view(1, 2, 1, 2), target, torch.tensor([0])).item() == pytest.approx(1 / 2, abs=1e-6)


def test_dice_of_a_shared_head_is_that_of_the_own_channels() -> None:
    logits, target, domains = randn(2, 4, 3, 3), torch.arange(18).view(2, 3, 3) % 2, torch.tensor([0, 1])
    probability = logits.softmax(dim=1)

    def dice(channel: int, image: int) -> float:
        bone = (target[image] == 1).float()
        both = (probability[image, channel] * bone).sum()
        return float((2 * both + 1) / (probability[image, channel].sum() + bone.sum() + 1))

    absent = 1 / (float(probability[0, 2].sum()) + 1)  # the second bone of domain 0
    expected = ((1 - (dice(1, 0) + absent) / 2) + (1 - dice(3, 1))) / 2
    loss = MultiDomainDiceLoss([3, 2], head="shared")(logits, target, domains)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_equal_weights_do_not_divide_by_the_classes() -> None:
    logits, target, domains = randn(2, 5, 2, 2), torch.zeros(2, 2, 2), torch.tensor([0, 1])
    own = [MultiDomainCrossEntropyLoss([2, 5])(logits[k : k + 1], target[:1], domains[k : k + 1]) for k in (0, 1)]
    equal = MultiDomainCrossEntropyLoss([2, 5], weighting="equal")(logits, target, domains)
    torch.testing.assert_close(equal, (2 * own[0] + 5 * own[1]) / 2)
    with pytest.raises(InputError, match="domain_weighting must be 'classes' or 'equal', got 'none'"):
        MultiDomainCrossEntropyLoss([2, 5], weighting="none")


@pytest.mark.parametrize("make", [MultiDomainCrossEntropyLoss, MultiDomainDiceLoss])
def test_a_list_with_a_tensor_a_domain_is_the_mixed_batch(make: type) -> None:
    loss, logits, target = make([3, 3]), randn(5, 3, 4, 4), torch.arange(80).view(5, 1, 4, 4) % 3
    domains = torch.tensor([0, 0, 1, 1, 1])
    parts = [[each[:2], each[2:]] for each in (logits, target)]
    torch.testing.assert_close(loss(*parts, domains), loss(logits, target, domains))
    with pytest.raises(ValueError, match=r"an entry a domain \(2\), got 1"):
        loss(parts[0][:1], parts[1], domains)


def test_terms_scales_and_resolutions_add_up() -> None:
    domains, target = torch.tensor([0, 0, 1]), torch.arange(48).view(3, 1, 4, 4) % 2
    fine, coarse = randn(3, 2, 4, 4), randn(3, 2, 2, 2, seed=1)
    embeddings = [randn(3, 4, seed=2), randn(3, 6, seed=3)]
    loss = MultiDomainSegmentationLoss([2, 2], contrastive_weight=0.5, dice_weight=2.0, domain_weighting="equal")
    total = loss((fine, embeddings, [coarse]), (target, domains))
    below = target[:, :, 1::2, 1::2]  # the nearest pixel to the middle of four
    parts = []
    for part in (MultiDomainCrossEntropyLoss([2, 2], weighting="equal"), MultiDomainDiceLoss([2, 2])):
        parts.append((part(fine, target, domains) + 0.8 * part(coarse, below, domains)) / 1.8)
    contrastive = sum(SupervisedContrastiveLoss()(each, domains) for each in embeddings) / 2
    torch.testing.assert_close(loss.terms["cross_entropy"], parts[0])
    torch.testing.assert_close(loss.terms["dice"], parts[1])
    torch.testing.assert_close(loss.terms["contrastive"], contrastive)
    torch.testing.assert_close(total, parts[0] + 2 * parts[1] + contrastive / 2)
