"""Weights as safetensors: the same model, nothing unpickled, and each hostile file refused in one line."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from custom_components.errors import InputError
from custom_components.models import tensor_files
from custom_components.models.checkpoints import build_network, load_model, load_weights, model_file, save_checkpoint
from custom_components.models.tensor_files import read_tensor_file, tensor_bytes
from custom_components.workflows.packaged import publish
from safetensors.torch import load, save
from support.hostile_bundles import TENSORS, hostile_bundles, write_good
from support.models import make_model

MODEL = "models/model.pt"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_good(tmp_path_factory.mktemp("good"))


@pytest.fixture
def bundle(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "bundle"))


def described(model: Any) -> dict[str, Any]:
    return {key: value for key, value in model.to_dict().items() if key not in ("format", "model")}


def test_a_file_alone_is_the_whole_model(tmp_path: Path) -> None:
    model, path = make_model(), tmp_path / "model.safetensors"
    path.write_bytes(tensor_bytes(model.weights, described=described(model), pickled="0"))
    found = load_model(path)
    assert found.to_dict().keys() == model.to_dict().keys()
    assert {**found.to_dict(), "model": 0} == {**model.to_dict(), "model": 0}
    assert found.weights.keys() == model.weights.keys()
    assert all(torch.equal(found.weights[name], each) for name, each in model.weights.items())
    assert found.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    backwards = dict(reversed(model.weights.items()))
    assert path.read_bytes() == tensor_bytes(backwards, described=described(model), pickled="0")


def test_a_bundle_is_read_without_unpickling(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = torch.load(bundle / MODEL, weights_only=True)
    digest = hashlib.sha256((bundle / MODEL).read_bytes()).hexdigest()
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("unpickled"))
    model = load_model(bundle)
    assert model.digest == digest  # by which results know the model, whichever file was read
    assert all(torch.equal(model.weights[name], each) for name, each in expected.items())
    network = load_weights(build_network(model), path=bundle / MODEL)
    assert all(torch.equal(network.state_dict()[name], each) for name, each in expected.items())
    (bundle / MODEL).unlink()
    assert model_file(bundle) == bundle / TENSORS
    assert load_model(bundle).digest == hashlib.sha256((bundle / TENSORS).read_bytes()).hexdigest()


def test_without_the_library_the_pickled_file_is_read(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bundle / TENSORS).write_bytes(b"not looked at")
    monkeypatch.setattr(tensor_files.importlib.util, "find_spec", lambda name: None)
    assert load_model(bundle).weights.keys() == torch.load(bundle / MODEL, weights_only=True).keys()


def test_two_files_that_contradict_are_refused(bundle: Path) -> None:
    weights = torch.load(bundle / MODEL, weights_only=True)
    torch.save({name: each + 1 for name, each in weights.items()}, bundle / MODEL)
    rule = r"model\.pt must hold the weights of model\.safetensors next to it .*, got another file .*; remove the one"
    for read in (lambda: load_model(bundle), lambda: load_model(bundle / TENSORS)):
        with pytest.raises(InputError, match=rule):
            read()


HOSTILE = [each for each in hostile_bundles() if each.file == TENSORS]


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda each: each.name)
def test_hostile_files_are_refused_in_one_line(hostile: Any, good: Path, tmp_path: Path) -> None:
    path = hostile.make(tmp_path, good, tmp_path / "canary").parent / "made" / good.name / TENSORS
    path.with_name("model.pt").unlink()
    with pytest.raises(InputError) as error:
        build_network(load_model(path))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-1], r"must match its SHA-256 in model\.safetensors\.sha256"),
        (lambda data: save(load(data)), "must match its SHA-256"),
    ],
)
def test_damage_is_found_by_the_digest(bundle: Path, change: Callable[[bytes], bytes], message: str) -> None:
    (bundle / TENSORS).write_bytes(change((bundle / TENSORS).read_bytes()))
    with pytest.raises(InputError, match=message):
        load_model(bundle)


def test_new_weights_take_the_place_of_both_files(bundle: Path, tmp_path: Path) -> None:
    model = load_model(bundle)
    weights = {name: each + 1 if each.is_floating_point() else each for name, each in model.weights.items()}
    save_checkpoint(tmp_path / "run" / "model.pt", replace(model, weights=weights))
    publish(tmp_path / "run", path=bundle / MODEL)
    content, digest = read_tensor_file(bundle / TENSORS)
    assert digest == hashlib.sha256((bundle / MODEL).read_bytes()).hexdigest() != model.digest
    assert all(torch.equal(content["model"][name], each) for name, each in weights.items())
    assert content["domains"] == json.loads((bundle / "configs/inference.json").read_text())["model"]["domains"]


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model none\.safetensors must be a file, got none"):
        load_model(tmp_path / "none.safetensors")
