import contextlib
import copy
import itertools
import math
import warnings
from pathlib import Path
from typing import Any

import monai.inferers
import onnxruntime
import pytest
import torch
from custom_components.errors import InputError
from custom_components.losses import MultiDomainSegmentationLoss
from custom_components.networks.forwards import EmbeddingForward
from custom_components.networks.norms import DomainSpecificBatchNorm2d, group_by_domain
from custom_components.networks.parameters import count_parameters, group_parameters
from custom_components.networks.unet import MultiDomainUNet
from torch import Tensor, nn

WIDTHS = [4, 6, 8]
SCHEMES = list(itertools.product((False, True), ("domain", "shared")))
TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}


def make_network(num_classes: tuple[int, ...] = (4, 3), **settings: Any) -> MultiDomainUNet:
    """A small network in evaluation mode whose domains differ in every norm and head."""
    generator = torch.Generator().manual_seed(0)
    names = [f"domain{index}" for index in range(len(num_classes))]
    network = MultiDomainUNet(num_classes, **({"widths": WIDTHS, "domain_names": names} | settings))
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                values = torch.rand(tensor.shape, generator=generator)
                tensor.copy_(0.5 + values if ".norms." in name else (values - 0.45) / tensor[0].numel() ** 0.5)
    return network.eval()


def make_scheme(attention: bool, scheme: str, **settings: Any) -> MultiDomainUNet:
    return make_network(attention=attention, norm=scheme, head=scheme, **settings)


def make_images(num_images: int, *, rows: int = 8, columns: int = 12, channels: int = 1, seed: int = 1) -> Tensor:
    return torch.randn(num_images, channels, rows, columns, generator=torch.Generator().manual_seed(seed))


def script(network: nn.Module) -> Any:
    with warnings.catch_warnings():
        # torch 2.13 deprecates TorchScript; bundles are still exchanged in it (`monai.bundle ckpt_export`).
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.script", category=DeprecationWarning)
        return torch.jit.script(network)


def export_onnx(network: nn.Module, images: Tensor, path: Path) -> Any:
    with warnings.catch_warnings():
        # torch 2.13 uses its own deprecated class while it exports.
        warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)", category=FutureWarning)
        torch.onnx.export(network, (images,), path, dynamo=True, verbose=False)
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_default_size_is_the_papers() -> None:
    widths, shared = [32, 64, 128, 256, 512], 0
    for source, width in zip([1, *widths[:-1]], widths, strict=True):
        shared += (9 * source + 1) * width + (9 * width + 1) * width
    for below, width in zip(widths[:0:-1], widths[-2::-1], strict=True):
        shared += (4 * below + 1) * width + (9 * 2 * width + 1) * width + (9 * width + 1) * width
    # Two norms of 2 C weights in each block (encoder 992, decoder 480 channels); the 1x1 head takes 32 features.
    norms = 2 * 2 * (992 + 480)
    total, own = count_parameters(MultiDomainUNet([4]))
    assert (total, own) == (shared + norms + 33 * 4, norms + 33 * 4)
    assert (f"{total / 1e6:.2f}", round(own, -3), f"{own / total:.2%}") == ("7.77", 6000, "0.08%")

    both, second = count_parameters(MultiDomainUNet([4, 3], domain=1))
    assert (both, second) == (total + norms + 33 * 3, norms + 33 * 3)
    joint, nothing = count_parameters(MultiDomainUNet([4, 3], norm="shared", head="shared"))
    assert (joint, nothing) == (shared + norms + 33 * 6, 0)


@pytest.mark.parametrize(("attention", "scheme"), SCHEMES)
def test_shapes_of_every_scheme(attention: bool, scheme: str) -> None:
    network = make_scheme(attention, scheme)
    images = make_images(3)
    channels = {"domain": [4, 3], "shared": [6, 6]}[scheme]
    for domain in range(2):
        network.set_domain(domain)
        assert network(images).shape == (3, channels[domain], 8, 12)
    logits, embedding = network.forward_with_embedding(images, torch.tensor([1, 0, 1]))
    assert (logits.shape, embedding.shape) == ((3, max(channels), 8, 12), (3, WIDTHS[-1]))
    assert make_network((4,), in_channels=2, attention=attention)(make_images(2, channels=2)).shape == (2, 4, 8, 12)


@pytest.mark.parametrize(("attention", "scheme"), SCHEMES)
def test_a_mixed_batch_equals_one_call_a_domain(attention: bool, scheme: str) -> None:
    network = make_scheme(attention, scheme)
    images, domains = make_images(5), torch.tensor([1, 0, 0, 1, 0])
    mixed, embedding = network.forward_with_embedding(images, domains)
    torch.testing.assert_close(network(images, domains), mixed)
    torch.testing.assert_close(EmbeddingForward(network)(images, domains), (mixed, embedding))
    for sample, domain in enumerate(domains.tolist()):
        network.set_domain(domain)
        alone = network(images[sample : sample + 1])
        torch.testing.assert_close(mixed[sample : sample + 1, : alone.shape[1]], alone, **TOLERANCE)
        own = network.forward_with_embedding(images[sample : sample + 1], domains[sample : sample + 1])[1]
        torch.testing.assert_close(embedding[sample : sample + 1], own, **TOLERANCE)
        probability = mixed[sample].softmax(dim=0)
        assert bool((probability[alone.shape[1] :] == 0).all()), "channels that a domain lacks have probability 0"


def test_domains_differ_unless_all_is_shared() -> None:
    images = make_images(1)
    for norm, head, same in (("domain", "domain", False), ("domain", "shared", False), ("shared", "shared", True)):
        network = make_network((3, 3), norm=norm, head=head)
        outputs = [network(images, torch.tensor([domain])) for domain in range(2)]
        assert torch.equal(*outputs) is same, (norm, head)


def test_embedding_is_the_global_maximum_of_the_bottleneck() -> None:
    images, domains = make_images(3), torch.tensor([1, 0, 1])
    network = make_network()
    seen: dict[str, Tensor] = {}
    handle = network.up[0].register_forward_pre_hook(lambda _, inputs: seen.update(bottleneck=inputs[0]))
    _, embedding = network.forward_with_embedding(images, domains)
    handle.remove()
    by_domain = torch.argsort(domains, stable=True)
    expected = seen["bottleneck"].flatten(2).max(dim=2).values
    assert torch.equal(embedding[by_domain], expected)

    other = make_network(embedding="convolution")
    handle = other.bottleneck.conv2.register_forward_hook(lambda _, __, output: seen.update(raw=output))
    logits, raw = other.forward_with_embedding(images, domains)
    handle.remove()
    assert torch.equal(raw[by_domain], seen["raw"].flatten(2).max(dim=2).values)
    assert torch.equal(logits, network(images, domains)), "where the embedding is taken must not change the logits"
    assert not torch.allclose(raw, embedding)


def test_gradient_reaches_only_the_domains_present() -> None:
    network = make_network((4, 3, 2), attention=True).train()
    logits, _ = network.forward_with_embedding(make_images(4), torch.tensor([2, 0, 2, 0]))
    logits.clamp(min=-100).square().mean().backward()
    for name, weight in network.named_parameters():
        absent = ".norms.1." in name or name.startswith("heads.1.")
        assert (weight.grad is None) is absent, name


@pytest.mark.parametrize(("attention", "scheme"), SCHEMES)
def test_torchscript_agrees(attention: bool, scheme: str) -> None:
    network = make_scheme(attention, scheme)
    images, domains = make_images(3), torch.tensor([1, 0, 1])
    for domain in range(2):
        network.set_domain(domain)
        scripted = script(network)
        torch.testing.assert_close(scripted(images), network(images), **TOLERANCE)
    torch.testing.assert_close(scripted(images, domains), network(images, domains), **TOLERANCE)
    with pytest.raises(torch.jit.Error, match=r"domain index must be 0\.\.1, got 2"):
        scripted(images, torch.tensor([0, 2, 1]))


def test_a_training_step_compiles_to_one_graph() -> None:
    network, other = (make_network(attention=True, widths=WIDTHS[:2]).train() for _ in range(2))
    images, groups = make_images(5), group_by_domain(torch.tensor([0, 0, 1, 1, 1]), 2)[1]
    compiled = torch.compile(network.forward_grouped, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(images, groups), other.forward_grouped(images, groups), **TOLERANCE)
    torch.testing.assert_close(dict(network.named_buffers()), dict(other.named_buffers()), **TOLERANCE)


@pytest.mark.parametrize("shares", [[0, 0, 1], [1, 0, 1]])
@pytest.mark.parametrize(("attention", "scheme"), SCHEMES)
def test_a_training_step_never_waits_for_the_device(
    attention: bool, scheme: str, shares: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the device `meta` there are no values: whatever asked for one, as `item` does, would fail."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # it knows no such device
    network, domains = make_scheme(attention, scheme).to("meta").train(), torch.tensor(shares)
    loss = MultiDomainSegmentationLoss([4, 3], head=scheme)
    target = (torch.zeros(3, 1, 8, 12, dtype=torch.uint8, device="meta"), domains)
    loss(network.forward_with_embedding(make_images(3).to("meta"), domains), target).backward()
    assert all(weight.grad is not None for weight in network.parameters())


@pytest.mark.parametrize(("attention", "scheme"), SCHEMES)
def test_onnx_agrees_for_each_domain(tmp_path: Path, attention: bool, scheme: str) -> None:
    network = make_scheme(attention, scheme, widths=WIDTHS[:2])  # an export costs seconds a resolution
    images = make_images(2)
    for domain in range(2 if scheme == "domain" else 1):
        network.set_domain(domain)
        session = export_onnx(network, images, tmp_path / f"{domain}.onnx")
        (logits,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), network(images).detach(), **TOLERANCE)


def test_slice_inferer_equals_slice_by_slice() -> None:
    network = make_network(domain="domain1")
    volume = make_images(5, rows=16, columns=8)[:, 0].permute(1, 2, 0)[None, None]
    inferer = monai.inferers.SliceInferer(roi_size=(16, 8), sw_batch_size=2, spatial_dim=2)
    with torch.no_grad():
        logits = inferer(volume, network)
        assert logits.shape == (1, 3, 16, 8, 5)
        for position in range(5):
            expected = network(volume[..., position])
            torch.testing.assert_close(logits[..., position], expected, **TOLERANCE)


def test_set_domain_by_index_and_name() -> None:
    network = make_network()
    images = make_images(1)
    network.set_domain("domain1")
    assert network.domain == 1
    torch.testing.assert_close(network(images), network(images, torch.tensor([1]))[:, :3])
    network.set_domain(0)
    torch.testing.assert_close(network(images), network(images, torch.tensor([0])))
    with pytest.raises(ValueError, match="domain must be one of domain0, domain1, got 'hip'"):
        network.set_domain("hip")
    for index in (-1, 2):
        with pytest.raises(ValueError, match=rf"domain index must be 0\.\.1, got {index}"):
            network.set_domain(index)


@pytest.mark.parametrize("attention", [False, True])
def test_an_added_domain_leaves_the_others_bit_identical(attention: bool) -> None:
    network = make_network(attention=attention)
    images, domains = make_images(3), torch.tensor([1, 0, 1])
    before = network(images, domains)
    assert network.add_domain(5, name="hip", like="domain1") == 2
    after = network(images, domains)
    assert after.shape[1] == 5
    assert torch.equal(after[:, :4], before)
    network.set_domain("hip")
    assert network(images).shape == (3, 5, 8, 12)
    embeddings = [network.forward_with_embedding(images, torch.full((3,), domain))[1] for domain in range(3)]
    assert torch.equal(embeddings[2], embeddings[1]), "its norms start as copies"
    assert not torch.equal(embeddings[2], embeddings[0])

    rebuilt = MultiDomainUNet(**network.settings(), domain="hip").eval()
    rebuilt.load_state_dict(network.state_dict())
    assert torch.equal(rebuilt(images), network(images))


def test_errors_of_add_domain() -> None:
    network = make_network()
    with pytest.raises(ValueError, match="domain 'domain1' must be new, the network has domain0, domain1"):
        network.add_domain(3, name="domain1")
    with pytest.raises(ValueError, match=r"num_classes must be at least 2 \(background and one bone\), got 1"):
        network.add_domain(1, name="hip")
    for shared in ({"norm": "shared"}, {"head": "shared"}):
        with pytest.raises(ValueError, match="only to a network with norm='domain' and head='domain'"):
            make_network(**shared).add_domain(3, name="hip")


@pytest.mark.parametrize(("like", "message"), [("hip", "domain must be one of"), (-1, "must be 0"), (2, "must be 0")])
def test_a_domain_is_added_like_a_known_one_or_not_at_all(like: int | str, message: str) -> None:
    network = make_network()
    with pytest.raises(ValueError, match=message):
        network.add_domain(3, name="knee", like=like)
    assert network.settings() == make_network().settings()
    norms = [module for module in network.modules() if isinstance(module, DomainSpecificBatchNorm2d)]
    assert {len(norm.norms) for norm in norms} == {2}


@pytest.mark.parametrize(
    "changed",
    [{}, {"attention": True}, {"norm": "shared"}, {"head": "shared"}, {"embedding": "convolution"}, {"in_channels": 2}],
    ids=str,
)
def test_settings_rebuild_the_same_network(changed: dict[str, Any]) -> None:
    network = make_network(**changed)
    settings = network.settings()
    rebuilt = MultiDomainUNet(**settings).eval()
    assert rebuilt.settings() == settings
    rebuilt.load_state_dict(network.state_dict())
    images, domains = make_images(2, channels=settings["in_channels"]), torch.tensor([1, 0])
    expected = network.forward_with_embedding(images, domains)
    assert all(map(torch.equal, rebuilt.forward_with_embedding(images, domains), expected))


@pytest.mark.parametrize(("rows", "columns"), [(250, 256), (256, 264)])
def test_image_size_must_be_a_multiple_of_sixteen(rows: int, columns: int) -> None:
    network = make_network(widths=[2, 2, 2, 2, 2])
    with pytest.raises(
        ValueError, match=f"image size must be a multiple of 16, got {rows} x {columns}; set image_size"
    ):
        network(torch.zeros(1, 1, rows, columns))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"norm": "batch"}, ValueError, "norm must be 'domain' or 'shared' or 'folded', got 'batch'"),
        ({"head": "union"}, InputError, "head must be 'domain' or 'shared', got 'union'"),
        ({"embedding": "logits"}, ValueError, "embedding must be 'bottleneck' or 'convolution', got 'logits'"),
        ({"widths": [8]}, ValueError, r"widths must name at least two resolutions, got \[8\]"),
        ({"num_classes": (4, 1)}, ValueError, r"num_classes must be at least 2 .*, got \[4, 1\]"),
        ({"num_classes": ()}, ValueError, r"num_classes must be at least 2 .*, got \[\]"),
        ({"domain_names": ["a"]}, ValueError, r"domain_names must be 2 different names, got \['a'\]"),
        ({"domain_names": ["a", "a"]}, ValueError, "domain_names must be 2 different names"),
        ({"domain": 2}, ValueError, r"domain index must be 0\.\.1, got 2"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make_network(**settings)


def test_bad_domains_are_refused() -> None:
    network = make_network()
    with pytest.raises(ValueError, match=r"domain index must be 0\.\.1, got 2; add the domain"):
        network(make_images(2), torch.tensor([0, 2]))
    with pytest.raises(ValueError, match=r"domains must hold one index a sample \(2\), got 1"):
        network(make_images(2), torch.tensor([0]))


def test_every_bone_starts_at_its_prior() -> None:
    network = MultiDomainUNet([4, 3], widths=WIDTHS, foreground_prior=0.02).eval()
    for domain, count in enumerate(network.num_classes):
        head = network.heads[domain]
        head.weight.data.zero_()  # the bias alone: the random weights scatter around it
        network.set_domain(domain)
        probability = network(torch.randn(1, 1, 32, 32)).softmax(dim=1).mean(dim=(0, 2, 3))
        expected = 0.02 / (1 + 0.02 * (count - 1))
        torch.testing.assert_close(probability[1:], torch.full((count - 1,), expected))
    index = network.add_domain(3, name="knee")
    torch.testing.assert_close(network.heads[index].bias, torch.tensor([0.0, math.log(0.02), math.log(0.02)]))


@pytest.mark.parametrize("prior", [0.0, 1.0, -0.5])
def test_foreground_prior_must_be_a_probability(prior: float) -> None:
    with pytest.raises(ValueError, match="foreground_prior must be a probability between 0 and 1"):
        make_network(foreground_prior=prior)


def test_parameter_groups_hold_every_weight_once_and_the_heads_learn_faster() -> None:
    network = make_network()
    body, heads = group_parameters(network, learning_rate=0.5, head_factor=10)
    assert (body["lr"], heads["lr"]) == (0.5, 5.0)
    assert {id(weight) for weight in heads["params"]} == {id(weight) for weight in network.heads.parameters()}
    together = [id(weight) for group in (body, heads) for weight in group["params"]]
    assert sorted(together) == sorted(id(weight) for weight in network.parameters())


@pytest.mark.parametrize("attention", [False, True])
def test_the_encoder_alone_gives_both_embeddings_of_a_mixed_batch(attention: bool) -> None:
    network = make_network(attention=attention)
    before_affine = make_network(attention=attention, embedding="convolution")
    images, domains = torch.rand(5, 1, 16, 16), torch.tensor([1, 0, 1, 1, 0])
    with torch.inference_mode():
        bottleneck, convolution = network.embed(images, domains)
        torch.testing.assert_close(bottleneck, network.forward_with_embedding(images, domains)[1])
        torch.testing.assert_close(convolution, before_affine.forward_with_embedding(images, domains)[1])
        assert not torch.allclose(bottleneck, network.embed(images, 1 - domains)[0])


def test_deep_supervision_gives_logits_of_lower_resolutions_in_training_alone() -> None:
    network = make_network((4, 3), widths=(4, 6, 8, 10), deep_supervision=2)
    images, domains = torch.randn(3, 1, 16, 24), torch.tensor([0, 0, 1])
    network.train()
    logits, embeddings, deep = EmbeddingForward(network)(images, domains)
    assert [len(embeddings), *(tuple(each.shape) for each in deep)] == [1, (3, 4, 8, 12), (3, 4, 4, 6)]
    assert bool((deep[0][2, 3] == network.absent_logit).all()), "domain 1 has three classes"
    seen: list[Tensor] = []
    handle = network.decoder[1].register_forward_hook(lambda _, __, output: seen.append(output))
    _, _, again = EmbeddingForward(network)(images, domains)
    handle.remove()
    torch.testing.assert_close(again[0][:2], network.deep_heads[0][0](seen[0][:2]))
    network.eval()
    plain = EmbeddingForward(network)(images, domains)
    assert len(plain) == 2
    assert plain[0].shape == logits.shape


def test_embeddings_of_several_scales_are_maxima_of_the_encoder_from_coarse_to_fine() -> None:
    images, domains = make_images(3), torch.tensor([0, 1, 1])
    for kind in ("bottleneck", "convolution"):
        network = make_network(embedding=kind, embedding_scales=len(WIDTHS))
        blocks = [network.bottleneck, *list(network.encoder)[::-1]]
        _, embeddings, _ = EmbeddingForward(network)(images, domains)
        assert [each.shape[1] for each in embeddings] == list(WIDTHS)[::-1]
        features = images
        for block in network.encoder:
            convolved = block.convolve(features, [(0, 1), (1, 2)])
            features = block.activate(convolved, [(0, 1), (1, 2)])
            expected = (features if kind == "bottleneck" else convolved).amax(dim=(2, 3))
            torch.testing.assert_close(embeddings[blocks.index(block)], expected)
            features = network.pool(features)


@pytest.mark.parametrize("training", [False, True])
def test_a_list_of_one_batch_a_domain_is_exactly_the_mixed_batch(training: bool) -> None:
    network = make_network((4, 3), deep_supervision=1, embedding_scales=2).train(training)
    images, domains = make_images(5), torch.tensor([0, 0, 1, 1, 1])
    mixed = EmbeddingForward(copy.deepcopy(network))(images, domains)
    parts = EmbeddingForward(network)([images[:2], images[2:]], domains)
    torch.testing.assert_close([torch.cat(parts[0]), *parts[1]], [mixed[0], *mixed[1]], **TOLERANCE)
    torch.testing.assert_close([torch.cat(level) for level in parts[2]], mixed[2], **TOLERANCE)


def test_domains_of_a_list_may_have_sizes_of_their_own() -> None:
    network = make_network((4, 3))
    large, small = make_images(2), torch.randn(3, 1, 4, 4)
    (first, second), embedding = EmbeddingForward(network)([large, small], torch.tensor([0, 0, 1, 1, 1]))
    network.set_domain(1)
    torch.testing.assert_close(second[:, :3], network(small), **TOLERANCE)
    assert (first.shape[2:], embedding.shape) == (large.shape[2:], (5, WIDTHS[-1]))
    with pytest.raises(ValueError, match=r"must have \[\(0, 1\), \(1, 1\)\]"):
        EmbeddingForward(network)([large, small], torch.tensor([0, 1]))
    shared = make_network((4, 3), norm="shared", head="shared")
    with pytest.raises(InputError, match="one size for all domains where norms are shared"):
        EmbeddingForward(shared)([large, small], torch.tensor([0, 0, 1, 1, 1]))


def test_bones_of_one_name_share_a_row_of_weights() -> None:
    names = [["L4", "L5"], ["T12", "L4", "L5"]]
    network = make_network((3, 4), label_names=names)
    weights = [head.weights() for head in network.heads]
    for part in range(2):
        assert torch.equal(weights[0][part][1:], weights[1][part][2:])
    assert not torch.equal(weights[0][0][0], weights[1][0][0]), "the background is a domain's own"
    logits = network(make_images(1), torch.tensor([0]))
    network.zero_grad()
    logits[:, 2].sum().backward()
    gradient = network.heads[1].shared.weight.grad  # L4, L5, T12: in the order in which the names appear
    assert [bool(row.any()) for row in gradient] == [False, True, False]
    rebuilt = MultiDomainUNet(**network.settings())
    rebuilt.load_state_dict(network.state_dict())
    assert torch.equal(rebuilt.eval()(make_images(1)), network(make_images(1)))
    bias = MultiDomainUNet([3, 4], label_names=names).heads[0].weights()[1]
    torch.testing.assert_close(bias, torch.tensor([0.0, *[math.log(0.01)] * 2]))
    before = [network(make_images(1), torch.tensor([domain])) for domain in range(2)]
    network.add_domain(2, name="knee")
    assert network.settings()["label_names"] == [*names, None]
    assert all(torch.equal(network(make_images(1), torch.tensor([domain])), before[domain]) for domain in range(2))
    again = MultiDomainUNet(**network.settings())
    again.load_state_dict(network.state_dict())
    torch.jit.script(again.eval())  # as packages do
    with pytest.raises(InputError, match="label_names must name the bones"):
        make_network((3, 3), label_names=names)


@pytest.mark.parametrize("as_list", [False, True])
def test_in_bfloat16_convolutions_are_rounded_and_results_and_gradients_stay_float32(as_list: bool) -> None:
    network = make_network((4, 3), deep_supervision=1, embedding_scales=2)
    images, domains = make_images(5), torch.tensor([0, 0, 1, 1, 1])
    batch: Any = [images[:2], images[2:]] if as_list else images
    exact = EmbeddingForward(copy.deepcopy(network))(batch, domains)
    seen: list[torch.dtype] = []
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    convolutions[1].register_forward_hook(lambda _, __, result: seen.append(result.dtype))
    rounded = EmbeddingForward(network, dtype=torch.bfloat16)(batch, domains)
    assert (set(seen), {each.dtype for each in _tensors(rounded)}) == ({torch.bfloat16}, {torch.float32})
    first, second = (torch.cat([each.flatten() for each in _tensors(results[0])]) for results in (exact, rounded))
    used = first > -100  # not the channels that a domain does not have
    assert 0 < (first - second)[used].abs().max() < 0.2
    second.sum().backward()
    assert {weight.grad.dtype for weight in network.parameters() if weight.grad is not None} == {torch.float32}


def _tensors(results: Any) -> list[torch.Tensor]:
    return [results] if isinstance(results, torch.Tensor) else [one for each in results for one in _tensors(each)]
