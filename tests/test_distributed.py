"""Two processes train as one does: sums and losses by hand, three steps of every scheme, and the real configuration."""

import csv
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from custom_components.distributed import (
    check_joined,
    first_rank_only,
    from_first_rank,
    gather_rows,
    join_processes,
    leave_processes,
    num_ranks,
    own_gpu,
    rank,
    share_gradients,
    sum_over_ranks,
    wait_to_report,
    weigh_domains,
)
from custom_components.errors import InputError, find_cause
from custom_components.losses import MultiDomainSegmentationLoss
from custom_components.models.checkpoints import load_model
from custom_components.networks.forwards import EmbeddingForward
from custom_components.networks.unet import MultiDomainUNet
from support.bundles import BUNDLES, SMALL, Run
from support.processes import run
from torch import Tensor

CONFIGS = ["train.yaml", "multi_gpu_train.yaml"]
# Domains of the samples of three global batches; of two processes the first gets 4 samples of the first one, not 3.5.
BATCHES = ([0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1, 1])
SCHEMES: dict[str, dict] = {
    "proposed": {},
    "joint": {"norm": "shared", "head": "shared"},
    "attention": {"attention": True, "embedding": "convolution"},
    "strong": {"deep_supervision": 1, "embedding_scales": 2},
}
OPTIMIZERS = {
    "sgd": (torch.optim.SGD, 0.02, torch.float32),
    "adam": (torch.optim.Adam, 1e-4, torch.float64),
    "adam32": (torch.optim.Adam, 1e-4, torch.float32),
}


def train(scheme: str, optimizer: str, widths: Sequence[int] = (4, 8, 16), size: int = 16) -> dict[str, Tensor]:
    """Weights, running statistics and mean loss terms after three steps on this process's shares of the batches."""
    make_optimizer, rate, dtype = OPTIMIZERS[optimizer]
    torch.manual_seed(0)
    network = MultiDomainUNet([4, 3], widths=widths, **SCHEMES[scheme]).to(dtype, memory_format=torch.channels_last)
    forward = EmbeddingForward(network)
    wrapped = share_gradients(forward) if num_ranks() > 1 else forward
    more = {"dice_weight": 1.0, "domain_weighting": "equal"} if scheme == "strong" else {}
    loss = MultiDomainSegmentationLoss([4, 3], head=network.head, contrastive_weight=0.1, **more)
    steps = make_optimizer(network.parameters(), lr=rate)
    terms: dict[str, Tensor] = {}
    for number, indices in enumerate(BATCHES):
        generator = torch.Generator().manual_seed(number)
        domains = torch.tensor(indices)
        images = torch.randn(7, 1, size, size, generator=generator).to(dtype) * (1 + domains[:, None, None, None])
        labels = torch.randint(0, 3, (7, 1, size, size), generator=generator)
        mine = torch.cat([(domains == domain).nonzero()[rank() :: num_ranks(), 0] for domain in (0, 1)])
        steps.zero_grad(set_to_none=True)
        value = loss(wrapped(images[mine], domains[mine]), (labels[mine], domains[mine]))
        value.backward()
        steps.step()
        for name, term in {"loss": value.detach(), **loss.terms}.items():
            terms[f"{name} {number}"] = sum_over_ranks(term) / num_ranks()
    return {**network.state_dict(), **terms}


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> dict[str, float]:
    assert first.keys() == second.keys()
    return {name: (first[name].double() - second[name].double()).abs().max().item() for name in first}


def spawned(process: int, port: int, folder: str) -> None:
    """What each of two processes does: every scheme with every optimizer."""
    os.environ.update(RANK=str(process), LOCAL_RANK=str(process), WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    join_processes(device="cpu")
    results = {(scheme, optimizer): train(scheme, optimizer) for scheme in SCHEMES for optimizer in OPTIMIZERS}
    torch.save({"results": results, "told": from_first_rank(process)}, Path(folder, f"{process}.pt"))
    leave_processes()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder = tmp_path_factory.mktemp("processes")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.start_processes(spawned, (port, str(folder)), nprocs=2, daemon=True, start_method="fork")
    return [torch.load(folder / f"{process}.pt", weights_only=True) for process in (0, 1)]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_two_processes_train_as_one_does(scheme: str, optimizer: str, two_processes: list[dict]) -> None:
    first, second = (process["results"][scheme, optimizer] for process in two_processes)
    assert set(difference(first, second).values()) == {0.0}, "both hold the same weights and statistics"
    for name, value in difference(train(scheme, optimizer), first).items():
        # The true gradient of a bias before a norm is zero. Adam turns its rounding errors into steps of up to the
        # learning rate, in float32, and so does another order of the samples in a single process.
        noise = optimizer == "adam32" and (is_before_a_norm(name) or name.endswith("running_mean"))
        assert value <= (2 * 3 * 1e-4 if noise else 1e-5), name


def is_before_a_norm(name: str) -> bool:
    return name.endswith("bias") and (".conv" in name or ".output" in name)


def test_the_others_are_told_what_the_first_one_says(two_processes: list[dict]) -> None:
    assert [process["told"] for process in two_processes] == [0, 0]


@pytest.mark.parametrize("head", ["domain", "shared"])
@pytest.mark.parametrize("shares", [[[0, 0, 1, 1], [0, 0, 1]], [[0], [1, 1, 1], [2, 0, 1]]])
def test_mean_of_the_losses_is_the_loss_of_the_whole_batch(
    shares: list[list[int]], head: str, in_threads: Callable
) -> None:
    torch.manual_seed(0)
    sizes = [len(share) for share in shares]
    domains = torch.tensor([domain for share in shares for domain in share])
    logits = torch.randn(len(domains), 8, 2, 2, requires_grad=True)
    embeddings = torch.randn(len(domains), 5, requires_grad=True)
    labels = torch.randint(0, 3, (len(domains), 2, 2))
    whole = MultiDomainSegmentationLoss([4, 3, 3], head=head, contrastive_weight=0.5)
    expected = whole((logits, embeddings), (labels, domains))
    expected.backward()
    parts = [[part.detach().requires_grad_() for part in every.split(sizes)] for every in (logits, embeddings)]

    def work(rank: int) -> dict[str, Tensor]:
        loss = MultiDomainSegmentationLoss([4, 3, 3], head=head, contrastive_weight=0.5)
        value = loss((parts[0][rank], parts[1][rank]), (labels.split(sizes)[rank], torch.tensor(shares[rank])))
        value.backward()
        return {"loss": value.detach(), **loss.terms}

    terms = in_threads(work, len(shares))
    for name, value in {"loss": expected.detach(), **whole.terms}.items():
        torch.testing.assert_close(sum(each[name] for each in terms) / len(shares), value)
    assert len({each["contrastive"].item() for each in terms}) == 1, "the contrastive term sees all embeddings"
    for own, every in zip(parts, (logits, embeddings), strict=True):
        torch.testing.assert_close(torch.cat([part.grad for part in own]) / len(shares), every.grad)


def test_weights_of_domains_by_hand(in_threads: Callable) -> None:
    shares = [torch.tensor([0, 2, 0]), torch.tensor([2, 0])]
    first, second = in_threads(lambda rank: weigh_domains(shares[rank], 4).tolist(), 2)
    assert first == pytest.approx([2 * 2 / 3 / 2, 2 * 1 / 2 / 2])
    assert second == pytest.approx([2 * 1 / 3 / 2, 2 * 1 / 2 / 2])


def test_rows_are_gathered_in_the_order_of_the_processes(in_threads: Callable) -> None:
    shares = [torch.tensor([[1, 2]]), torch.zeros(0, 2, dtype=torch.int64), torch.tensor([[3, 4], [5, 6]])]
    for rows in in_threads(lambda rank: gather_rows(shares[rank]), 3):
        assert rows.tolist() == [[1, 2], [3, 4], [5, 6]]


def test_one_process_is_left_alone() -> None:
    rows = torch.ones(2, 3)
    assert gather_rows(rows) is sum_over_ranks(rows) is from_first_rank(rows) is rows
    assert (rank(), num_ranks(), own_gpu()) == (0, 1, None)
    assert first_rank_only(max)(1, 2) == 2


def test_only_the_first_process_writes(in_threads: Callable) -> None:
    assert in_threads(lambda rank: first_rank_only(lambda: "written")(), 2) == ["written", None]


def test_errors_name_the_remedy(
    manifests: dict[str, str], run_bundle: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError) as caught:
        run_bundle("multijoint", CONFIGS, manifests=list(manifests.values()), output_dir=str(tmp_path / "run"), **SMALL)
    assert "must be run by torchrun, got an ordinary process; use torchrun" in str(find_cause(caught.value, InputError))
    assert not (tmp_path / "run").exists()
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "here"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=r"device must be auto, cuda or cpu for several processes, got cuda:1"):
        join_processes(device="cuda:1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "99")
    with pytest.raises(InputError, match=r"nproc-per-node must be at most the number of GPUs, \d+, got 99"):
        join_processes(device="cuda")
    check_joined()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with pytest.raises(InputError, match=r"training under torchrun must have multi_gpu_train\.yaml"):
        check_joined()


@pytest.mark.parametrize(
    ("process", "explained", "seconds"), [("0", True, 0), ("1", True, 3), ("0", False, 6), ("1", False, 6)]
)
def test_errors_are_reported_by_turns(
    process: str, explained: bool, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    wait_to_report(explained=explained)
    assert slept == [], "an ordinary run reports at once"
    for name, value in {"RANK": process, "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "none"}.items():
        monkeypatch.setenv(name, value)
    wait_to_report(explained=explained)
    assert slept == [seconds]


def test_real_configuration_trains_and_resumes_by_torchrun(
    manifests: dict[str, str], run_bundle: Run, tmp_path: Path
) -> None:
    root = BUNDLES / "multijoint_mr_bone_segmentation"
    settings = {**SMALL, "manifests": list(manifests.values()), "device": "cpu", "learning_rate": 1e-4}
    settings["precision"] = "float32"  # in bfloat16 a batch and its halves are rounded a thousand times as coarsely

    def torchrun(**more: object) -> None:
        files = [str(root / "configs" / name) for name in CONFIGS]
        given = {"config_file": files, "bundle_root": root, "output_dir": tmp_path / "two", **settings, **more}
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        command += ["-m", "monai.bundle", "run", "training"]
        command += [part for name, value in given.items() for part in (f"--{name}", str(value))]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = run(command, env=environment)
        assert done.returncode == 0, done.stderr

    torchrun()
    run_bundle("multijoint", ["train.yaml"], output_dir=str(tmp_path / "one"), **settings)
    (one,), (two,) = (read_rows(tmp_path / name / "log.csv") for name in ("one", "two"))
    for name in ("loss", "cross_entropy", "contrastive", "val_mean_dice", "steps"):
        assert float(two[name]) == pytest.approx(float(one[name]), rel=1e-4), name
    first, second = (dict(load_model(tmp_path / name / "model.pt").weights) for name in ("one", "two"))
    for name, value in difference(first, second).items():
        # As above; with a learning rate of 1e-4 the biases before norms wander by up to 2e-4 a step.
        noise = is_before_a_norm(name) or name.endswith("running_mean")
        assert value <= (2e-4 * int(one["steps"]) if noise else 1e-5), name
    assert {path.name for path in (tmp_path / "two").iterdir()} == {
        path.name for path in (tmp_path / "one").iterdir()
    }, "one process writes"

    torchrun(resume=True, max_epochs=2)
    assert [row["epoch"] for row in read_rows(tmp_path / "two" / "log.csv")] == ["1", "2"]
    assert torch.load(tmp_path / "two" / "last.pt", weights_only=True)["training"]["processes"] == 2
