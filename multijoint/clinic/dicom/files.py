"""DICOM files in folders: known by their magic bytes, their headers read with suspicion."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from custom_components.errors import InputError, needs_extra, show_path
from custom_components.io.nifti_files import MAX_BYTES, check_size

DEFLATED = "1.2.840.10008.1.2.1.99"
_MAGIC, _MAGIC_AT = b"DICM", 128
_DICOMDIR = "1.2.840.10008.1.3.10"


def find_dicom_files(path: Path) -> tuple[list[Path], int]:
    """The DICOM files in a folder and below, in order of their names, and the number of other files there.

    A DICOMDIR counts as another file, since the files that it lists are found anyway. Links to folders are not
    followed; pipes and devices are not opened.
    """
    if not path.is_dir():
        return ([path], 0) if is_dicom(path) else ([], 0)
    found, num_others = [], 0
    for folder, names, files in os.walk(path):
        names.sort()
        for name in sorted(files):
            file = Path(folder, name)
            if name.upper() != "DICOMDIR" and is_dicom(file):
                found.append(file)
            else:
                num_others += 1
    return found, num_others


def is_dicom(path: Path) -> bool:
    """Whether a regular file has `DICM` behind a preamble of 128 bytes."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return False
            return file.read(_MAGIC_AT + len(_MAGIC))[_MAGIC_AT:] == _MAGIC
    except (OSError, ValueError):
        return False


def read_header(path: Path, tags: Sequence[str]) -> Any:
    """Some elements of a DICOM file, without its pixels.

    Returns:
        A `pydicom.FileDataset`, or None for a DICOMDIR.

    Raises:
        InputError: the file cannot be parsed, is shorter than its pixels, or larger than the environment allows.
    """
    name = show_path(path)
    with reading_dicom(name) as pydicom, path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        check_size(size, limit=MAX_BYTES, path=path)
        meta = pydicom.filereader.read_file_meta_info(path)
        if meta.get("TransferSyntaxUID") == DEFLATED:
            raise InputError(f"DICOM file {name} must not be deflated, got one that is; convert it with gdcmconv --raw")
        if meta.get("MediaStorageSOPClassUID") == _DICOMDIR:
            return None
        wanted = [*tags, "Rows", "Columns", "NumberOfFrames", "BitsAllocated", "SamplesPerPixel"]
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=wanted)
        missing = _missing_bytes(header, file, size)
    if missing > 0:
        raise InputError(f"DICOM file {name} must be whole, got {missing} bytes less than its pixels; copy it again")
    return header


@contextlib.contextmanager
def reading_dicom(name: str, *, otherwise: str = "") -> Iterator[Any]:
    """Pydicom without its log, and with errors in one line that quotes no value from the file: it may name a patient.

    Messages call the file `name`; `otherwise` replaces the message that it cannot be read.

    Raises:
        InputError: pydicom is missing, or the block failed.
    """
    with needs_extra("reading DICOM", "clinic"):
        import pydicom
        import pydicom.config
        import pydicom.filereader
    for package in ("pydicom", "highdicom"):
        logging.getLogger(package).setLevel(logging.CRITICAL)  # they log values and identifiers
    try:
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            yield pydicom
    except Exception as error:  # pydicom raises whatever its parsing stumbled on, also an OSError without a number
        if isinstance(error, InputError) or (isinstance(error, OSError) and error.errno is not None):
            raise
        if otherwise:
            raise InputError(f"{otherwise} ({type(error).__name__})") from error
        found = f"got one that cannot be read ({type(error).__name__}); copy it again"
        raise InputError(f"DICOM file {name} must be intact, {found}") from error


def _missing_bytes(header: Any, file: Any, size: int) -> int:
    """By how much a file ends before its uncompressed pixels do; 0 if it has none or they are compressed."""
    here = file.tell()
    if header.get("Rows") is None or header.file_meta.TransferSyntaxUID.is_compressed:
        return 0 if header.get("Rows") is None or here < size else 1
    bits = int(header.Rows) * int(header.Columns) * int(header.get("NumberOfFrames") or 1)
    bits *= int(header.get("BitsAllocated") or 0) * int(header.get("SamplesPerPixel") or 1)
    return here + (8 if header.file_meta.TransferSyntaxUID.is_implicit_VR else 12) + bits // 8 - size
