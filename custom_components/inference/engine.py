"""What MONAI's engines need to train on mixed batches and to segment volumes one by one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from custom_components.errors import InputError, failure_of, show_path
from custom_components.inference.inferers import SlicewiseInferer
from custom_components.inference.results import ResultFolder
from custom_components.quality.expected_dice import ExpectedDice
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose
from monai.utils.enums import CommonKeys as Keys
from torch.utils.data import Dataset

__all__ = ["VolumeDataset", "VolumeEvaluator"]

_logger = logging.getLogger(__name__)
_MAX_LISTED = 5  # failures named in the last line


class VolumeDataset(Dataset[dict[str, Any]]):
    """Volumes for `VolumeEvaluator`; one that cannot be read becomes an item with a `failure` and ends nothing.

    Args:
        data: items with at least `image`, a path; one that has a `failure` already stays as it is.
        transform: preprocessing.
        results: where the results go; an item whose result is `finished` there is not read.
    """

    def __init__(
        self, data: Sequence[Mapping[str, Any]], transform: Callable[[Any], Any], *, results: ResultFolder | None = None
    ) -> None:
        self.data = [dict(item) for item in data]
        self.transform = transform
        self.results = results

    def __len__(self) -> int:
        """Number of volumes."""
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One preprocessed volume, with the `seconds` that it took."""
        start, item = time.perf_counter(), self.data[index]
        if "failure" in item:
            return item | {"seconds": 0.0}
        try:
            saved = None if self.results is None else self.results.find(item)
            read = dict(self.transform(item)) if saved is None else {**item, "finished": True, "saved": saved}
        except Exception as error:
            read = {**item, "failure": failure_of(error)}
        return read | {"seconds": time.perf_counter() - start}


class VolumeEvaluator(SupervisedEvaluator):
    """MONAI's evaluator for whole volumes: one bad volume costs that volume only, and a finished one nothing.

    Each item's `domain`, if it has one, is set on the network first. While the network has one volume, the one before
    is post-processed and saved, in a thread, and the next is read if the loader reads ahead. After the run `failures`
    holds `(name, cause)` of each volume that could not be segmented, and `finish()` turns them into one error.

    Args:
        postprocessing: dictionary transforms that end with label values under `pred`, shape (1, X, Y, Z).
        results: where the label maps are written; an item's `saved` is then its path. Saving is no transform, so that
            other tools can run the same post-processing and write files of their own.
        args: of `SupervisedEvaluator`, and so are `kwargs`.
    """

    def __init__(
        self, *args: Any, postprocessing: Compose | None = None, results: ResultFolder | None = None, **kwargs: Any
    ) -> None:
        loader = kwargs.pop("val_data_loader")
        stages = _Stages(loader, self._predict, self._complete)
        super().__init__(*args, decollate=False, val_data_loader=stages, **{"epoch_length": len(loader)} | kwargs)
        self.volume_postprocessing = postprocessing
        self.results = results
        self.failures: list[tuple[str, str]] = []
        self.num_volumes = 0

    def _iteration(self, engine: Any, batchdata: dict[str, Any]) -> dict[str, Any]:
        self.num_volumes += 1
        batchdata.setdefault("seconds", 0.0)  # a reader that was killed cannot tell
        if "failure" in batchdata:
            self.record_failure(batchdata, batchdata["failure"])
        elif "finished" in batchdata:
            _logger.info("%s: finished before", batchdata["saved"].name)
        elif "saved" in batchdata:
            source = batchdata["source"].path
            _logger.info("%s -> %s", batchdata.get("shown") or show_path(source), batchdata["saved"].name)
        return batchdata

    def record_failure(self, item: dict[str, Any], cause: str) -> None:
        """Note that a volume could not be segmented or scored, and go on."""
        item["failure"] = cause
        self.failures.append((item["name"], cause))
        _logger.error(cause)

    def _predict(self, item: dict[str, Any]) -> dict[str, Any]:
        """The network's part, on whatever device it is."""
        if "domain" in item:
            self.network.set_domain(item["domain"])
        self.mode(self.network)
        images = item.pop(Keys.IMAGE)[None].to(self.state.device)
        with torch.autocast(images.device.type, enabled=self.amp):
            if "source_slice" in item and isinstance(self.inferer, SlicewiseInferer):
                expected = ExpectedDice()
                how = {"size": item["source_slice"], "name": show_path(item["source"].path), "expected": expected}
                item[Keys.PRED] = self.inferer.classes(images, self.network, **how)[0]
                item["expected_dice"] = expected.compute()
            else:
                item[Keys.PRED] = self.inferer(images, self.network)[0]
        return item

    def _complete(self, item: dict[str, Any]) -> dict[str, Any]:
        """What is left to do without the network."""
        if self.volume_postprocessing is not None:
            item = self.volume_postprocessing(item)
        if self.results is not None:
            item["saved"] = self.results.save(item, np.asarray(item[Keys.PRED])[0])
        return item

    def finish(self) -> None:
        """Raise one error that lists the volumes that failed, if any did."""
        if self.failures:
            listed = "; ".join(cause for _, cause in self.failures[:_MAX_LISTED])
            more = len(self.failures) - _MAX_LISTED
            rest = f"; and {more} more, see the lines above and the report" if more > 0 else ""
            raise InputError(f"{len(self.failures)} of {self.num_volumes} scans could not be segmented: {listed}{rest}")


class _Stages:
    """A loader's items after two stages of work, the second in a thread that is one item behind the first.

    An item with a `failure`, or that is `finished`, passes as it is; what a stage raises becomes a `failure`.
    """

    def __init__(self, loader: Any, *stages: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.loader = loader
        self.first, self.second = (partial(_try, stage) for stage in stages)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        behind: Future[dict[str, Any]] | None = None
        with ThreadPoolExecutor(1) as thread:
            for item in self.loader:
                own = thread.submit(self.second, self.first(item))
                if behind is not None:
                    yield behind.result()
                behind = own
            if behind is not None:
                yield behind.result()


def _try(stage: Callable[[dict[str, Any]], dict[str, Any]], item: dict[str, Any]) -> dict[str, Any]:
    if "failure" in item or "finished" in item:
        return item
    start = time.perf_counter()
    try:
        result = stage(item)
    except Exception as error:
        result = {**item, "failure": failure_of(error)}
    result["seconds"] = result.get("seconds", 0.0) + time.perf_counter() - start
    return result
