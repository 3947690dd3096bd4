import os
import signal
import threading
import time
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from custom_components.inference import loaders
from custom_components.inference.loaders import VolumeLoader
from custom_components.system.threads import map_exactly


class Volumes:
    def __init__(self, names: list[str]) -> None:
        self.data = [{"name": name} for name in names]

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = self.data[index]
        if item["name"] == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if item["name"] == "ended":
            os._exit(3)
        return {**item, "image": torch.full((2, 3), float(index)), "process": os.getpid()}


@pytest.mark.parametrize("num_workers", [0, 1, 2, 5])
def test_items_come_in_order_and_as_they_are(num_workers: int) -> None:
    items = list(VolumeLoader(Volumes(["a", "b", "c"]), num_workers=num_workers))
    assert [item["name"] for item in items] == ["a", "b", "c"]
    assert [item["image"][0, 0].item() for item in items] == [0, 1, 2]
    assert len({item["process"] for item in items}) == max(1, min(num_workers, 3))
    assert (os.getpid() in {item["process"] for item in items}) == (num_workers == 0)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_process_that_dies_costs_its_volume_only(num_workers: int) -> None:
    names = ["a", "killed", "killed", "b", "ended", "c"]
    items = list(VolumeLoader(Volumes(names), num_workers=num_workers))
    assert [item["name"] for item in items] == names
    assert ["failure" in item for item in items] == [False, True, True, False, True, False]
    assert items[1]["failure"] == (
        "killed could not be read: the process that read it was killed by SIGKILL (out of memory?)"
    )
    assert "ended with code 3" in items[4]["failure"]


class Threads:
    """Volumes whose reading shares work between so many threads."""

    def __init__(self, num_volumes: int, num_threads: int) -> None:
        self.data = [{"name": str(number)} for number in range(num_volumes)]
        self.num_threads = num_threads

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        meeting = threading.Barrier(self.num_threads, timeout=10)  # that many at once

        def meet(number: int) -> int:
            meeting.wait()
            return int(torch.ones(1000, 1000).sum()) * number

        shared = map_exactly(meet, [1, 2])
        return {**self.data[index], "sums": shared, "own": torch.get_num_threads()}


@pytest.mark.parametrize(("num_workers", "num_threads"), [(1, 2), (2, 1)])
def test_reading_processes_share_exact_work_between_as_many_threads(num_workers: int, num_threads: int) -> None:
    torch.set_num_threads(2)
    torch.ones(1000, 1000).sum()  # starts PyTorch's own threads, which the processes will not have
    try:
        items = list(VolumeLoader(Threads(num_workers, num_threads), num_workers=num_workers))
    finally:
        torch.set_num_threads(1)
    assert [(item["sums"], item["own"]) for item in items] == [([1000000, 2000000], 1)] * num_workers


class Tensors:
    """Of several types, shapes and orders in memory."""

    data: ClassVar[list[dict[str, Any]]] = [
        {
            "name": "a",
            "image": torch.randn(7, 5, 3).permute(1, 2, 0)[None],
            "label": torch.arange(300, dtype=torch.uint8),
        },
        {
            "name": "b",
            "image": torch.randn(4, 6)[::2, 1:],
            "none": torch.zeros(0, 3),
            "one": torch.tensor(2.5).double(),
        },
    ]

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return dict(self.data[index])


@pytest.mark.parametrize("part", [1, 64, 2**24])
def test_tensors_arrive_as_they_were_and_lie_alike(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaders, "_PART", part)
    for given, found in zip(Tensors.data, VolumeLoader(Tensors(), num_workers=1), strict=True):
        assert list(given) == list(found)
        for key, value in given.items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(found[key], value)
                assert found[key].dtype == value.dtype
    image = next(iter(VolumeLoader(Tensors(), num_workers=1)))["image"]
    assert image.stride()[1:] == Tensors.data[0]["image"].stride()[1:]


def test_a_process_that_dies_amid_its_voxels_costs_its_volume_only(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = loaders._send_array

    def send(pipe: Any, array: np.ndarray) -> None:
        if array.size == 300:
            pipe.send_bytes(array[:64].data)
            os.kill(os.getpid(), signal.SIGKILL)
        whole(pipe, array)

    monkeypatch.setattr(loaders, "_PART", 64)
    monkeypatch.setattr(loaders, "_send_array", send)
    items = list(VolumeLoader(Tensors(), num_workers=1))
    assert "was killed by SIGKILL" in items[0]["failure"]
    assert torch.equal(items[1]["image"], Tensors.data[1]["image"])


def test_no_process_outlives_the_last_item_or_an_early_end() -> None:
    loader = VolumeLoader(Volumes(list("abcd")), num_workers=2)
    iterator = iter(loader)
    processes = [next(iterator)["process"] for _ in range(4)]  # not exhausted: an engine stops here
    assert not [process for process in processes if is_running(process)]
    iterator = iter(loader)
    process = next(iterator)["process"]
    iterator.close()
    assert not is_running(process)


def test_a_reader_ends_with_its_parent() -> None:
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        iterator = iter(VolumeLoader(Volumes(list("abc")), num_workers=2))
        os.write(sending, str(next(iterator)["process"]).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    reader = int(os.read(receiving, 20))
    deadline = time.monotonic() + 10
    while is_running(reader) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(reader)


def is_running(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
