"""The formats of volumes by the endings of file names, and the names of scans without them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from custom_components.errors import InputError, show_path

Format = Literal["NIfTI", "NRRD", "MetaImage", "Analyze", "MINC", "GIPL", "MGH"]
LabelFormat = Literal["nifti", "nrrd", "mha", "seg.nrrd", "same"]
"""Format of the label maps that are written; "same" is that of the scan, or NIfTI if it is not written."""

_FORMATS: dict[str, Format] = {  # an ending that ends in another one goes before it
    ".nii.gz": "NIfTI",
    ".nii": "NIfTI",
    ".seg.nrrd": "NRRD",
    ".nrrd": "NRRD",
    ".nhdr": "NRRD",
    ".mha": "MetaImage",
    ".mhd": "MetaImage",
    ".hdr": "Analyze",
    ".mnc": "MINC",
    ".gipl.gz": "GIPL",
    ".gipl": "GIPL",
    ".mgz": "MGH",
    ".mgh": "MGH",
}
SEGMENTATION = ".seg.nrrd"
"""Ending of a file that holds a segmentation and never a scan."""

ENDINGS = tuple(_FORMATS)
SCAN_ENDINGS = tuple(ending for ending in ENDINGS if ending != SEGMENTATION)
KINDS = ".nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd, .hdr, .mnc, .gipl, .mgz or .mgh"
"""The endings in words."""

_WRITTEN = {"nifti": ".nii.gz", "nrrd": ".nrrd", "mha": ".mha", "seg.nrrd": SEGMENTATION}
LABEL_ENDINGS = tuple(_WRITTEN.values())
"""Endings of the label maps of a results folder."""

_SAME = {"NRRD": "nrrd", "MetaImage": "mha"}


def is_volume(path: str | Path) -> bool:
    """Whether a file has the name of a volume and is not hidden.

    Example:
        >>> is_volume("scan.NII.gz"), is_volume(".scan.nii"), is_volume("scan.raw")
        (True, False, False)
    """
    name = Path(path).name.lower()
    return name.endswith(ENDINGS) and not name.startswith(".")


def format_of(path: str | Path) -> Format:
    """Format of a volume by its name.

    Raises:
        InputError: no volume has such a name.

    Example:
        >>> format_of("scan.MHD")
        'MetaImage'
    """
    name = Path(path).name.lower()
    for ending, found in _FORMATS.items():
        if name.endswith(ending):
            return found
    remedy = "name the .hdr" if name.endswith(".img") else "convert it to NIfTI"
    raise InputError(f"volume must be a {KINDS} file, got {show_path(path)}; {remedy}")


def ending_of(path: str | Path) -> str:
    """Ending of a volume's name, in lower case; "" if there is none of a volume."""
    name = Path(path).name.lower()
    return next((ending for ending in ENDINGS if name.endswith(ending)), "")


def case_id(path: str | Path) -> str:
    """Name of a scan: its file name without the ending of a volume.

    Example:
        >>> case_id("scans/a.b.NII.gz"), case_id("a01.seg.nrrd")
        ('a.b', 'a01')
    """
    name = Path(path).name
    return name[: len(name) - len(ending_of(name))]


def label_ending(asked: str, *, scan: str | Path) -> tuple[str, str]:
    """Ending of a label map's file in a `LabelFormat`, and why it is NIfTI where that was not asked for, or "".

    Raises:
        InputError: no such format.

    Example:
        >>> label_ending("same", scan="a01.mhd")
        ('.mha', '')
        >>> label_ending("same", scan="a01.mgz")
        ('.nii.gz', 'label maps are not written as MGH')
    """
    if asked not in get_args(LabelFormat):
        known = ", ".join(get_args(LabelFormat))
        raise InputError(f"format of label maps must be one of {known}, got {asked!r}; correct it")
    if asked != "same":
        return _WRITTEN[asked], ""
    found = format_of(scan)
    if found in _SAME:
        return _WRITTEN[_SAME[found]], ""
    return _WRITTEN["nifti"], "" if found == "NIfTI" else f"label maps are not written as {found}"
