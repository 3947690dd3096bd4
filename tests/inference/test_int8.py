"""An int8 network answers as the float32 one does, always alike, and says in one line why it cannot."""

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import onnx
import pytest
import torch
from custom_components.data.preprocessing import Preprocessing
from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.inference.inferers import SlicewiseInferer
from custom_components.inference.int8 import QuantisedNetwork, int8_path
from custom_components.inference.networks import build_inference_network, precision_of
from custom_components.models.checkpoints import build_network, state_dict_bytes
from custom_components.models.digests import digest_path
from custom_components.models.trained_model import TrainedModel
from custom_components.networks.forwards import answer_for
from custom_components.networks.unet import MultiDomainUNet

from multijoint.sharing.packaging.int8_networks import with_digest
from multijoint.sharing.packaging.quantising import NUM_SLICES, quantise

DOMAINS = (Domain("ankle", {1: "talus", 2: "tibia"}, "axial"), Domain("shoulder", {1: "humerus"}, "axial"))


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    """Random weights, and norms that are not trivial."""
    torch.manual_seed(0)
    network = MultiDomainUNet([3, 2], widths=[4, 8, 16], attention=True, domain_names=["ankle", "shoulder"])
    for _ in range(20):
        network(torch.randn(4, 1, 32, 32), torch.tensor([0, 0, 1, 1]))
    weights = network.state_dict()
    digest = hashlib.sha256(state_dict_bytes(_model(network, weights))).hexdigest()
    return replace(_model(network, weights), digest=digest)


def _model(network: MultiDomainUNet, weights: dict[str, torch.Tensor]) -> TrainedModel:
    return TrainedModel(DOMAINS, Preprocessing((32, 32)), network.settings(), weights, training={})


@pytest.fixture(scope="module")
def bundle(model: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of a packaged bundle."""
    folder = tmp_path_factory.mktemp("bundle")
    slices = list(torch.randn(NUM_SLICES, 1, 1, 32, 32))
    files = with_digest("models/model.pt", state_dict_bytes(model))
    for domain in DOMAINS:
        data = quantise(model, domain=domain.name, slices=slices, digest=model.digest)
        files |= with_digest(f"models/{domain.name}.int8.onnx", data)
    (folder / "models").mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


@pytest.fixture
def in_num_threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_it_answers_as_float32_for_every_domain(model: TrainedModel, bundle: Path) -> None:
    x = torch.randn(3, 1, 32, 32)
    network = build_inference_network(model, checkpoint=bundle, domain="shoulder", precision="int8").eval()
    for domain, classes in (("shoulder", 2), ("ankle", 3)):
        answer_for(network, domain)
        expected, found = build_network(model, domain=domain)(x).detach(), network(x)
        assert found.shape == (3, classes, 32, 32)
        assert found.dtype == torch.float32
        assert not torch.equal(found, expected)
        assert float((found - expected).abs().max()) < 0.1 * float(expected.std())
    network.set_domain("shoulder")
    assert network(x).shape[1] == 2
    float32 = build_inference_network(model, checkpoint=bundle, domain="ankle")
    torch.testing.assert_close(float32(x), expected, rtol=0, atol=0)


def test_threads_and_batches_change_no_bit(
    model: TrainedModel, bundle: Path, in_num_threads: Callable[[int], None]
) -> None:
    volume = torch.randn(1, 1, 32, 32, 11)
    inferer = SlicewiseInferer(roi_size=(32, 32), spatial_dim=2, sw_batch_size=16, domain="ankle")
    found = []
    for num_threads in (1, 2, 5):
        in_num_threads(num_threads)
        network = QuantisedNetwork(model, checkpoint=bundle)
        found += [inferer(volume, network) for _ in range(2)]
        found.append(network(volume[0].permute(3, 0, 1, 2)).permute(1, 2, 3, 0)[None])
    assert all(torch.equal(each, found[0]) for each in found)


def test_the_first_call_is_alone(model: TrainedModel, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First calls of two threads can wait for each other for ever."""
    calls: list[str] = []

    class Request:
        def infer(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
            calls.append("begin")
            time.sleep(0.05)
            calls.append("end")
            return [np.zeros((1, 3, 32, 32), np.float32)]

    network = QuantisedNetwork(model, checkpoint=bundle)
    runtime = MagicMock()
    compiled = runtime.compile_model.return_value
    compiled.input().shape = (1, 1, 32, 32)
    compiled.create_infer_request = Request
    monkeypatch.setattr("custom_components.inference.openvino_runtime.openvino_core", lambda: runtime)
    with ThreadPoolExecutor(3) as pool:
        assert all(each.shape == (1, 3, 32, 32) for each in pool.map(network, [torch.zeros(1, 1, 32, 32)] * 3))
    assert calls[:2] == ["begin", "end"]
    assert calls[2:4] == ["begin", "begin"]  # the others not
    assert runtime.compile_model.call_count == 1


def test_the_file_is_found_beside_the_weights(model: TrainedModel, bundle: Path) -> None:
    described, weights = replace(model, digest=""), bundle / "models" / "model.pt"
    assert int8_path(bundle, "ankle") == int8_path(weights, "ankle") == bundle / "models" / "ankle.int8.onnx"
    x = torch.randn(1, 1, 32, 32)
    both = [QuantisedNetwork(described, checkpoint=path)(x) for path in (bundle, weights)]
    assert torch.equal(*both)


def test_a_record_tells_one_int8_network_from_another(model: TrainedModel, bundle: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256((bundle / "models/ankle.int8.onnx").read_bytes()).hexdigest()
    how = {"model": model, "domain": "ankle"}
    assert precision_of("int8", checkpoint=bundle, **how) == f"int8 {digest}"
    assert precision_of("float32", checkpoint=bundle, **how) == "float32"
    assert precision_of("int8", checkpoint=tmp_path, **how) == "int8"


def test_what_cannot_be_used_is_named(model: TrainedModel, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(model: TrainedModel = model, **how: object) -> None:
        build_inference_network(model, **{"checkpoint": copy, "domain": "ankle", "precision": "int8"} | how)

    path = copy / "models" / "ankle.int8.onnx"
    with pytest.raises(InputError, match="precision must be one of float32, bfloat16, int8, got 'int4'"):
        build(precision="int4")
    with pytest.raises(InputError, match="precision int8 must run on a CPU, got device cuda; set device: cpu"):
        build(device="cuda")
    with pytest.raises(InputError, match="domain must be one of ankle, shoulder, got 'knee'"):
        build(domain="knee")
    with pytest.raises(InputError, match=r"ankle\.int8\.onnx must be of the weights beside it, got of others"):
        build(replace(model, digest="0" * 64))
    with pytest.raises(InputError, match=r"of domain ankle, \[1, 64, 64\] to \[3, 64, 64\], got ankle, \[1, 32, 32\]"):
        build(replace(model, preprocessing=Preprocessing((64, 64))))
    with pytest.raises(ValueError, match=r"images must be of size \[1, 32, 32\], got \[1, 16, 32\]"):
        QuantisedNetwork(model, checkpoint=copy)(torch.zeros(1, 1, 16, 32))
    with pytest.raises(InputError, match="images for an int8 network must be on the CPU, got meta"):
        QuantisedNetwork(model, checkpoint=copy)(torch.zeros(1, 1, 32, 32, device="meta"))

    whole = path.read_bytes()
    path.write_bytes(whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
    with pytest.raises(InputError, match=r"must match its SHA-256 in ankle\.int8\.onnx\.sha256"):
        build()
    for data in (b"\xff" * 99, onnx.ModelProto().SerializeToString()):
        _replace(path, data)
        with pytest.raises(InputError, match=r"ankle\.int8\.onnx must be an int8 network of this project, got another"):
            build()
    _replace(path, (copy / "models/shoulder.int8.onnx").read_bytes())
    with pytest.raises(InputError, match=r"must be of domain ankle, .*, got shoulder, .*; package again with --int8"):
        build()
    for part in (digest_path(path), path):
        part.unlink()
        with pytest.raises(InputError, match=r"must have ankle\.int8\.onnx and its \.sha256 .*package --int8, or use"):
            build()


def _replace(path: Path, data: bytes) -> None:
    for name, content in with_digest(path.name, data).items():
        path.with_name(name).write_bytes(content)
