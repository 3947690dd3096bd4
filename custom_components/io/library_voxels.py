"""Voxels of volumes other than NIfTI, read by ITK or nibabel and held against the header and the bytes of the file."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from custom_components.errors import InputError, show_path
from custom_components.io.geometry import MAX_GRID_ERROR, spacing_of, voxels_apart
from custom_components.io.nifti_files import open_content
from custom_components.io.raster import LPS_TO_RAS, Raster, checked
from custom_components.io.raster_files import read_raster
from custom_components.io.segment_layers import merge_layers
from custom_components.io.values import PART, Found, check_values, collect

_READERS = {"NRRD": "NrrdImageIO", "MetaImage": "MetaImageIO", "Analyze": "NiftiImageIO", "GIPL": "GiplImageIO"}
_PIXELS = {"u1": "UC", "u2": "US", "i2": "SS", "u4": "UI", "i4": "SI", "u8": "ULL", "f4": "F"}  # others as doubles
_COMPONENTS = {
    **{"unsigned_char": "u1", "char": "i1", "unsigned_short": "u2", "short": "i2", "unsigned_int": "u4", "int": "i4"},
    **{"float": "f4", "double": "f8"},
}


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep what the C library of MINC prints, whole paths among it, from the terminal."""
    sys.stderr.flush()
    before = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


def read_frame_of(path: Path) -> Raster:
    """The statement of a header, by this package's own reader; that of MINC, a database, by ITK."""
    if path.name.lower().endswith(".mnc"):
        return _read_minc(path)
    return read_raster(path)


def convert(raster: Raster, *, kind: Literal["image", "label"], checksum: int | None) -> np.ndarray:
    """Voxels (X, Y, Z) of a volume by the library for its format.

    Args:
        raster: statement of the header.
        kind: see `volumes.read_volume`.
        checksum: CRC-32 of the voxels as stored; `None` if the format does not store them plainly.

    Raises:
        InputError: the library fails or gives other voxels or another place than the file states, values that do not
            fit `kind`, or segments that overlap.
    """
    name = show_path(raster.path)
    if raster.layers > 1 and kind == "image":
        raise InputError(f"image {name} must have one channel, got a segmentation in {raster.layers} layers")
    with _failing(raster.path):
        if raster.format == "MGH":
            flat = _by_nibabel(raster)
        else:
            with _silent() if raster.format == "MINC" else contextlib.nullcontext():
                flat = _by_itk(raster)
    if flat.size != math.prod(raster.shape) * raster.layers:
        raise _differs(raster, f"{flat.size} voxels")
    if checksum is not None and checksum != _checksum(flat, raster.dtype):
        raise _differs(raster, "other voxels than the file's")
    if raster.layers > 1:
        flat = merge_layers(flat.reshape(-1, raster.layers), raster)
    found = Found()
    parts = (flat[start : start + PART] for start in range(0, flat.size, PART))
    voxels = collect((part.astype(part.dtype.newbyteorder("=")) for part in parts), flat.size, found, kind=kind)
    check_values(found, kind, raster.path)
    return voxels.reshape(raster.shape, order="F")


def _by_nibabel(raster: Raster) -> np.ndarray:
    image = nib.MGHImage.from_filename(raster.path)
    if raster.is_oriented and not np.array_equal(image.affine, raster.affine):
        raise _differs(raster, "another affine")
    return np.asarray(image.dataobj).reshape(-1, order="F")


def _by_itk(raster: Raster) -> np.ndarray:
    """Voxels in the order of the file, as a view of ITK's memory."""
    itk = _itk()
    pixel = getattr(itk, _PIXELS.get(raster.dtype.newbyteorder("=").str[1:], "D"))
    image_class = itk.VectorImage[pixel, 3] if raster.layers > 1 else itk.Image[pixel, 3]
    reader = itk.ImageFileReader[image_class].New()
    reader.SetImageIO(getattr(itk, _READERS.get(raster.format, "MINCImageIO")).New())
    reader.SetFileName(str(raster.path))
    reader.Update()
    image = reader.GetOutput()
    if tuple(image.GetLargestPossibleRegion().GetSize()) != raster.shape:
        raise _differs(raster, f"shape {tuple(image.GetLargestPossibleRegion().GetSize())}")
    affine = _affine_of(itk, image, raster.format)
    if raster.is_oriented:
        apart = voxels_apart(raster.shape, raster.affine, affine)
    else:
        apart = float(np.abs(np.array(spacing_of(affine)) / spacing_of(raster.affine) - 1).max()) * max(raster.shape)
    if not apart <= MAX_GRID_ERROR:
        raise _differs(raster, f"corners {apart:.3g} voxels away")
    return itk.array_view_from_image(image).reshape(-1)


def _affine_of(itk: Any, image: Any, found: str) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = itk.array_from_matrix(image.GetDirection()) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return affine if found == "MINC" else LPS_TO_RAS @ affine  # ITK 5 gives MINC's world coordinates, RAS, as they are


def _read_minc(path: Path) -> Raster:
    with open_content(path) as content:
        if not content.read(8).startswith(b"\x89HDF\r\n\x1a\n"):
            rule = f"volume {show_path(path)} must start as a MINC 2 file"
            raise InputError(f"{rule}, got other bytes; convert it with mincconvert -2")
    with _failing(path), _silent():
        itk = _itk()
        io = itk.MINCImageIO.New()
        io.SetFileName(str(path))
        io.ReadImageInformation()
        sizes = [int(io.GetDimensions(axis)) for axis in range(io.GetNumberOfDimensions())]
        component = io.GetComponentTypeAsString(io.GetComponentType())
        if len(sizes) != 3 or io.GetNumberOfComponents() != 1 or component not in _COMPONENTS:
            found = f"shape {(*sizes, int(io.GetNumberOfComponents()))} of {component}"
            raise InputError(f"volume {show_path(path)} must be one 3D volume, got {found}; extract a single 3D volume")
        affine = np.eye(4)
        for axis in range(3):
            affine[:3, axis] = np.array(io.GetDirection(axis)) * io.GetSpacing(axis)
            affine[axis, 3] = io.GetOrigin(axis)
    return checked(Raster(path, "MINC", (sizes[0], sizes[1], sizes[2]), np.dtype(_COMPONENTS[component]), affine))


def _checksum(flat: np.ndarray, dtype: np.dtype[Any]) -> int:
    checksum = 0
    for start in range(0, flat.size, PART):
        with np.errstate(all="ignore"):
            part = flat[start : start + PART].astype(dtype)
        checksum = zlib.crc32(part.tobytes(), checksum)
    return checksum


def _itk() -> Any:
    """ITK without its warnings on the terminal; importing it takes seconds, so only these formats do."""
    import itk

    itk.Object.SetGlobalWarningDisplay(False)
    return itk


@contextlib.contextmanager
def _failing(path: Path) -> Iterator[None]:
    """Turn whatever a library raises into one line.

    ITK's modules warn while they are imported, and a warning that is an error there would end the process.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"volume {show_path(path)} must fit in memory, got too little; crop the volume") from error
    except Exception as error:  # ITK raises RuntimeError, nibabel whatever it stumbled on
        found = f"{type(error).__name__} of the library that reads it"
        raise InputError(f"volume {show_path(path)} must be intact, got a {found}; copy or convert it again") from error


def _differs(raster: Raster, found: str) -> InputError:
    rule = f"volume {show_path(raster.path)} must be read as its header states it"
    return InputError(f"{rule}, got {found} from the library for {raster.format}; convert it again")
