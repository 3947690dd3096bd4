import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from custom_components.errors import InputError
from custom_components.models.checkpoints import build_network, load_checkpoint, load_model, save_checkpoint
from custom_components.networks.unet import MultiDomainUNet
from custom_components.training.resuming import load_newest
from support.models import DOMAINS, make_model


@pytest.mark.parametrize("settings", [{}, {"attention": True}, {"norm": "shared", "head": "shared"}], ids=str)
def test_round_trip(tmp_path: Path, settings: dict[str, object]) -> None:
    model = make_model(**settings)
    save_checkpoint(tmp_path / "run" / "model.pt", model)
    loaded = load_model(tmp_path / "run" / "model.pt")
    for field in ("domains", "preprocessing", "network", "training"):
        assert getattr(loaded, field) == getattr(model, field), field
    assert list(loaded.domains[0].labels) == [3, 1]
    images = torch.randn(2, 1, 16, 8)
    original = MultiDomainUNet(**model.network).eval()
    original.load_state_dict(dict(model.weights))
    for index, domain in enumerate(DOMAINS):
        network = build_network(loaded, domain=domain.name)
        assert not network.training
        assert network.domain == index
        original.set_domain(index)
        assert torch.equal(network(images), original(images))
    assert build_network(loaded).domain == 0
    assert loaded.domain("shoulder") == DOMAINS[1]


def test_more_to_resume_from_travels_in_the_same_file(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight])
    weight.grad = torch.ones(3)
    optimizer.step()
    save_checkpoint(tmp_path / "last.pt", make_model(), resume={"optimizer": optimizer.state_dict(), "best": 0.5})
    state = load_checkpoint(tmp_path / "last.pt")["resume"]
    assert state["best"] == 0.5
    torch.testing.assert_close(state["optimizer"], optimizer.state_dict())
    assert load_model(tmp_path / "last.pt").domains == DOMAINS


def test_the_file_holds_nothing_that_executes(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model.pt", make_model())
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    assert content["domains"][1] == {"name": "shoulder", "labels": [[2, "humerus"]], "plane": "axial", "modality": "MR"}


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda weight: torch.eye(3).to_sparse(), "sparse"),
        (lambda weight: torch.eye(3).to_sparse_csr(), "sparse"),
        (lambda weight: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "quantised"),
        (lambda weight: torch.empty_like(weight, device="meta"), r"without numbers \(device meta\)"),
        (lambda weight: torch.zeros(1).expand(weight.shape), "expanded to .* from fewer numbers"),
        (lambda weight: torch.zeros(1).expand(2**20, 2**20), "expanded to .* from fewer numbers"),
        (lambda weight: weight.to(torch.complex64), "of complex64"),
        (lambda weight: weight.to(torch.float8_e4m3fn), "of float8_e4m3fn"),
    ],
)
@pytest.mark.filterwarnings("ignore:Sparse", "ignore:.*deprecated")
def test_tensors_of_other_kinds_are_refused_wherever_they_are(tmp_path: Path, make: Any, kind: str) -> None:
    content = make_model().to_dict()
    name, weight = next((name, each) for name, each in content["model"].items() if each.dim() == 4)
    strange = make(weight)
    for change in ({"model": content["model"] | {name: strange}}, {"resume": {"state": [strange]}}):
        torch.save(content | change, tmp_path / "model.pt")
        with pytest.raises(InputError, match=f"must hold tensors and plain types, got a tensor that is {kind}; train"):
            load_model(tmp_path / "model.pt")


def test_a_network_described_too_large_takes_no_memory() -> None:
    model = make_model()
    huge = {**model.network, "widths": [2**14] * 12}  # 137 GB and more
    with pytest.raises(InputError, match=r"weights must fit the network .*of other names or shapes"):
        build_network(replace(model, network=huge))


class Malicious:
    """Unpickling it calls a function that makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return (os.mkdir, (str(self.folder),))


def test_a_file_that_would_execute_code_is_refused_unexecuted(tmp_path: Path) -> None:
    torch.save({"format": "multijoint-1", "model": Malicious(tmp_path / "executed")}, tmp_path / "model.pt")
    with pytest.raises(
        InputError, match=r"model\.pt must hold tensors .* would call posix\.mkdir, as harmful files do"
    ):
        load_checkpoint(tmp_path / "model.pt")
    assert not (tmp_path / "executed").exists()


def test_a_damaged_file_is_refused_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    save_checkpoint(path, make_model())
    (tmp_path / "model.pt.sha256").unlink()
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:10], b"", b"this is not a checkpoint\n", bytes(500)):
        path.write_bytes(content)
        with pytest.raises(
            InputError, match=rf"checkpoint {path} must be a readable PyTorch file, got .*; copy"
        ) as error:
            load_model(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "foreign", [{"state_dict": {}}, {"format": "multijoint-0"}, [torch.ones(2)], torch.ones(2)], ids=type
)
def test_a_foreign_checkpoint_is_refused_with_its_path(tmp_path: Path, foreign: object) -> None:
    path = tmp_path / "model.pt"
    torch.save(foreign, path)
    with pytest.raises(
        InputError, match=rf"checkpoint {path} must be a model trained by this project \(multijoint-1\)"
    ):
        load_model(path)


def test_an_incomplete_checkpoint_is_refused_with_what_it_lacks(tmp_path: Path) -> None:
    torch.save({"format": "multijoint-1", "model": {}, "network": {}, "training": {}}, tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"model\.pt must hold domains, preprocessing, got none"):
        load_model(tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"domains": 3}, "must describe a model, got TypeError"),
        ({"domains": [{"name": "ankle"}]}, "must describe a model, got KeyError"),
        ({"preprocessing": {"image_size": [0, 1]}}, "must describe a model, got InputError.*image_size must be"),
        ({"network": None}, "must describe a model, got TypeError"),
        ({"training": 0.5}, "must describe a model, got TypeError"),
        ({"model": [1, 2]}, "must hold tensors and plain types, got weights of another type"),
        ({"model": {"weight": 1.0}}, "must hold tensors and plain types, got weights of another type"),
        ({"model": {"weight": torch.tensor([1.0, float("nan")])}}, "must be finite, got NaN or infinity"),
        ({"model": {"weight": torch.tensor(float("inf"))}}, "must be finite, got NaN or infinity"),
        ({"training": {"when": [torch.float32]}}, "must hold tensors and plain types, got dtype"),
    ],
    ids=str,
)
def test_content_that_is_no_model_is_refused(changed: dict, message: str, tmp_path: Path) -> None:
    torch.save(make_model().to_dict() | changed, tmp_path / "model.pt")
    with pytest.raises(InputError, match=rf"model\.pt {message}"):
        load_model(tmp_path / "model.pt")


def test_digest_of_the_file_tells_models_apart(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model.pt", make_model())
    known = hashlib.sha256((tmp_path / "model.pt").read_bytes()).hexdigest()
    assert load_model(tmp_path / "model.pt").digest == known
    assert make_model().digest == ""


def test_a_model_alone_is_nothing_to_continue_from(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.pt", make_model())
    with pytest.raises(InputError, match=r"resume needs a whole last\.pt or .* must hold what a training continues"):
        load_newest(tmp_path)
    with pytest.raises(InputError, match=r"resume needs a whole last\.pt or .* must be a file, got none"):
        load_newest(tmp_path / "none")


def test_a_missing_file_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"checkpoint {tmp_path / 'none.pt'} must be a file, got none; train first"):
        load_model(tmp_path / "none.pt")
    with pytest.raises(InputError, match=rf"bundle {tmp_path} must be a packaged one, .*; make it with"):
        load_model(tmp_path)


def test_a_failed_write_leaves_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.pt"
    save_checkpoint(path, make_model())
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="could not write the file: No space left"):
        save_checkpoint(path, make_model(attention=True))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.pt", "model.pt.sha256"]
    assert path.read_bytes() == before
    load_model(path)


def test_weights_of_another_network_are_refused() -> None:
    model = make_model()
    wider = {**model.network, "widths": [4, 8]}
    gated = {**model.network, "attention": True}
    for network in (wider, gated):
        with pytest.raises(
            InputError, match=r"weights must fit the network they come with, got \d+ of other names or shapes"
        ):
            build_network(replace(model, network=network))
    with pytest.raises(InputError, match=r"weights must fit the network they come with, got .*unexpected keyword"):
        build_network(replace(model, network={**model.network, "depth": 3}))
    name = "heads.0.bias"
    whole = {**model.weights, name: model.weights[name].int()}
    with pytest.raises(InputError, match=rf"weight {name} must be torch.float32, got torch.int32"):
        build_network(replace(model, weights=whole))


def test_an_unknown_domain_is_refused() -> None:
    model = make_model()
    with pytest.raises(InputError, match="domain must be one of ankle, shoulder, got 'hip'"):
        build_network(model, domain="hip")
    with pytest.raises(InputError, match="domain must be one of ankle, shoulder, got None"):
        model.domain(None)
