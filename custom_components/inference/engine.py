"""MONAI's evaluator for whole volumes, one volume after another."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from custom_components.data.preprocessing import Preprocessing
from custom_components.domains import Domain
from custom_components.errors import InputError, failure_of, show_path
from custom_components.inference.inferers import SlicewiseInferer, spread_slices
from custom_components.inference.items import VolumeItem
from custom_components.inference.probability_maps import ProbabilityMaps, average_planes
from custom_components.inference.results import ResultFolder
from custom_components.inference.transforms import cut_slices
from custom_components.io.geometry import voxel_volume_ml
from custom_components.quality.expected_dice import ExpectedDice
from custom_components.quality.flags import measure_quality
from custom_components.system.terminal import count
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose
from torch import Tensor
from torch.utils.data import Dataset

_logger = logging.getLogger(__name__)
_MAX_LISTED = 5  # failures named in the last line


class VolumeDataset(Dataset[VolumeItem]):
    """Volumes for `VolumeEvaluator`. One that cannot be read becomes an item with a `failure`; the run goes on.

    Args:
        data: items with at least `image`, a path. Those with a `failure` are passed on unread.
        transform: preprocessing.
        reading: preprocessing that also says more of a volume, in place of `transform`. MONAI's bundles must name as a
            data set's transform what other tools run.
        results: output folder. Items that are finished there are not read.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        transform: Callable[[Any], Any],
        *,
        reading: Callable[[Any], Any] | None = None,
        results: ResultFolder | None = None,
    ) -> None:
        self.data = [dict(item) for item in data]
        self.transform = reading or transform
        self.results = results

    def __len__(self) -> int:
        """Number of volumes."""
        return len(self.data)

    def __getitem__(self, index: int) -> VolumeItem:
        """One preprocessed volume, with the `seconds` that it took."""
        start, item = time.perf_counter(), self.data[index]
        if "failure" in item:
            return cast(VolumeItem, item | {"seconds": 0.0})
        try:
            saved = None if self.results is None else self.results.find(item)
            read = dict(self.transform(item)) if saved is None else {**item, "finished": True, "saved": saved}
        except Exception as error:
            read = {**item, "failure": failure_of(error)}
        return cast(VolumeItem, read | {"seconds": time.perf_counter() - start})


class VolumeEvaluator(SupervisedEvaluator):
    """MONAI's evaluator for whole volumes: a volume that fails costs no other volume, a finished one costs nothing.

    The network is set to the `domain` of an item before it predicts; of an item with `planes` to each of theirs in
    turn, and the mean of their probabilities decides. Post-processing, measuring and saving of a volume run in a thread
    while the network has the next one, and a loader with workers reads the one after that. After the run, `failures`
    holds `(name, cause)` of each volume that could not be segmented; `finish()` raises them as one error.

    Args:
        postprocessing: dictionary transforms that end with label values under `pred`, shape (1, X, Y, Z).
        results: output folder of the label maps; `saved` of an item is then the path. Saving is not a transform, so
            other tools can run the same post-processing and write files of their own.
        connectivity: of the components that a record counts, as for `postprocessing.largest_component`.
        args, kwargs: those of `SupervisedEvaluator`.
    """

    def __init__(
        self,
        *args: Any,
        postprocessing: Compose | None = None,
        results: ResultFolder | None = None,
        connectivity: int = 1,
        **kwargs: Any,
    ) -> None:
        loader = kwargs.pop("val_data_loader")
        stages = _Stages(loader, self._predict, self._complete)
        super().__init__(*args, decollate=False, val_data_loader=stages, **{"epoch_length": len(loader)} | kwargs)
        self.volume_postprocessing = postprocessing
        self.results = results
        self.connectivity = connectivity
        self.failures: list[tuple[str, str]] = []
        self.num_volumes = 0

    def _iteration(self, engine: Any, batchdata: VolumeItem) -> VolumeItem:
        self.num_volumes += 1
        batchdata.setdefault("seconds", 0.0)  # a reading process that was killed states no time
        if "failure" in batchdata:
            self.record_failure(batchdata, batchdata["failure"])
        elif "finished" in batchdata:
            _logger.info("%s: finished before", batchdata["saved"].name)
        elif "saved" in batchdata:
            shown = batchdata.get("shown") or show_path(batchdata["source"].path)
            chosen = f", as {batchdata['domain']}" if "asked" in batchdata.get("domain_fit", {}) else ""
            _logger.info("%s -> %s%s", shown, batchdata["saved"].name, chosen)
        return batchdata

    def record_failure(self, item: VolumeItem, cause: str) -> None:
        """Record that a volume could not be segmented or scored; the run goes on."""
        item["failure"] = cause
        self.failures.append((item["name"], cause))
        if len(self.failures) > _MAX_LISTED:  # the others are told once, by the last line
            _logger.error(cause)

    def _predict(self, item: VolumeItem) -> VolumeItem:
        """First stage, on the network's device."""
        if "domain" in item:
            self.network.set_domain(item["domain"])
        planes, voxels = item.pop("planes", None), item.pop("voxels", None)
        if "source_slice" not in item or not isinstance(self.inferer, SlicewiseInferer):
            item.pop("answers", None)
            images = item.pop("image")[None].to(self.state.device)
            with self.mode(self.network), torch.autocast(images.device.type, enabled=self.amp):
                item["pred"] = self.inferer(images, self.network)[0]
            return item
        expected, results = ExpectedDice(), self.results
        keeps_maps = results is not None and results.probabilities
        if planes:
            item["pred"], values = self._average(item, planes, voxels, expected)
        else:
            own = results.model.channels(results.domain_of(item).name)[1:] if results and keeps_maps else []
            item["pred"], values = self._classes(item, item, own, expected=expected)
        if keeps_maps:
            item["probabilities"] = values
        item["expected_dice"] = expected.compute()
        return item

    def _average(
        self, item: VolumeItem, planes: Sequence[tuple[Domain, Preprocessing]], voxels: Any, expected: ExpectedDice
    ) -> tuple[Tensor, Tensor]:
        """Classes and probabilities by the mean of several planes, each predicted by its own domain of the network."""
        values: list[Tensor] = []
        for domain, settings in planes:  # one stack at a time is in memory
            part = cut_slices(voxels, item["source"], domain, settings) if values else item
            channels = range(1, domain.num_classes)  # each has a head of its own
            values.append(self._classes(part, item, channels, domain=domain.name)[1])
        self.network.set_domain(planes[0][0].name)
        return average_planes(values, [domain.plane for domain, _ in planes], expected)

    def _classes(
        self,
        part: Any,
        item: VolumeItem,
        channels: Sequence[int],
        *,
        expected: ExpectedDice | None = None,
        domain: str | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Classes of an item's slices, or of a part of it in one plane, and the probabilities in these channels."""
        images = part.pop("image")[None].to(self.state.device)
        maps = ProbabilityMaps(channels, num_slices=images.shape[-1], size=part["source_slice"])
        how: Any = {"size": part["source_slice"], "name": show_path(item["source"].path), "expected": expected}
        how |= {"maps": maps if channels else None, "pixel_mm": part["pixel_mm"], "domain": domain}
        answers = part.pop("answers", None)
        if answers is not None:
            how["known"] = dict(zip(spread_slices(images.shape[-1]), answers.split(1), strict=True))
        with self.mode(self.network), torch.autocast(images.device.type, enabled=self.amp):
            return self.inferer.classes(images, self.network, **how)[0], maps.values

    def _complete(self, item: VolumeItem) -> VolumeItem:
        """Second stage, on the CPU: post-process, measure, save."""
        if self.volume_postprocessing is not None:
            item = self.volume_postprocessing(item)
        if self.results is not None:
            labels = np.asarray(item["pred"])[0]
            quality = self._measure(item, labels, self.results)
            maps = item.pop("probabilities", ())
            item["saved"] = self.results.save(item, labels, quality=quality, probabilities=maps)
        return item

    def _measure(self, item: VolumeItem, labels: np.ndarray, results: ResultFolder) -> list[dict[str, Any]]:
        """Quality of each bone of a label map (X, Y, Z), for its record."""
        domain, expected, before = results.domain_of(item), item.get("expected_dice"), item.get("pred_before")
        return measure_quality(
            labels,
            domain=domain,
            voxel_ml=voxel_volume_ml(item["source"].affine),
            before=None if before is None else np.asarray(before)[0],
            expected_dice=[expected[channel] for channel in results.model.channels(domain.name)] if expected else None,
            connectivity=self.connectivity,
            known=results.model.quality(domain.name),
        )

    def finish(self) -> None:
        """Raise one error that lists the volumes that failed, if any did."""
        if self.failures:
            listed = "; ".join(cause for _, cause in self.failures[:_MAX_LISTED])
            more = len(self.failures) - _MAX_LISTED
            rest = f"; and {more} more, see the lines above and the report" if more > 0 else ""
            volumes = count(self.num_volumes, "scan")
            raise InputError(f"{len(self.failures)} of {volumes} could not be segmented: {listed}{rest}")


class _Stages:
    """A loader's items after two stages of work.

    The second stage runs in its own thread, one item behind the first: item k is post-processed while the network
    predicts item k + 1, and at most two volumes are in memory. An item with a `failure`, or one that is `finished`,
    passes unchanged; an exception of a stage becomes a `failure`.
    """

    def __init__(self, loader: Any, *stages: Callable[[VolumeItem], VolumeItem]) -> None:
        self.loader = loader
        self.first, self.second = (partial(_try, stage) for stage in stages)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[VolumeItem]:
        behind: Future[VolumeItem] | None = None
        with ThreadPoolExecutor(1) as thread:
            for item in self.loader:
                own = thread.submit(self.second, self.first(item))
                if behind is not None:
                    yield behind.result()
                behind = own
            if behind is not None:
                yield behind.result()


def _try(stage: Callable[[VolumeItem], VolumeItem], item: VolumeItem) -> VolumeItem:
    if "failure" in item or "finished" in item:
        return item
    start = time.perf_counter()
    try:
        result = stage(item)
    except Exception as error:
        result = cast(VolumeItem, {**item, "failure": failure_of(error)})
    result["seconds"] = result.get("seconds", 0.0) + time.perf_counter() - start
    return result
