"""Scans that Python hands over, files and arrays, as items of an inference data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from custom_components.data.scans import list_scans, scan_of_channels
from custom_components.errors import InputError, explain
from custom_components.io.formats import case_id, format_of
from custom_components.io.volumes import nifti_bytes, read_volume
from nibabel.spatialimages import HeaderDataError, SpatialImage

from multijoint.api.dicom_scans import find_scans
from multijoint.clinic.dicom.export import convert_exam


def item_of(scan: Any, folder: Path, *, series: str | None, channels: Sequence[str] = ()) -> dict[str, Any]:
    """Item of an inference data set; an image or array becomes a file in the folder.

    Args:
        scan: as `Model.segment` takes it.
        folder: an existing one, for files.
        series: the DICOM series to take.
        channels: names of the channels of the domain; none for one channel.

    Raises:
        InputError: the scan is of another kind, more than one, or has other channels.
    """
    if isinstance(scan, Mapping | list):
        each = list(scan.values()) if isinstance(scan, Mapping) else scan
        folders = [_subfolder(folder, number) for number in range(len(each))]
        files = [Path(item_of(one, own, series=series)["image"]) for one, own in zip(each, folders, strict=True)]
        return scan_of_channels(dict(zip(scan, files, strict=True)) if isinstance(scan, Mapping) else files, channels)
    if isinstance(scan, tuple) and len(scan) == 2:
        return _stored(scan[0], scan[1], folder, "scan")
    if isinstance(scan, SpatialImage):
        file = scan.get_filename()
        return _stored(np.asanyarray(scan.dataobj), scan.affine, folder, case_id(file) if file else "scan")
    if not isinstance(scan, str | Path):
        kinds = "a path, a nibabel image, or an array and its affine"
        raise InputError(f"scan must be {kinds}, got {type(scan).__name__}; give (array, affine) for an array")
    scans, exams = find_scans([Path(scan)])
    if exams:
        if len(exams) > 1:
            raise InputError(f"folder {Path(scan).name} must hold one exam, got {len(exams)}; give the folder of one")
        return dict(convert_exam(exams[0], folder, wanted=series).item)
    items = list_scans(scans, channels=channels)
    if len(items) > 1:
        raise InputError(f"scan must be one volume, got a folder of {len(items)}; segment each of them")
    return items[0]


def scan_bytes(path: Path) -> bytes:
    """A scan as the bytes of a NIfTI file, its own if it is one."""
    if format_of(path) == "NIfTI":
        return path.read_bytes()
    volume = read_volume(path)
    return nifti_bytes(volume.array, volume.affine)


def _subfolder(folder: Path, number: int) -> Path:
    made = folder / f"channel_{number}"
    made.mkdir()
    return made


def _stored(voxels: Any, affine: Any, folder: Path, name: str) -> dict[str, Any]:
    """Item of an array that becomes a file in the folder, in a type that NIfTI has, values as they are."""
    if np.ma.is_masked(voxels):
        raise InputError("scan must be an array without a mask, got a masked one; fill what it hides")
    path = folder / f"{name}.nii"
    try:
        array = np.asarray(voxels)
        array = array.astype({"?": np.uint8, "e": np.float32}.get(array.dtype.char, array.dtype), copy=False)
        with np.errstate(all="ignore"):  # of an affine that is none
            nib.Nifti1Image(array, np.asarray(affine, np.float64), dtype=array.dtype).to_filename(path)
    except (ValueError, TypeError, RuntimeError, HeaderDataError) as error:
        rule = "scan must be an array of numbers and its affine, 4 x 4, voxel index to RAS+ mm"
        raise InputError(f"{rule}, got {explain(error)}; give such") from error
    return {"image": path, "name": name, "shown": name}
