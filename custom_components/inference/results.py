"""The output folder of segmentations: which scans are finished there, and which files must not be replaced."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import custom_components
import numpy as np
from custom_components.data.preprocessing import restore_stack
from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.inference.domain_fit import AUTO, asks_for_choice
from custom_components.io.formats import case_id, label_ending
from custom_components.io.probability_maps import write_probability_map
from custom_components.io.records import (
    PROBABILITIES,
    image_digest,
    label_map_path,
    label_name_files,
    probability_paths,
    read_record,
    write_record,
)
from custom_components.io.volumes import Volume, read_label, write_label_map
from custom_components.system.files import file_digest
from custom_components.system.folders import OutputFolder
from torch import Tensor

if TYPE_CHECKING:
    from custom_components.models.trained_model import TrainedModel

_LOG = logging.getLogger(__name__)
_REMEDY = "move it, choose another output folder, or give --overwrite"


class ResultFolder:
    """Label maps `<case>_seg.nii.gz`, or of another format, each with a record of its origin and its quality.

    A scan is finished when its label map is unchanged since it was written and the record names the same scan, model,
    domain, settings and version of this package, and holds the measured quality of each bone. A label map of another
    origin, one that was edited, or one of another scan of the same name is replaced only with `overwrite`.

    Args:
        output_dir: the folder.
        model: the trained model.
        domain: default domain of items that name none; or `domain_fit.AUTO`, then a result with any domain that was
            chosen is finished.
        settings: plain values that also decide the labels; part of the record, compared by `find`.
        overwrite: segment all scans again and replace their label maps.
        label_names: also give other programs the names and colours of the labels, in the header of each label map and
            in files beside it; see `label_names.write_label_names`. The record says so, and a result without them is
            not finished.
        label_format: format of the label maps, see `formats.LabelFormat`. One of ours in another format is made anew
            in this one, and goes.
        probabilities: also write a map a bone, see `write_probability_map`; a scan without them is not finished.
    """

    def __init__(
        self,
        output_dir: str | Path,
        *,
        model: TrainedModel,
        domain: str | None = None,
        settings: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        label_names: bool = False,
        label_format: str = "nifti",
        probabilities: bool = False,
    ) -> None:
        label_ending(label_format, scan="scan.nii")
        self.output_dir = Path(output_dir)
        self.model = model
        self.default_domain = domain
        self.settings = dict(settings or {})
        self.overwrite = overwrite
        self.label_names = label_names
        self.label_format = label_format
        self.probabilities = probabilities
        self._folder = OutputFolder(output_dir)

    def find(self, item: Mapping[Any, Any]) -> Path | None:
        """Finished label map of an item with `image`, a path; None if the scan must be segmented.

        Raises:
            InputError: a label map of the same name must not be replaced.
        """
        image = Path(item["image"])
        wanted = self._path(item, image)
        path = label_map_path(self.output_dir, self._case(item, image))
        self._check_names_are_own(path)
        if self.overwrite or not path.exists() or not image.is_file():
            return None
        digest = image_digest(image)
        record = _record_of_scan(path, image, digest)
        if record["label_map_sha256"] not in (None, file_digest(path)):
            if _is_whole(path):
                raise InputError(f"{path.name} must be as it was written, got a changed one (by hand?); {_REMEDY}")
            return None
        if asks_for_choice(self.model, item.get("domain", self.default_domain)):
            fit = record.get("domain_fit")
            if not isinstance(fit, Mapping) or fit.get("asked") != AUTO:
                return None
            item = {**item, "domain": record.get("domain")}
        made = {"image_sha256": digest} | _further(item, map(_digest_of, item.get("further", ()))) | self._how(item)
        same = made.items() <= record.items() and "quality" in record
        same &= not self.label_names or all(beside.is_file() for beside in label_name_files(path))
        same &= not self.probabilities or _are_whole(path, record.get(PROBABILITIES))
        return path if record["label_map_sha256"] and same and path == wanted else None

    def save(
        self,
        item: Mapping[str, Any],
        labels: np.ndarray,
        *,
        quality: Sequence[Mapping[str, Any]] = (),
        probabilities: Iterable[Tensor] = (),
    ) -> Path:
        """Write the label map of an item and its record; returns the label map's path.

        The record, with the digest of the bytes that were written, takes its name before the label map does, and an
        earlier label map goes before that. So whatever stops the process, a label map never lies in the folder with a
        record that is not its own. Only one run at a time does this in a folder.

        Args:
            item: a `VolumeItem` with `source`.
            labels: label values, shape (X, Y, Z).
            quality: rows of `quality.flags.measure_quality`.
            probabilities: a map for each bone in the order of the domain, see `ProbabilityMaps`; those of an earlier
                result are removed.

        Raises:
            InputError: the folder was removed since the run began.
        """
        source: Volume = item["source"]
        path, before = self._path(item, source.path), label_map_path(self.output_dir, self._case(item, source.path))
        labels_of = self.domain_of(item).labels
        record: dict[str, Any] = {
            "image": source.path.name,
            "label_map": path.name,
            "labels": {"0": "background"} | {str(value): name for value, name in labels_of.items()},
            "image_sha256": source.digest,
            "image_id": _path_id(source.path, source.digest),
            **_further(item, item.get("further_digests", ())),
            **self._how(item),
            **({"domain_fit": dict(item["domain_fit"])} if "domain_fit" in item else {}),
            "quality": [dict(row) for row in quality],
        }

        extension = b""
        if self.label_names:
            from custom_components.io.label_names import label_extension, write_label_names  # few ask for them

            extension = label_extension(labels_of)

        def write_beside(digest: str) -> None:
            had_names = "label_names" in read_record(path)
            before.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            for beside in label_name_files(path) if had_names else ():
                beside.unlink(missing_ok=True)  # they may name other labels
            record["label_map_sha256"] = digest
            write_record(path, record)
            if self.label_names:
                write_label_names(path, labels_of)

        with self._folder.locked():
            self._check_names_are_own(path)
            for old in {before, path}:
                if old.exists() and not self.overwrite:  # another run may have written it since `find`
                    _record_of_scan(old, source.path, source.digest)
            if why := label_ending(self.label_format, scan=source.path)[1]:
                _LOG.info("%s is NIfTI: %s", path.name, why)
            self._write_maps(path, record, probabilities, source, self.domain_of(item))
            write_label_map(path, labels, like=source, names=labels_of, before=write_beside, extension=extension)
            if not path.is_file():
                raise InputError(f"{path.name} must stay until the run ends, got it removed; run the command again")
            if file_digest(path) != record["label_map_sha256"]:
                rule = f"{path.name} must be written by one run at a time, got another's label map in its place"
                raise InputError(f"{rule}; the file system cannot lock folders: segment into folders of their own")
        return path

    def _check_names_are_own(self, path: Path) -> None:
        """Refuse to replace a file of names that no result here has written."""
        if self.label_names and not self.overwrite and "label_names" not in read_record(path):
            for beside in label_name_files(path):
                if beside.exists():
                    raise InputError(f"{beside.name} must not exist already, got one of unknown origin; {_REMEDY}")

    def _write_maps(
        self, path: Path, record: dict[str, Any], maps: Iterable[Tensor], source: Volume, domain: Domain
    ) -> None:
        """Write the maps and note them in the record; those that an earlier record names go first."""
        earlier = _read_own(path).get(PROBABILITIES)
        for known in earlier.values() if isinstance(earlier, dict) else ():
            path.with_name(Path(str(known["file"])).name).unlink(missing_ok=True)
        files = probability_paths(path, domain.labels)
        for (value, bone), stack in zip(domain.labels.items(), maps, strict=False):
            restored = restore_stack(stack, shape=source.array.shape, affine=source.affine, plane=domain.plane)
            digest = write_probability_map(files[value], restored, like=source)
            record.setdefault(PROBABILITIES, {})[bone] = {"file": files[value].name, "sha256": digest}

    def _case(self, item: Mapping[Any, Any], scan: Path) -> str:
        return item.get("name") or case_id(scan)

    def _path(self, item: Mapping[Any, Any], scan: Path) -> Path:
        ending, _ = label_ending(self.label_format, scan=scan)
        return label_map_path(self.output_dir, self._case(item, scan), ending=ending)

    def domain_of(self, item: Mapping[str, Any]) -> Domain:
        """Domain of an item, the default one if it names none."""
        return self.model.domain(item.get("domain", self.default_domain))

    def _how(self, item: Mapping[Any, Any]) -> dict[str, Any]:
        return {
            "domain": self.domain_of(item).name,
            "model_sha256": self.model.digest or None,
            **({"members_sha256": [each.digest for each in self.model.members]} if self.model.members else {}),
            "settings": self.settings,
            "version": custom_components.__version__,
            **({"label_names": True} if self.label_names else {}),
        }


def _further(item: Mapping[Any, Any], digests: Iterable[str]) -> dict[str, Any]:
    """The second and later channels of a scan, as a record names them; empty for a scan of one channel."""
    pairs = zip(item.get("further", ()), digests, strict=True)
    files = [{"image": Path(path).name, "image_sha256": digest} for path, digest in pairs]
    return {"further_images": files} if files else {}


def _digest_of(path: Path) -> str:
    """Digest of a file; "" without one, which reading it then reports."""
    return file_digest(path) if Path(path).is_file() else ""


def _path_id(path: Path, digest: str) -> str:
    """Identity of a file that does not reveal its folder: a keyed hash of its real path."""
    return hashlib.blake2b(os.fsencode(os.path.realpath(path)), key=bytes.fromhex(digest), digest_size=16).hexdigest()


def _record_of_scan(path: Path, image: Path, digest: str) -> dict[str, Any]:
    """Record of a label map, which must be of this scan."""
    record = _read_own(path)
    if not record:
        raise InputError(f"{path.name} must not exist already, got one of unknown origin; {_REMEDY}")
    if record["image_sha256"] != digest and record["image_id"] != _path_id(image, record["image_sha256"]):
        raise InputError(f"{path.name} must not be of another scan, got one of a scan of the same name; {_REMEDY}")
    return record


def _are_whole(path: Path, maps: Any) -> bool:
    """Whether the maps of probabilities that a record names lie beside the label map as they were written."""
    try:
        return bool(maps) and all(file_digest(path.with_name(each["file"])) == each["sha256"] for each in maps.values())
    except (OSError, KeyError, TypeError, ValueError, AttributeError):
        return False


def _is_whole(path: Path) -> bool:
    try:
        read_label(path)
    except InputError:
        return False
    return True


def _read_own(label_map: Path) -> dict[str, Any]:
    """The record of a label map, empty unless `ResultFolder` wrote it."""
    record = read_record(label_map)
    try:
        bytes.fromhex(record["image_sha256"])
    except (KeyError, ValueError, TypeError):
        return {}
    return record if {"image_id", "label_map_sha256"} <= record.keys() else {}
