"""DICOM files in folders: known by their first bytes, their headers read with suspicion."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import stat
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from custom_components.errors import InputError, needs_extra, show_path
from custom_components.io.formats import ending_of
from custom_components.io.nifti_files import MAX_BYTES, check_size
from custom_components.system.files import READ_FLAGS

DEFLATED = "1.2.840.10008.1.2.1.99"
_MAGIC, _MAGIC_AT = b"DICM", 128
_DICOMDIR = "1.2.840.10008.1.3.10"
_GZIP = b"\x1f\x8b"
_GROUPS = (b"\2\0", b"\x08\0", b"\0\2", b"\0\x08")  # that a data set without a preamble begins with
_NAMED = (".dcm", ".ima", ".dicom")
_SOP_CLASS = 0x00080016
_PIXEL_GROUP = 0x7FE0
_UNKNOWN_LENGTH = 2**32 - 1


@dataclass(frozen=True)
class Header:
    """What stands before the pixels of a DICOM file.

    Args:
        elements: those asked for, as `pydicom.FileDataset`.
        has_pixels: whether pixels follow; reports, raw data, presentation states and many other objects have none.
        damage: one line on how the file ends too early, or "".
    """

    elements: Any
    has_pixels: bool
    damage: str


def find_dicom_files(path: Path) -> tuple[list[Path], list[Path]]:
    """The DICOM files in a folder and below, in order of their names, and the other files there.

    A DICOMDIR is neither, since the files that it lists are found anyway. Links to folders are not followed; pipes and
    devices are not opened.
    """
    if not path.is_dir():
        return ([path], []) if is_dicom(path) else ([], [])
    found, others = list[Path](), list[Path]()
    for folder, names, files in os.walk(path):
        names.sort()
        for name in sorted(files):
            file = Path(folder, name)
            if name.upper() != "DICOMDIR":
                (found if is_dicom(file) else others).append(file)
    return found, others


def is_dicom(path: Path) -> bool:
    """Whether a regular file is meant to be DICOM.

    It has `DICM` behind a preamble of 128 bytes; or it has neither and is a data set that says its class; or it is one
    of these packed with gzip; or it is only named so, or empty without an ending, which is worth a message.
    """
    name = path.name.lower()
    try:
        with open(os.open(path, READ_FLAGS), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return False
            head = file.read(2**10)
    except (OSError, ValueError):
        return False
    if head.startswith(_GZIP) and not ending_of(name):
        with contextlib.suppress(zlib.error):
            head = zlib.decompressobj(wbits=31).decompress(head, 2**10)
            name = name.removesuffix(".gz")
    if head[_MAGIC_AT:].startswith(_MAGIC):
        return True
    is_named = name.endswith(_NAMED) and not name.startswith(".")
    is_wiped = not head.strip(b"\0") and "." not in name
    return is_named or is_wiped or (head.startswith(_GROUPS) and _is_bare(path))


def _is_bare(path: Path) -> bool:
    """Whether a file without preamble is a data set that says its class; other bytes do not parse that far."""
    try:
        with reading_dicom(path.name) as pydicom:
            elements = read_dataset(pydicom, path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
            return re.fullmatch(r"[0-9]+(\.[0-9]+){4,}", str(elements.get("SOPClassUID", ""))) is not None
    except (InputError, OSError):
        return False


def read_header(path: Path, tags: Sequence[str | int]) -> Header | None:
    """Some elements of a DICOM file, without its pixels; None for a DICOMDIR.

    Raises:
        InputError: the file is packed, cannot be parsed, or is larger than the environment allows.
    """
    name = show_path(path)
    with reading_dicom(name) as pydicom, path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        check_size(size, limit=MAX_BYTES, path=path)
        head = file.read(_MAGIC_AT + len(_MAGIC))
        if head.startswith(_GZIP):
            raise InputError(f"DICOM file {name} must not be packed, got a gzip file; unpack it with gunzip")
        if head.endswith(_MAGIC):
            meta = pydicom.filereader.read_file_meta_info(path)
            if meta.get("TransferSyntaxUID") == DEFLATED:
                rule = f"DICOM file {name} must not be deflated, got one that is"
                raise InputError(f"{rule}; convert it with gdcmconv --raw")
            if meta.get("MediaStorageSOPClassUID") == _DICOMDIR:
                return None
        elif not head.startswith(_GROUPS):
            raise InputError(f"DICOM file {name} must hold DICOM, got {size} other bytes; copy it again")
        file.seek(0)
        wanted = [*tags, "Rows", "Columns", "NumberOfFrames", "BitsAllocated", "SamplesPerPixel"]
        elements = read_dataset(pydicom, file, stop_before_pixels=True, specific_tags=wanted)
        has_pixels, missing = _pixels(pydicom, elements, file, size)
        ends_early = not has_pixels and _ends_in_header(pydicom, file, size)
    found = "one that ends in its header" if ends_early else f"{missing} bytes less than its pixels"
    damage = f"DICOM file {name} must be whole, got {found}; copy it again"
    return Header(elements, has_pixels, damage if ends_early or missing > 0 else "")


def class_in_meta(path: Path) -> str:
    """SOP class UID of a file whose data set cannot be read, by what stands before it; or ""."""
    try:
        with reading_dicom(path.name) as pydicom:
            return str(pydicom.filereader.read_file_meta_info(path).get("MediaStorageSOPClassUID", ""))
    except (InputError, OSError):
        return ""


def class_name(uid: str) -> str:
    """Name of a SOP class, such as "Raw Data"."""
    from pydicom.uid import UID

    name = UID(uid).name
    return "unknown object" if name == uid else name.removesuffix(" Storage")


def read_dataset(pydicom: Any, source: Any, **how: Any) -> Any:
    """`pydicom.dcmread`, which also states how a data set without preamble is encoded."""
    dataset = pydicom.dcmread(source, force=True, **how)
    if "TransferSyntaxUID" not in dataset.file_meta:
        is_implicit, is_little = dataset.original_encoding
        uid = pydicom.uid
        explicit = uid.ExplicitVRLittleEndian if is_little else uid.ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if is_implicit else explicit
    return dataset


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
        import pydicom.pixels.utils
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


def _pixels(pydicom: Any, elements: Any, file: Any, size: int) -> tuple[bool, int]:
    """Whether pixels follow where the header was left, and how many bytes of them are missing if not compressed."""
    here, (is_implicit, is_little) = file.tell(), elements.original_encoding
    order: Literal["little", "big"] = "little" if is_little else "big"
    head = file.read(12)
    if int.from_bytes(head[:2], order) != _PIXEL_GROUP:
        return False, 0
    begin = 8 if is_implicit else 12
    length = int.from_bytes(head[begin - 4 : begin], order)
    if length == _UNKNOWN_LENGTH:  # compressed
        return True, int(here + begin >= size)
    try:
        expected = pydicom.pixels.utils.get_expected_length(elements)
    except (AttributeError, TypeError, ValueError):
        expected = 0  # the elements that say it are missing
    return True, max(here + begin + length - size, expected - length)


def _ends_in_header(pydicom: Any, file: Any, size: int) -> bool:
    """Whether a file without pixels ends within an element, or before the first one."""
    end = 0

    def follow(tag: int, kind: str | None, length: int) -> bool:
        nonlocal end
        end = size if length == _UNKNOWN_LENGTH else file.tell() + length
        return False

    file.seek(0)
    pydicom.filereader.read_partial(file, follow, force=True, specific_tags=[_SOP_CLASS])
    return end != size
