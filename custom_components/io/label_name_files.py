"""Names and colours of labels, read from files of other programs; see `label_names` for the formats.

These files are not trusted: their size is bounded, and each name is made printable and short.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from custom_components.errors import InputError, show_path
from custom_components.io.label_names import clean_name
from custom_components.io.nifti_files import open_content
from custom_components.io.nifti_headers import read_header, skip_to_voxels
from custom_components.system.files import restore

MAX_BYTES = 2**20
"""Of a file of names, or of a header with names."""

NAME_FILES = ("*dseg.tsv", "*.seg.nrrd", "*.ctbl", "*.label", "*.txt")
"""Patterns of files of names, those that keep a name as it is before those that change it."""

_ENDING = re.compile(r"(?i)([_-]d?seg)?(\.seg\.nrrd|\.nii(\.gz)?|\.\w+)$")
_SNAP = re.compile(r"\s*(\d{1,5})" + r"\s+(\d{1,3})" * 3 + r'\s+(\d*\.?\d+)\s+([01])\s+([01])\s+"([^"]+)"\s*')
_COLORS = re.compile(r"\s*(\d{1,5})\s+(\S+)" + r"\s+(\d{1,3}(?:\.\d+)?)" * 4 + r"\s*")
_SEGMENT = re.compile(r"Segment(\d{1,5})_(Name|LabelValue|Color|Layer):=(.*)")
_HEX = re.compile(r"#[0-9a-fA-F]{6}")


class NamedLabel(NamedTuple):
    """How a label is called and drawn.

    Args:
        name: printable, at most `label_names.MAX_NAME` characters.
        color: `#rrggbb`; empty if the file has none.
    """

    name: str
    color: str


Labels = dict[int, NamedLabel]
"""Label value -> name and colour."""


def read_labels(path: Path) -> Labels:
    """The labels that a file names, by the ending of its name: background too, in the order of the file.

    `.ctbl` is a colour table of 3D Slicer, `.label` a label description of ITK-SNAP, `.txt` either; `.tsv` has the
    columns of BIDS; `.nrrd` is a segmentation of 3D Slicer; `.nii` and `.nii.gz` may have a header extension of names.

    Returns:
        Empty if the file is another one, or names nothing.

    Raises:
        InputError: the file is too large, or broken.
        OSError: it cannot be read.
    """
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        return _of_nifti(path)
    if name.endswith(".nrrd"):
        return parse_segments(_read(path, MAX_BYTES))
    text = read_text(path)
    if name.endswith(".tsv"):
        return parse_table(text)
    if name.endswith(".label"):
        return parse_snap(text, shown=show_path(path))
    if name.endswith(".txt"):
        try:
            return parse_snap(text, shown=show_path(path))
        except InputError:
            return parse_colors(text)
    return parse_colors(text) if name.endswith(".ctbl") else {}


def labels_beside(label_maps: Sequence[Path]) -> Iterator[tuple[Path, Labels]]:
    """Labels that label maps name in their headers, and those of the files of names in the same folders.

    A file that is called after another label map of its folder (`b_seg.ctbl`, with `b_seg.nii.gz` there) is left out,
    and so is one that cannot be read.

    Yields:
        Each file that names labels, and these.
    """
    own = {_stem(path) for path in label_maps}
    for folder in sorted({path.parent for path in label_maps}):
        others = {_stem(path) for path in folder.glob("*.nii*")} - own
        files = (path for path in visible_files(folder, *NAME_FILES) if _stem(path) not in others)
        for path in (*files, *(label_map for label_map in label_maps if label_map.parent == folder)):
            with contextlib.suppress(InputError, OSError):
                if labels := read_labels(path):
                    yield path, labels


def visible_files(folder: Path, *patterns: str) -> list[Path]:
    """Files of a folder that fit a pattern, without hidden ones, in order."""
    return sorted({path for pattern in patterns for path in folder.glob(pattern) if not path.name.startswith(".")})


def _stem(path: Path) -> str:
    """What a label map and the files of its names have in common: `a` of `a_seg.nii.gz`, `a_seg.ctbl`, `a_dseg.tsv`."""
    return _ENDING.sub("", path.name)


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, in UTF-16 with its mark, or as Windows writes it in Western Europe.

    Raises:
        InputError: it is no regular file, larger than `MAX_BYTES`, or no text.
        OSError: it cannot be read.
    """
    data = _read(path, MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InputError(f"file of names {show_path(path)} must have at most {MAX_BYTES} bytes, got more; shorten it")
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return data.decode("utf-16")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            return data.decode("cp1252")
    except UnicodeDecodeError as error:
        raise InputError(f"file of names {show_path(path)} must be text, got other bytes; save it in UTF-8") from error


def parse_snap(text: str, *, shown: str) -> Labels:
    r"""Labels of a label description of ITK-SNAP, as strictly as ITK-SNAP itself reads it.

    A line is empty, a comment after `#`, or `IDX R G B A VIS MSH "LABEL"`: whole numbers, colours from 0 to 255, the
    opacity from 0 to 1, two flags, and a name without a quotation mark. Values differ.

    Raises:
        InputError: another line; `shown` names the file.

    Example:
        >>> parse_snap('# ITK-SnAP\n  1   255  0  128    1  1  1    "talus"\n', shown="a.label")
        {1: NamedLabel(name='talus', color='#ff0080')}
    """
    found: Labels = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _SNAP.fullmatch(line)
        rgb = [int(channel) for channel in match.groups()[1:4]] if match else []
        if not match or max(rgb) > 255 or float(match[5]) > 1 or int(match[1]) in found:
            raise InputError(
                f'line {number} of {shown} must be IDX R G B A VIS MSH "LABEL" with a new IDX, got '
                f"{clean_name(line)[:40]!r}; save the label descriptions of ITK-SNAP again"
            )
        found[int(match[1])] = _label(match[8], rgb)
    return found


def parse_colors(text: str) -> Labels:
    r"""Labels of a colour table of 3D Slicer: lines `value name red green blue opacity`; other lines say nothing.

    Example:
        >>> parse_colors("# Color table\n2 talus 128 174 127.5 255\n")
        {2: NamedLabel(name='talus', color='#80ae80')}
    """
    found = [_COLORS.fullmatch(line) for line in text.splitlines()]
    return {
        int(match[1]): _label(match[2], [min(255, round(float(each))) for each in match.groups()[2:5]])
        for match in found
        if match
    }


def parse_table(text: str) -> Labels:
    r"""Labels of a `dseg.tsv` of BIDS: columns `index` and `name`, perhaps `color`; other rows say nothing.

    Example:
        >>> parse_table("index\tname\tcolor\n1\ttalus\t#FF0080\n")
        {1: NamedLabel(name='talus', color='#ff0080')}
    """
    found: Labels = {}
    try:
        for row in csv.DictReader(text.splitlines(), delimiter="\t"):
            index, name, color = (str(row.get(key) or "") for key in ("index", "name", "color"))
            if re.fullmatch(r"\d{1,5}", index, re.ASCII) and clean_name(name) not in ("", "n/a"):
                found[int(index)] = NamedLabel(
                    clean_name(restore(name)), color.lower() if _HEX.fullmatch(color) else ""
                )
    except csv.Error:
        return {}
    return found


def parse_segments(head: bytes) -> Labels:
    r"""Labels of the header of a `.seg.nrrd` of 3D Slicer; none if its segments overlap, on several layers.

    Example:
        >>> parse_segments(b"NRRD0004\nSegment0_Name:=talus\nSegment0_LabelValue:=2\nSegment0_Color:=1 0 0.5\n\n")
        {2: NamedLabel(name='talus', color='#ff0080')}
    """
    if not head.startswith(b"NRRD000"):
        return {}
    segments: dict[int, dict[str, str]] = {}
    for line in re.split(rb"\r?\n\r?\n", head, maxsplit=1)[0].decode("utf-8", "replace").splitlines():
        if match := _SEGMENT.fullmatch(line):
            text = re.sub(r"\\([\\n])", lambda escape: "\\" if escape[1] == "\\" else " ", match[3])
            segments.setdefault(int(match[1]), {})[match[2]] = text
    if len({segment.get("Layer", "0") for segment in segments.values()}) > 1:
        return {}
    found: Labels = {}
    for _, segment in sorted(segments.items()):
        value, name = segment.get("LabelValue", ""), clean_name(segment.get("Name", ""))
        if re.fullmatch(r"\d{1,5}", value, re.ASCII) and name:
            found.setdefault(int(value), _label(name, _bytes_of(segment.get("Color", "").split())))
    return found


def parse_extension(content: bytes) -> Labels:
    """Labels of a NIfTI header extension as TotalSegmentator and Connectome Workbench write it; none of another.

    Example:
        >>> xml = b'<Label Key="2" Red="1" Green="0" Blue="0.5">talus</Label>'
        >>> start, end = b"<VolumeInformation><LabelTable>", b"</LabelTable></VolumeInformation>"
        >>> parse_extension(b"<CaretExtension>" + start + xml + end + b"</CaretExtension>")
        {2: NamedLabel(name='talus', color='#ff0080')}
    """
    text = content.strip(b"\0 \r\n\t")
    if not text.startswith(b"<") or len(text) > MAX_BYTES or b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        return {}
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, LookupError, ValueError):  # the others for an encoding that is none
        return {}
    found: Labels = {}
    for label in root.findall("VolumeInformation/LabelTable/Label") if root.tag == "CaretExtension" else ():
        value, name = label.get("Key", ""), clean_name(label.text or "")
        if re.fullmatch(r"\d{1,5}", value, re.ASCII) and name:
            found[int(value)] = _label(name, _bytes_of(label.get(key, "") for key in ("Red", "Green", "Blue")))
    return found


def _of_nifti(path: Path) -> Labels:
    with open_content(path) as content:
        extensions = skip_to_voxels(content, read_header(content))
    return next(filter(None, map(parse_extension, extensions)), {})


def _read(path: Path, size: int) -> bytes:
    if not path.is_file():  # reading a pipe would wait
        raise InputError(f"file of names {show_path(path)} must be a regular file, got something else; check the path")
    with path.open("rb") as file:
        return file.read(size)


def _bytes_of(shares: Iterable[str]) -> list[int]:
    """Channels from 0 to 1 as bytes; none if one is no such number."""
    try:
        channels = [float(share) for share in shares]
    except ValueError:
        return []
    fits = len(channels) == 3 and all(0 <= channel <= 1 for channel in channels)
    return [round(255 * channel) for channel in channels] if fits else []


def _label(name: str, rgb: list[int]) -> NamedLabel:
    return NamedLabel(clean_name(name), f"#{bytes(rgb).hex()}" if rgb else "")
