"""What MONAI's engines need to train on mixed batches and to segment volumes one by one."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor
from torch.utils.data import Dataset

from custom_components.cases import Case
from custom_components.containers import case_id
from custom_components.errors import InputError, explain, find_cause, show_path
from custom_components.results import ResultFolder

__all__ = [
    "SliceTarget",
    "VolumeDataset",
    "VolumeEvaluator",
    "list_cases",
    "list_scans",
    "prepare_slices",
]

_logger = logging.getLogger(__name__)
_MAX_LISTED = 5  # failures named in the last line


class SliceTarget(NamedTuple):
    """What a batch is compared with: label (N, 1, H, W); domains (N,) and cases (N,), both on the CPU."""

    label: Tensor
    domains: Tensor
    cases: Tensor


def prepare_slices(
    batch: Mapping[str, Any], device: torch.device | str | None = None, non_blocking: bool = False, **to: Any
) -> tuple[Tensor, SliceTarget, tuple[Tensor], dict[str, Any]]:
    """`prepare_batch` of MONAI's engines for `SliceDataset` items: image, target, and the domains for the network."""
    image = batch["image"].to(device, non_blocking=non_blocking, memory_format=torch.channels_last, **to)
    label = batch["label"].to(device, non_blocking=non_blocking)
    return image, SliceTarget(label, batch["domain"], batch["case"]), (batch["domain"],), {}


def list_scans(images: Sequence[str | Path | Mapping[str, Any]] | str | Path) -> list[dict[str, Any]]:
    """Items of an inference data set from paths; a folder stands for the NIfTI files directly in it.

    In a folder, hidden files and label maps of ours (`*_seg.nii.gz` with a `.json` beside) are left out; a file given
    twice is one. An item's `name`, the case id, is the file's name without extension, with as many folders before it
    (`a_scan`) as it takes to tell apart those of equal names; `shown` names the file likewise (`a/scan.nii`).

    Args:
        images: files and folders; an item of an earlier call is taken as it is.

    Raises:
        InputError: nothing to segment.
    """
    given = [images] if isinstance(images, str | Path) else list(images)
    paths: list[Path] = []
    for path in (Path(each) for each in given if not isinstance(each, Mapping)):
        found = sorted(filter(_is_scan, path.iterdir())) if path.is_dir() else [path]
        if not found and _is_scan(path):
            found = [path]  # a folder called like a file: a bad scan among others
        if not found:
            raise InputError(f"folder {show_path(path)} must hold .nii or .nii.gz files, got none; give another folder")
        paths += found
    unique: dict[str, Path] = {}
    for path in paths:
        unique.setdefault(os.path.realpath(path), path)
    items = [dict(each) for each in given if isinstance(each, Mapping)] + _name_apart(list(unique.values()))
    if not items:
        raise InputError("images must name at least one scan, got none; give a file or a folder")
    return items


def _is_scan(path: Path) -> bool:
    name = path.name.lower()
    ours = name.endswith("_seg.nii.gz") and path.with_name(f"{case_id(path)}.json").exists()
    return name.endswith((".nii", ".nii.gz")) and not name.startswith(".") and not ours


def _name_apart(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Items whose names differ, also where a file system does not tell upper from lower case."""
    parts = [Path(os.path.abspath(path)).parts for path in paths]
    depths, clashing = [1] * len(paths), [True]
    while any(clashing):
        names = ["_".join((*own[-depth:-1], case_id(own[-1]))) for own, depth in zip(parts, depths, strict=True)]
        folders: dict[str, set[tuple[str, ...]]] = {}
        for own, name in zip(parts, names, strict=True):
            folders.setdefault(name.casefold(), set()).add(own[:-1])
        clashing = [
            len(folders[name.casefold()]) > 1 and depth < len(own) - 1
            for own, name, depth in zip(parts, names, depths, strict=True)
        ]
        depths = [depth + more for depth, more in zip(depths, clashing, strict=True)]
    seen: dict[str, int] = {}
    for k, name in enumerate(names):  # left are `scan.nii` and `scan.nii.gz` of one folder
        seen[name.casefold()] = seen.get(name.casefold(), 0) + 1
        names[k] += f"-{seen[name.casefold()]}" if seen[name.casefold()] > 1 else ""
    return [
        {"image": path, "name": name, "shown": show_path(path) if depth == 1 else str(Path(*own[-depth:]))}
        for path, name, own, depth in zip(paths, names, parts, depths, strict=True)
    ]


def list_cases(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Items of an evaluation data set; results go to a folder a domain."""
    if not cases:
        raise InputError("the split must have a test case, got none; choose another fold or num_folds")
    return [
        {
            "image": case.image,
            "reference": case.label,
            "name": f"{case.domain}/{case.name}",
            "case": case.name,
            "subject": case.subject,
            "domain": case.domain,
        }
        for case in cases
    ]


class VolumeDataset(Dataset[dict[str, Any]]):
    """Volumes for `VolumeEvaluator`; one that cannot be read becomes an item with a `failure` and ends nothing.

    Args:
        data: items with at least `image`, a path.
        transform: preprocessing.
        results: where the results go; an item whose result is `finished` there is not read.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        transform: Callable[[Any], Any],
        *,
        results: ResultFolder | None = None,
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
        try:
            saved = None if self.results is None else self.results.find(item)
            read = dict(self.transform(item)) if saved is None else {**item, "finished": True, "saved": saved}
        except Exception as error:
            read = {**item, "failure": failure_of(error)}
        return read | {"seconds": time.perf_counter() - start}


class VolumeEvaluator(SupervisedEvaluator):
    """MONAI's evaluator for whole volumes: one bad volume costs that volume only, and a finished one nothing.

    Each item's `domain`, if it has one, is set on the network first. After the run `failures` holds
    `(name, cause)` of each volume that could not be segmented, and `finish()` turns them into one error.

    Args:
        postprocessing: dictionary transforms that end with label values under `pred`, shape (1, X, Y, Z).
        results: where the label maps are written; an item's `saved` is then its path. Saving is no transform, so that
            other tools can run the same post-processing and write files of their own.
        args: of `SupervisedEvaluator`, and so are `kwargs`.
    """

    def __init__(
        self, *args: Any, postprocessing: Compose | None = None, results: ResultFolder | None = None, **kwargs: Any
    ) -> None:
        kwargs.setdefault("epoch_length", len(kwargs["val_data_loader"]))
        super().__init__(*args, decollate=False, **kwargs)
        self.volume_postprocessing = postprocessing
        self.results = results
        self.failures: list[tuple[str, str]] = []
        self.num_volumes = 0

    def _iteration(self, engine: Any, batchdata: dict[str, Any]) -> dict[str, Any]:
        start, item = time.perf_counter(), batchdata
        self.num_volumes += 1
        if "finished" in item:
            _logger.info("%s: finished before", item["saved"].name)
        elif "failure" in item:
            self.record_failure(item, item["failure"])
        else:
            try:
                item = self._segment(item)
            except Exception as error:
                self.record_failure(item, failure_of(error))
        item["seconds"] = item.get("seconds", 0.0) + time.perf_counter() - start
        return item

    def record_failure(self, item: dict[str, Any], cause: str) -> None:
        """Note that a volume could not be segmented or scored, and go on."""
        item["failure"] = cause
        self.failures.append((item["name"], cause))
        _logger.error(cause)

    def _segment(self, item: dict[str, Any]) -> dict[str, Any]:
        if "domain" in item:
            self.network.set_domain(item["domain"])
        self.mode(self.network)
        images = item[Keys.IMAGE][None].to(self.state.device)
        with torch.autocast(images.device.type, enabled=self.amp):
            item[Keys.PRED] = self.inferer(images, self.network)[0]
        if self.volume_postprocessing is not None:
            item = self.volume_postprocessing(item)
        if self.results is not None:
            item["saved"] = self.results.save(item, np.asarray(item[Keys.PRED])[0])
            _logger.info("%s -> %s", item.get("shown") or show_path(item["source"].path), item["saved"].name)
        return item

    def finish(self) -> None:
        """Raise one error that lists the volumes that failed, if any did."""
        if self.failures:
            listed = "; ".join(cause for _, cause in self.failures[:_MAX_LISTED])
            more = len(self.failures) - _MAX_LISTED
            rest = f"; and {more} more, see the lines above and the report" if more > 0 else ""
            raise InputError(f"{len(self.failures)} of {self.num_volumes} scans could not be segmented: {listed}{rest}")


def failure_of(error: BaseException) -> str:
    """The one line that explains why a volume could not be used, whatever happened.

    With MULTIJOINT_DEBUG set, an error that is no fault of the volume's is raised again.
    """
    cause = find_cause(error, InputError, OSError)
    if cause is not None:
        return explain(cause)
    if find_cause(error, MemoryError) is not None:
        return "volume must fit in the memory that is free, got none left; close other programs or crop the volume"
    if os.environ.get("MULTIJOINT_DEBUG"):
        raise error
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    return f"unexpected {type(root).__name__}: {explain(root)}; set MULTIJOINT_DEBUG=1 to see where, and report it"
