"""Loader that reads volumes ahead in separate processes; a process that is killed costs one volume."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import multiprocessing
import os
import queue
import signal
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any, Protocol

import numpy as np
import torch
from custom_components.label_maps import memory_axes
from custom_components.system.threads import work_as_fork

_PART = 2**24  # bytes of a volume sent at a time


class VolumeSource(Protocol):
    """Data set of a `VolumeLoader`, such as `engine.VolumeDataset`."""

    data: list[dict[str, Any]]

    def __len__(self) -> int:
        """Number of volumes."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Read one volume."""


class VolumeLoader:
    """Items of a data set, one at a time and in order; the next is read while the current one is processed.

    PyTorch's `DataLoader` ends the run when a worker is killed, for example for its memory. Here, the item that the
    process was reading gets a `failure` and a new process takes over.

    Args:
        dataset: the volumes.
        num_workers: number of reading processes; 0 reads in this one, as any number does where processes cannot fork.
    """

    def __init__(self, dataset: VolumeSource, *, num_workers: int = 1) -> None:
        self.dataset = dataset
        self.num_workers = min(num_workers, len(dataset)) if hasattr(os, "fork") else 0

    def __len__(self) -> int:
        """Number of volumes."""
        return len(self.dataset)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Read the volumes."""
        if self.num_workers < 1:
            for index in range(len(self)):
                yield self.dataset[index]
            return
        readers = [_Reader(self.dataset, of=self.num_workers) for _ in range(self.num_workers)]
        try:
            for index, reader in enumerate(readers):
                reader.ask(index)
            for index in range(len(self)):
                reader = readers[index % len(readers)]
                item = reader.receive()
                if index + len(readers) < len(self):
                    reader.ask(index + len(readers))
                else:
                    reader.close()  # now: the caller may never exhaust this generator
                yield item
        finally:
            for reader in readers:
                reader.close()


class _Reader:
    """One reading process, and the next one when it has died."""

    # Pipe ends of all readers. A forked process inherits them and must close them: a pipe held open by a sibling
    # never signals its end.
    _open: list[Connection] = []  # noqa: RUF012

    def __init__(self, dataset: VolumeSource, *, of: int) -> None:
        self._dataset = dataset
        self._of = of
        self._index = -1
        self._process: multiprocessing.process.BaseProcess | None = None

    def ask(self, index: int) -> None:
        """Begin to read a volume."""
        self._index = index
        if self._process is None:
            # Forked, so that the data set and the model in it are shared at once and need not be picklable.
            context = multiprocessing.get_context("fork")
            self._pipe, other = context.Pipe()
            _Reader._open.append(self._pipe)
            self._process = context.Process(target=_read, args=(self._dataset, other, self._of), daemon=True)
            self._process.start()
            other.close()
        with contextlib.suppress(BrokenPipeError):  # it died meanwhile: `receive` will tell
            self._pipe.send(index)

    def receive(self) -> dict[str, Any]:
        """The volume that was asked for."""
        try:
            records, rest, arrays = self._pipe.recv()
            for record in records:
                logging.getLogger(record.name).handle(record)
            return rest | {key: _receive_array(self._pipe, *how) for key, how in arrays.items()}
        except (EOFError, OSError):
            assert self._process is not None
            self._process.join()
            code = self._process.exitcode
            self.close()
            item = self._dataset.data[self._index]
            how = f"was killed by {signal.Signals(-code).name}" if code and code < 0 else f"ended with code {code}"
            reason = f"the process that read it {how} (out of memory?)"
            return {**item, "failure": f"{item.get('shown') or item['name']} could not be read: {reason}"}

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            _Reader._open.remove(self._pipe)
            self._pipe.close()
            self._process.terminate()
            self._process.join()
            self._process = None


def _read(dataset: VolumeSource, pipe: Connection, of: int) -> None:
    for other in _Reader._open:
        other.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    work_as_fork(of=of)
    # What is logged here is shown by the parent, which alone knows where on the terminal its progress bar is.
    logged: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    logging.getLogger().handlers = [logging.handlers.QueueHandler(logged)]
    with contextlib.suppress(EOFError, OSError):  # the parent has gone
        while True:
            item = dataset[pipe.recv()]
            _send(pipe, item, [logged.get() for _ in range(logged.qsize())])


def _send(pipe: Connection, item: dict[str, Any], records: Sequence[logging.LogRecord]) -> None:
    """Send an item through the pipe: shared memory would be lost with the process, and is scarce in containers."""
    large = {key: value for key, value in item.items() if isinstance(value, torch.Tensor | np.ndarray)}
    arrays = {key: np.asarray(value) for key, value in large.items()}
    described = {
        key: (array.dtype.str, array.shape, memory_axes(array), isinstance(large[key], torch.Tensor))
        for key, array in arrays.items()
    }
    pipe.send((records, {key: value for key, value in item.items() if key not in arrays}, described))
    for key, (_, _, axes, _) in described.items():
        _send_array(pipe, arrays[key].transpose(axes))


def _send_array(pipe: Connection, array: np.ndarray) -> None:
    """Send the voxels of an array in its order in memory, without a copy of them all, as pickle would make twice."""
    voxels = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    for first in range(0, len(voxels), _PART):
        pipe.send_bytes(voxels[first : first + _PART].data)


def _receive_array(
    pipe: Connection, dtype: str, shape: Sequence[int], axes: Sequence[int], is_tensor: bool
) -> np.ndarray | torch.Tensor:
    """An array, or tensor, of the same order in memory as the one that was sent."""
    array = np.empty([shape[axis] for axis in axes], dtype)
    voxels = array.reshape(-1).view(np.uint8)
    for first in range(0, len(voxels), _PART):
        pipe.recv_bytes_into(voxels.data, first)
    found = array.transpose(np.argsort(axes))
    return torch.from_numpy(found) if is_tensor else found
