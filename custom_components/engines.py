"""What MONAI's engines need to train on mixed batches and to segment volumes one by one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from custom_components.errors import InputError, find_cause
from custom_components.manifests import Case

__all__ = [
    "SliceTarget",
    "VolumeDataset",
    "VolumeEvaluator",
    "VolumeLoader",
    "list_cases",
    "list_scans",
    "prepare_slices",
]

_logger = logging.getLogger(__name__)


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


def list_scans(images: Sequence[str | Path] | str | Path) -> list[dict[str, Any]]:
    """Items of an inference data set from paths; a folder stands for the NIfTI files directly in it.

    Raises:
        InputError: nothing to segment, or two files whose results would have one name.
    """
    given = [images] if isinstance(images, str | Path) else list(images)
    paths: list[Path] = []
    for path in map(Path, given):
        found = sorted(p for p in path.iterdir() if p.name.endswith((".nii", ".nii.gz"))) if path.is_dir() else [path]
        if not found:
            raise InputError(f"folder {path} must hold .nii or .nii.gz files, got none; give another folder")
        paths += found
    if not paths:
        raise InputError("images must name at least one scan, got none; give a file or a folder")
    seen: dict[str, Path] = {}
    items = []
    for path in paths:
        name = path.name.removesuffix(".gz").removesuffix(".nii")
        if name in seen:
            raise InputError(
                f"scans must have different names, got {seen[name]} and {path}, which would both become "
                f"{name}_seg.nii.gz; rename one or segment them into different folders"
            )
        seen[name] = path
        items.append({"image": path, "name": name})
    return items


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
    """

    def __init__(self, data: Sequence[Mapping[str, Any]], transform: Callable[[Any], Any]) -> None:
        self.data = list(data)
        self.transform = transform

    def __len__(self) -> int:
        """Number of volumes."""
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One preprocessed volume."""
        item = self.data[index]
        try:
            return dict(self.transform(item))
        except Exception as error:
            return {**item, "failure": failure_of(error)}


class VolumeLoader(DataLoader):
    """Hands `VolumeDataset` items on as they are, one at a time."""

    def __init__(self, dataset: VolumeDataset, *, num_workers: int = 0) -> None:
        super().__init__(dataset, batch_size=None, num_workers=num_workers)


class VolumeEvaluator(SupervisedEvaluator):
    """MONAI's evaluator for whole volumes: one bad volume costs that volume only.

    Each item's `domain`, if it has one, is set on the network first. After the run `failures` holds
    `(name, cause)` of each volume that could not be segmented, and `finish()` turns them into one error.
    Arguments are those of `SupervisedEvaluator`, with `postprocessing` a `Compose` of dictionary transforms.
    """

    def __init__(self, *args: Any, postprocessing: Compose | None = None, **kwargs: Any) -> None:
        super().__init__(*args, decollate=False, **kwargs)
        self.volume_postprocessing = postprocessing
        self.failures: list[tuple[str, str]] = []
        self.num_volumes = 0

    def _iteration(self, engine: Any, batchdata: dict[str, Any]) -> dict[str, Any]:
        item = batchdata
        self.num_volumes += 1
        if "failure" not in item:
            try:
                return self._segment(item)
            except Exception as error:
                item["failure"] = failure_of(error)
        self.record_failure(item, item["failure"])
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
        if "saved" in item:
            _logger.info("%s -> %s", item["source"].path.name, item["saved"])
        return item

    def finish(self) -> None:
        """Raise one error that lists the volumes that failed, if any did."""
        if self.failures:
            listed = "; ".join(cause for _, cause in self.failures)
            raise InputError(f"{len(self.failures)} of {self.num_volumes} scans could not be segmented: {listed}")


def failure_of(error: BaseException) -> str:
    """The one line that explains a failure of one volume; re-raises what is no fault of that volume."""
    cause = find_cause(error, InputError, OSError)
    if cause is None:
        raise error
    return " ".join(str(cause).split())
