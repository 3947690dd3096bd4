"""The folder that segmentations go to: what is finished there, what must not be replaced, and a report of each scan."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import custom_components
import numpy as np
from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.io.geometry import voxel_volume_ml
from custom_components.io.nifti_files import case_id
from custom_components.io.volumes import Volume, read_label, write_label_map
from custom_components.models.trained_model import TrainedModel
from custom_components.quality.flags import measure_quality
from custom_components.system.files import file_digest, write_atomically

__all__ = ["ResultFolder"]


class ResultFolder:
    """Label maps `<case>_seg.nii.gz`, each with a record `<case>_seg.json` of what it was made from, how, and how well.

    A scan is finished when its label map is there, unchanged, and the record names the same scan, model, domain,
    settings and version of this package, and what was measured of each bone (`bone_quality.measure_quality`). A label
    map that anybody else put there or changed, or that was made from another scan of the same name, is never replaced
    unless `overwrite` says so.

    Args:
        output_dir: the folder.
        model: the trained model.
        domain: name of the domain of items that do not say.
        settings: whatever else decides the labels, as plain values.
        overwrite: segment everything anew and replace what is there.
    """

    def __init__(
        self,
        output_dir: str | Path,
        *,
        model: TrainedModel,
        domain: str | None = None,
        settings: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.model = model
        self.default_domain = domain
        self.settings = dict(settings or {})
        self.overwrite = overwrite

    def find(self, item: Mapping[Any, Any]) -> Path | None:
        """The finished label map of an item (with `image`, its path), or None if it is to be made.

        Raises:
            InputError: something is there that must not be replaced.
        """
        path, record_path = self._paths(item)
        image = Path(item["image"])
        if self.overwrite or not path.exists() or not image.is_file():
            return None
        record, digest = _read_record(record_path), file_digest(image)
        remedy = "move it, choose another output folder, or give --overwrite"
        if not record:
            raise InputError(f"{path.name} must not exist already, got one of unknown origin; {remedy}")
        if record["image_sha256"] != digest and record["image_id"] != _path_id(image, record["image_sha256"]):
            raise InputError(f"{path.name} must not be of another scan, got one of a scan of the same name; {remedy}")
        if record["label_map_sha256"] not in (None, file_digest(path)):
            if _is_whole(path):
                raise InputError(f"{path.name} must be as it was written, got a changed one (by hand?); {remedy}")
            return None
        made = {"image_sha256": digest} | self._how(item)
        same = made.items() <= record.items() and "quality" in record
        return path if record["label_map_sha256"] and same else None

    def save(self, item: Mapping[Any, Any], labels: np.ndarray) -> Path:
        """Write the label map of an item (with `source`, its volume) and its record.

        What is measured of the bones also takes `pred_before` (class indices before post-processing, shape
        (1, X, Y, Z)) and `expected_dice` (of each output channel of the network) of the item, if it has them.

        The record comes first, still without the digest of the label map: whoever finds a label map finds its names,
        and whoever finds such a record knows that the scan is not finished.

        Shape:
            labels: (X, Y, Z), label values.
        """
        path, record_path = self._paths(item)
        source: Volume = item["source"]
        labels_of = self._domain(item).labels
        record = {
            "image": source.path.name,
            "labels": {"0": "background"} | {str(value): name for value, name in labels_of.items()},
            "image_sha256": source.digest,
            "image_id": _path_id(source.path, source.digest),
            **self._how(item),
            "quality": self._measure(item, labels),
        }
        _write_record(record_path, record | {"label_map_sha256": None})
        write_label_map(path, labels, like=source)
        _write_record(record_path, record | {"label_map_sha256": file_digest(path)})
        return path

    def _measure(self, item: Mapping[Any, Any], labels: np.ndarray) -> list[dict[str, Any]]:
        domain, expected, before = self._domain(item), item.get("expected_dice"), item.get("pred_before")
        return measure_quality(
            labels,
            domain=domain,
            voxel_ml=voxel_volume_ml(item["source"].affine),
            before=None if before is None else np.asarray(before)[0],
            expected_dice=[expected[channel] for channel in self.model.channels(domain.name)] if expected else None,
            connectivity=self.settings.get("connectivity", 1),
            known=self.model.quality(domain.name),
        )

    def _paths(self, item: Mapping[Any, Any]) -> tuple[Path, Path]:
        name = item.get("name") or case_id(item["source"].path)
        return self.output_dir / f"{name}_seg.nii.gz", self.output_dir / f"{name}_seg.json"

    def _domain(self, item: Mapping[Any, Any]) -> Domain:
        return self.model.domain(item.get("domain", self.default_domain))

    def _how(self, item: Mapping[Any, Any]) -> dict[str, Any]:
        return {
            "domain": self._domain(item).name,
            "model_sha256": self.model.digest or None,
            "settings": self.settings,
            "version": custom_components.__version__,
        }


def _path_id(path: Path, digest: str) -> str:
    """Tells whether two scans are the same file, without telling where it is."""
    return hashlib.blake2b(os.fsencode(os.path.realpath(path)), key=bytes.fromhex(digest), digest_size=16).hexdigest()


def _is_whole(path: Path) -> bool:
    try:
        read_label(path)
    except InputError:
        return False
    return True


def _read_record(path: Path) -> dict[str, Any]:
    """A record of ours, or nothing."""
    try:
        record = json.loads(path.read_bytes())
        bytes.fromhex(record["image_sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return record if {"image_id", "label_map_sha256"} <= record.keys() else {}


def _write_record(path: Path, record: Mapping[str, Any]) -> None:
    write_atomically(path, (json.dumps(record, indent=2) + "\n").encode())
