"""The one reader and the one writer of volumes: any format in, a label map on the source grid out."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from custom_components.errors import InputError, show_path
from custom_components.io.formats import SEGMENTATION, format_of
from custom_components.io.geometry import (
    MAX_GRID_ERROR,
    corners_apart,
    find_affine,
    forms_apart_mm,
    qform_beside,
    spacing_of,
    voxels_apart,
)
from custom_components.io.label_files import check_ending, check_written, compress, encode
from custom_components.io.nifti_files import Content, open_content
from custom_components.io.nifti_headers import read_header, shape_of, skip_to_voxels
from custom_components.io.nifti_voxels import read_voxels
from custom_components.system.files import file_digest, write_atomically
from nibabel.orientations import apply_orientation, inv_ornt_aff

_LOG = logging.getLogger(__name__)
_STORED = [np.dtype(kind) for kind in ("u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8")]
_PLAUSIBLE_MM = (0.01, 100)  # voxel sizes of a scan of a patient


@dataclass(frozen=True)
class Volume:
    """A volume as its file stores it, in the file's own axis order.

    Args:
        array: voxels (X, Y, Z); float32 for an image, int32 for a label map.
        affine: voxel index -> RAS+ position in mm, (4, 4) float64.
        header: the file's NIfTI header, unchanged; of another format, a NIfTI header of the same grid.
        path: the file.
        digest: SHA-256 of the file's bytes as stored, in hexadecimal; see `raster_files.scan_digest`; empty if the
            volume is not from a file.
    """

    array: np.ndarray
    affine: np.ndarray
    header: Any
    path: Path
    digest: str = ""

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along each array axis."""
        return spacing_of(self.affine)

    def without_voxels(self) -> Volume:
        """The same geometry; the array keeps its shape, as a view of no memory that also travels without any."""
        return replace(self, array=np.broadcast_to(np.float32(0), self.array.shape))

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        return state if any(self.array.strides) else state | {"array": self.array.shape}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if isinstance(self.array, tuple):
            self.__dict__["array"] = np.broadcast_to(np.float32(0), self.array)


def read_volume(path: str | Path, *, kind: Literal["image", "label"] = "image") -> Volume:
    """Read a volume, or say in one line why it cannot be trusted.

    NIfTI-1 and NIfTI-2 of any byte order; the intensity scaling of the header is applied; (X, Y, Z, 1) is read as
    (X, Y, Z). No more is decompressed or allocated than the header says and the environment allows; then the file is
    read to its end, where gzip's checksum stands. The sform gives the affine when its code is set, else the qform; with
    neither, the spacing alone is known and a warning is logged. Metres and microns become mm. Other formats are read by
    ITK, and MGH by nibabel, once this package has checked their headers and bytes. What is refused and what only warned
    of, `docs/reference/input.md` lists.

    Args:
        path: a file with one of `formats.ENDINGS`.
        kind: an "image" must not be constant; a "label" must hold whole numbers, and may be empty.

    Raises:
        InputError: anything is wrong with the file's container, header, geometry or values.
    """
    path = Path(path)
    if format_of(path) == "NIfTI":
        with open_content(path) as content:
            volume, num_trailing = _read(content, kind)
    else:
        volume, num_trailing = _read_other(path, kind)
    if not (volume.header["sform_code"] > 0 or volume.header["qform_code"] > 0):
        codes = " (sform and qform codes 0)" if format_of(path) == "NIfTI" else ""
        _warn(path, f"states no orientation{codes}; only its voxel sizes are used")
    if min(volume.spacing_mm) < _PLAUSIBLE_MM[0] or max(volume.spacing_mm) > _PLAUSIBLE_MM[1]:
        sizes = ", ".join(f"{size:.4g}" for size in volume.spacing_mm)
        _warn(path, f"has implausible voxel sizes, {sizes} mm; check the unit in the header")
    apart_mm = forms_apart_mm(volume.header)
    if apart_mm > max(volume.spacing_mm):
        _warn(path, f"has an sform and a qform of one meaning, {apart_mm:.4g} mm apart; the sform is used")
    if num_trailing:
        _warn(path, f"has {num_trailing} bytes after its voxels, which are ignored")
    return volume


def read_label(path: str | Path, *, like: Volume | None = None) -> Volume:
    """Read a label map.

    Args:
        path: file of whole numbers.
        like: image on whose grid it must lie; the label map is returned in its axis order, with its affine.

    Raises:
        InputError: see `read_volume`; or a value is not a whole number; or shape or affine differ from the image's
            (more than `MAX_GRID_ERROR` at a corner).
    """
    label = read_volume(path, kind="label")
    return label if like is None else on_grid(label, like)


def read_grid(path: str | Path) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape (X, Y, Z) and affine, in mm, of a volume, as `read_volume` gives them, without reading the voxels."""
    frame = read_frame(path)
    return frame.array.shape, frame.affine


def read_frame(path: str | Path) -> Volume:
    """A volume without its voxels and digest, as far as the head of its file tells; see `Volume.without_voxels`."""
    path = Path(path)
    if format_of(path) != "NIfTI":
        from custom_components.io.library_voxels import read_frame_of
        from custom_components.io.raster import nifti_header

        raster = read_frame_of(path)
        array = np.broadcast_to(np.float32(0), raster.shape)
        return Volume(array, raster.affine, nifti_header(raster), path)
    with open_content(path) as content:
        header = read_header(content)
    array = np.broadcast_to(np.float32(0), shape_of(header))
    return Volume(array, find_affine(header, content.path), header, content.path)


def volume_of(array: np.ndarray, affine: np.ndarray, *, name: str = "image.nii") -> Volume:
    """A volume from an array and its affine, held to the same rules as a file.

    Shape:
        array (X, Y, Z) of any numeric type; affine (4, 4), voxel index -> RAS+ position in mm.

    Raises:
        InputError: see `read_volume`.
    """
    stored = array if array.dtype in _STORED else array.astype(np.float32)
    content = nib.Nifti1Image(stored, np.asarray(affine, np.float64)).to_bytes()
    return _read(Content(io.BytesIO(content), Path(name), size=len(content)), "image")[0]


def write_label_map(
    path: str | Path,
    labels: np.ndarray,
    *,
    like: Volume,
    names: Mapping[int, str] | None = None,
    before: Callable[[str], None] | None = None,
    extension: bytes = b"",
) -> None:
    """Write label values as `uint8` on the grid of `like`, whole or not at all, in the format of the path's ending.

    NIfTI gets the version, sform, qform, their codes and the units of the source. Every other header field and every
    extension is left behind: they may hold patient data. The same labels give the same bytes.

    The path, of a `.nii`, `.nii.gz`, `.nrrd`, `.seg.nrrd` or `.mha` file, is replaced if it exists; `like` is the
    volume that was segmented. A `.seg.nrrd` has a segment for each value of `names`, or for each that is there.
    `before` is called with the SHA-256 of the file's bytes when these are on the disk, just before they take their
    name. `extension` is a header extension for NIfTI, such as `label_names.label_extension` makes.

    Raises:
        InputError: labels of another shape or not whole numbers 0..255, or another file name.
        OSError: the file could not be written; nothing is left behind.
    """
    path = Path(path)
    check_ending(path)
    labels = np.asarray(labels)
    if labels.shape != like.array.shape:
        raise InputError(
            f"label map {show_path(path)} must have the shape of {show_path(like.path)}, {like.array.shape}, "
            f"got {labels.shape}; resample it to the source grid first"
        )
    if labels.dtype.kind not in "bui" or labels.min() < 0 or labels.max() > 255:
        raise InputError(
            f"label map {show_path(path)} must hold whole numbers from 0 to 255, got {labels.dtype} "
            f"from {labels.min()} to {labels.max()}; decode classes to label values first"
        )
    labels, fields = labels.astype(np.uint8, copy=False), {}
    if path.name.lower().endswith(SEGMENTATION):
        from custom_components.io.label_names import segment_fields

        unnamed = {value: f"label {value}" for value in np.unique(labels).tolist()}
        fields = segment_fields(unnamed if names is None else names, labels)

    def check(stored: bytes) -> None:
        check_written(path, stored, labels, affine=like.affine, header=like.header)
        if before is not None:
            before(hashlib.sha256(stored).hexdigest())

    stored = encode(path, labels, affine=like.affine, header=like.header, fields=fields, extension=extension)
    write_atomically(path, stored, check=check)


def nifti_bytes(voxels: np.ndarray, affine: np.ndarray) -> bytes:
    """A gzipped NIfTI file of nothing but voxels (X, Y, Z) and affine (4, 4) in mm; the same give the same bytes."""
    volume = nib.Nifti1Image(voxels, affine)
    volume.set_sform(affine, code=1)
    volume.set_qform(affine, code=1)
    volume.header.set_xyzt_units("mm", "sec")
    return compress(b"", memoryview(volume.to_bytes()))


def _read(content: Content, kind: Literal["image", "label"]) -> tuple[Volume, int]:
    """The volume, and the number of bytes after its voxels."""
    path = content.path
    header = read_header(content)
    affine = find_affine(header, path)
    skip_to_voxels(content, header)
    try:
        array, num_trailing = read_voxels(content, header, kind=kind)
    except MemoryError as error:
        raise InputError(
            f"volume {show_path(path)} must fit in memory, got shape {shape_of(header)}; free some or crop the volume"
        ) from error
    return Volume(array, affine, header, path, content.digest), num_trailing


def _read_other(path: Path, kind: Literal["image", "label"]) -> tuple[Volume, int]:
    """The volume of a file that is not NIfTI, and the number of bytes after its voxels."""
    from custom_components.io.library_voxels import convert, read_frame_of
    from custom_components.io.raster import nifti_header
    from custom_components.io.raster_files import Verified, verify

    raster = read_frame_of(path)
    verified = Verified(file_digest(path), None, 0) if raster.format == "MINC" else verify(raster)
    array = convert(raster, kind=kind, checksum=verified.checksum)
    return Volume(array, raster.affine, nifti_header(raster), path, verified.digest), verified.num_trailing


def _warn(path: Path, found: str) -> None:
    _LOG.warning("%s", " ".join(f"{show_path(path)} {found}".split()))


def on_grid(label: Volume, image: Volume, *, kind: str = "label map") -> Volume:
    """A label map, or a channel, on the grid of its image: in its axis order, not interpolated, with its affine.

    Raises:
        InputError: it does not lie on the image's grid (see `MAX_GRID_ERROR`), however its axes are turned.
    """
    label, turn = _turned(label, image)
    labels, how = ("the labels", " with nearest neighbour") if kind == "label map" else ("it", "")
    if label.array.shape != image.array.shape:
        raise InputError(
            f"{kind} {show_path(label.path)} must have the shape of {show_path(image.path)}, {image.array.shape}, "
            f"got {label.array.shape}; resample {labels}{how}"
        )
    shape = image.array.shape
    off = voxels_apart(shape, image.affine, label.affine)
    if off > MAX_GRID_ERROR and 0 in (label.header["sform_code"], image.header["sform_code"]):
        own = qform_beside(label.header, label.header["dim"][1:4].tolist())
        other = qform_beside(image.header, shape)
        off = off if own is None or other is None else min(off, voxels_apart(shape, other, own @ turn))
    if off > MAX_GRID_ERROR:
        off_mm = corners_apart(shape, image.affine, label.affine)
        raise InputError(
            f"{kind} {show_path(label.path)} must have the affine of {show_path(image.path)}, got corners up to "
            f"{off:.3g} voxels ({off_mm:.3g} mm) apart; resample {labels} to the image or copy its header"
        )
    return replace(label, affine=image.affine)


def _turned(label: Volume, image: Volume) -> tuple[Volume, np.ndarray]:
    """The label map with its axes permuted and flipped as the image's, if they point along them; new index -> old."""
    axes = [volume.affine[:3, :3] / volume.spacing_mm for volume in (label, image)]
    cosines = axes[1].T @ axes[0]  # image axis, label axis
    order = np.abs(cosines).argmax(axis=0)
    if sorted(order) != [0, 1, 2]:
        return label, np.eye(4)
    turn = np.stack([order, np.sign(cosines[order, range(3)])], axis=1)
    if np.array_equal(turn, [[0, 1], [1, 1], [2, 1]]):
        return label, np.eye(4)
    matrix = inv_ornt_aff(turn, label.array.shape)
    return replace(label, array=apply_orientation(label.array, turn), affine=label.affine @ matrix), matrix
