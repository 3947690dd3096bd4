"""A corpus of hostile and of unusual files in NRRD, MetaImage and the smaller formats, as `hostile_nifti` for NIfTI."""

from __future__ import annotations

import gzip
import os
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from support.hostile_nifti import AFFINE, ARRAY, INF, NAN, SHAPE, CorpusWriter, Entry, rotation

LPS = np.diag([-1.0, -1.0, 1.0, 1.0]) @ AFFINE
CENTRE = np.diag([-0.5, 2.0, 3.0, 1.0])
CENTRE[:3, 3] = -np.diag(CENTRE)[:3] * (np.array(SHAPE) - 1) / 2
NRRD_TYPES = {"i1": "int8", "u1": "uchar", "i2": "short", "u2": "ushort", "i4": "int", "u4": "uint", "i8": "int64"}
NRRD_TYPES |= {"u8": "uint64", "f4": "float", "f8": "double"}
MHA_TYPES = {"i1": "CHAR", "u1": "UCHAR", "i2": "SHORT", "u2": "USHORT", "i4": "INT", "u4": "UINT", "i8": "LONG_LONG"}
MHA_TYPES |= {"u8": "ULONG_LONG", "f4": "FLOAT", "f8": "DOUBLE"}
Packer = Callable[[bytes], bytes]


def stored(array: np.ndarray, order: str = "<") -> bytes:
    return array.astype(array.dtype.newbyteorder(order)).tobytes(order="F")


def nrrd(
    array: np.ndarray = ARRAY,
    lps: np.ndarray = LPS,
    *,
    order: str = "<",
    pack: Packer = bytes,
    body: bytes | None = None,
    more: str = "",
    first: str = "NRRD0004",
    **fields: Any,
) -> bytes:
    """An NRRD file: `fields` (`_` for a space in a name) replace entries, None removes one; `more` are lines."""
    entries: dict[str, Any] = {
        "type": NRRD_TYPES[array.dtype.str[1:]],
        "dimension": array.ndim,
        "space": "left-posterior-superior",
        "sizes": " ".join(map(str, array.shape)),
        "space directions": " ".join(_vector(column) for column in lps[:3, :3].T),
        "kinds": " ".join(["domain"] * array.ndim),
        "endian": "little" if order == "<" else "big",
        "encoding": "raw" if pack is bytes else "gzip",
        "space origin": _vector(lps[:3, 3]),
    }
    entries |= {name.replace("_", " "): value for name, value in fields.items()}
    lines = [first, *(f"{name}: {value}" for name, value in entries.items() if value is not None)]
    content = pack(stored(array, order)) if body is None else body
    return "\n".join([*lines, *more.splitlines(), "", ""]).encode() + content


def _vector(numbers: np.ndarray) -> str:
    return f"({','.join(map(repr, numbers.tolist()))})"


def mha(
    array: np.ndarray = ARRAY,
    lps: np.ndarray = LPS,
    *,
    order: str = "<",
    pack: Packer = bytes,
    body: bytes | None = None,
    more: str = "",
    **entries: Any,
) -> bytes:
    """A MetaImage file, whose entries are replaced, or removed by None; `more` are lines before the last."""
    sizes = np.sqrt((lps[:3, :3] ** 2).sum(axis=0))
    content = pack(stored(array, order)) if body is None else body
    known: dict[str, Any] = {
        "ObjectType": "Image",
        "NDims": array.ndim,
        "BinaryData": True,
        "BinaryDataByteOrderMSB": order == ">",
        "CompressedData": pack is not bytes,
        "CompressedDataSize": len(content) if pack is not bytes else None,
        "TransformMatrix": _words((lps[:3, :3] / sizes).T.ravel()),
        "Offset": _words(lps[:3, 3]),
        "ElementSpacing": _words(sizes),
        "DimSize": " ".join(map(str, array.shape)),
        "ElementType": f"MET_{MHA_TYPES[array.dtype.str[1:]]}",
    } | entries
    last = known.pop("ElementDataFile", "LOCAL")
    lines = [f"{name} = {value}" for name, value in known.items() if value is not None]
    return "\n".join([*lines, *more.splitlines(), f"ElementDataFile = {last}", ""]).encode() + content


def _words(numbers: np.ndarray) -> str:
    return " ".join(map(repr, numbers.tolist()))


def gzipped(raw: bytes) -> bytes:
    return gzip.compress(raw, mtime=0)


def write_corpus(folder: Path) -> list[Entry]:
    """Write every file into its own folder below `folder`."""
    writer = CorpusWriter(Path(folder))
    for add in (_files, _gzip, _lengths, _nrrd_headers, _mha_headers, _types, _geometry, _detached, _values, _layers):
        add(writer)
    _others(writer)
    return writer.entries


MAKERS: tuple[tuple[str, Callable[..., bytes], Packer], ...] = (
    ("scan.nrrd", nrrd, gzipped),
    ("scan.mha", mha, zlib.compress),
)


def _files(to: CorpusWriter) -> None:
    for name, make, _ in MAKERS:
        plain = make()
        to.refuse("missing", "got nothing there", lambda path: None, name)
        to.refuse("irregular", "got a named pipe", os.mkfifo, name)
        to.refuse("irregular", "got a folder", Path.mkdir, name)
        to.refuse("irregular", "got a device", lambda path: path.symlink_to("/dev/zero"), name)
        to.refuse("empty", "got 0 bytes", b"", name)
        for content in (b"DICM" * 200, bytes(1000), b"text " * 2**19, gzipped(plain)):
            to.refuse("not-the-format", "must start with a header of", content, name)
        to.accept("odd-names", plain, f"Scan 1 (ünïcode) 扫描{name[4:]}")
        to.accept("odd-names", plain, name.upper())
    to.refuse("not-the-format", "must start with a header of NRRD", mha(), "scan.nrrd")
    to.refuse("not-the-format", "must start with a header of MetaImage", nrrd(), "scan.mha")
    to.refuse("header-endless", "must end within", nrrd(more="# more\n" * 200_000), "scan.nrrd")
    to.refuse("header-endless", "must end within", mha(more="Comment = more\n" * 200_000), "scan.mha")


def _gzip(to: CorpusWriter) -> None:
    for name, make, pack in MAKERS:
        packed, head = pack(stored(ARRAY)), len(make(pack=pack)) - len(pack(stored(ARRAY)))
        for size in (1, 9, 20, len(packed) - 4, len(packed) - 1):
            to.refuse("gzip-broken", "intact (gzip|zlib) file, got", make(pack=pack)[: head + size], name)
        for position in (-2, 12):
            broken = bytearray(make(pack=pack))
            broken[head + position if position > 0 else position] ^= 0x80
            to.refuse("gzip-broken", "intact (gzip|zlib) file, got", bytes(broken), name)
        to.refuse("gzip-broken", "got other bytes after its end", make(pack=pack) + b"more", name)
        to.refuse("gzip-broken", "must be an intact (gzip|zlib) file", make(pack=lambda raw: raw), name)
        more = pack(stored(ARRAY) + bytes(2**28))
        to.refuse("trailing-many", "got more than 512 bytes more", make(pack=pack, body=more), name)
        to.accept("gzip-variants", make(pack=pack), name)
    to.accept("gzip-variants", mha(pack=gzipped), "scan.mha")


def _lengths(to: CorpusWriter) -> None:
    for name, make, pack in MAKERS:
        plain, raw = make(), stored(ARRAY)
        for size in (1, 60, len(raw)):
            to.refuse("too-short", "must be as long as its header says, got .*less", plain[:-size], name)
        to.refuse("too-short", "bytes less", make(pack=pack, body=pack(raw[:-1])), name)
        to.warn("trailing-few", "has 512 bytes after its voxels", plain + bytes(512), name)
        to.refuse("trailing-many", "got 513 bytes more", plain + bytes(513), name)
        key = "sizes" if make is nrrd else "DimSize"
        for sizes in ("1024 1024 1024", f"{2**62} 1 1", f"{2**40} {2**40} {2**40}"):
            to.refuse("too-large", "at most 536870912 voxels, got", make(**{key: sizes}), name)
        doubles = make(ARRAY.astype(float), **{key: f"{2**27} 2 2"})
        to.refuse("too-large", r"at most 4294967296 bytes, got", doubles, name)


def _nrrd_headers(to: CorpusWriter) -> None:
    name = "scan.nrrd"
    for key, cause in (("type", "type must be"), ("dimension", "dimension must be"), ("sizes", "sizes must be")):
        to.refuse("entry-invalid", cause, nrrd(**{key: None}), name)
        to.refuse("entry-invalid", f"{key} must be", nrrd(**{key: "what"}), name)
        to.refuse("entry-invalid", "given once", nrrd(more=f"{key}: 3"), name)
    for key in ("encoding", "endian", "space_directions", "space_origin"):
        to.refuse("entry-invalid", "must be (given|little)", nrrd(**{key: None}), name)
    for dimension in (0, -1, 2, 4, 17, 10**30):
        to.refuse("entry-invalid", "must be", nrrd(dimension=dimension), name)
    for sizes in ("5 4 0", "5 -4 3", "5 4 1e3", "5 4 3 1", "5 4"):
        to.refuse("entry-invalid", "must be", nrrd(sizes=sizes), name)
    to.refuse("entry-invalid", "each line must be", nrrd(more="no field"), name)
    to.refuse("entry-invalid", "each line must be", nrrd(more="colour: red"), name)
    to.refuse("entry-invalid", "version must be", nrrd(first="NRRD0009"), name)
    to.refuse("entry-invalid", "data file must be named", nrrd(body=b"").rstrip(b"\n"), name)
    to.refuse("entry-invalid", "last line must be ended", nrrd(body=b"", data_file="a.raw").rstrip(b"\n"), "scan.nhdr")
    for skip in ("-2", "1e9", str(2**62)):
        to.refuse("entry-invalid", "byte skip must be", nrrd(byte_skip=skip), name)
    to.refuse("entry-invalid", "line skip must be", nrrd(line_skip=1), name)
    to.refuse("entry-invalid", "byte skip must be", nrrd(byte_skip=-1, pack=gzipped), name)
    to.accept("data-file", nrrd(byte_skip=7, body=b"skipped" + stored(ARRAY)), name)
    for encoding in ("ascii", "hex", "bzip2", "zip"):
        to.refuse("encodings-other", "encoding must be raw or gzip", nrrd(encoding=encoding), name)
    for space in ("scanner-xyz", "3D-right-handed", "left-posterior-superior-time", "here"):
        to.refuse("space-unknown", "space must be", nrrd(space=space), name)
    to.refuse("space-unknown", "space must be", nrrd(space=None), name)
    to.refuse("space-unknown", "space directions must be given without", nrrd(spacings="1 1 1"), name)
    to.refuse("units-other", "units must be mm", nrrd(space_units='"um" "um" "um"'), name)
    for kinds in ("RGB-color domain domain", "domain domain list", "vector domain domain"):
        to.refuse("not-3d", "must be one 3D volume, got an axis of kind", nrrd(kinds=kinds), name)
    two = np.stack([ARRAY, ARRAY])
    axes = " ".join(_vector(column) for column in LPS[:3, :3].T)
    four = {"space_directions": f"none {axes}", "kinds": "list domain domain domain"}
    to.refuse("not-3d", r"must have one channel, got shape \(2, 5, 4, 3\)", nrrd(two, **four), name)
    to.accept("one-volume", nrrd(ARRAY[None], **four), name)
    last = {"space_directions": f"{axes} none", "kinds": "domain domain domain list"}
    to.accept("one-volume", nrrd(ARRAY[..., None], **last), name)
    to.refuse("not-3d", "must be one 3D volume", nrrd(np.stack([ARRAY] * 2, axis=-1), **last), name)
    flat = {"space_directions": "(1,0) (0,1)", "space_origin": "(0,0)"}
    to.refuse("not-3d", "must be one 3D volume", nrrd(ARRAY[0], **flat), name)
    to.accept("unused-fields", nrrd(content="knee", thicknesses="nan nan 3", more="# note\nkey:=any: value"), name)


def _mha_headers(to: CorpusWriter) -> None:
    name = "scan.mha"
    for key in ("NDims", "DimSize", "ElementType", "ElementSpacing"):
        to.refuse("entry-invalid", f"{key} must be", mha(**{key: None}), name)
        to.refuse("entry-invalid", f"{key} must be", mha(**{key: "what"}), name)
        to.refuse("entry-invalid", "given once", mha(more=f"{key} = 3"), name)
    to.refuse("entry-invalid", "Offset must be given once", mha(more="Position = 0 0 0"), name)
    for rank in (0, -3, 2, 4, 11):
        to.refuse("entry-invalid", "must be", mha(NDims=rank), name)
    for sizes in ("5 4 0", "5 -4 3", "5 4", "5 4 3.0", "5 4 3 2"):
        to.refuse("entry-invalid", "must be", mha(DimSize=sizes), name)
    to.refuse("entry-invalid", "each line must be", mha(more="no entry"), name)
    to.refuse("entry-invalid", "ObjectType must be Image", mha(ObjectType="Tube"), name)
    to.refuse("entry-invalid", "CompressedData must be True or False", mha(CompressedData="maybe"), name)
    to.refuse("entry-invalid", "HeaderSize must be", mha(HeaderSize=-2), name)
    to.refuse("entry-invalid", "Offset must be 3 numbers", mha(Offset=None), name)
    to.refuse("encodings-other", "BinaryData must be True", mha(BinaryData=False), name)
    to.refuse("scaling-unread", "must be stored unscaled", mha(ElementToIntensityFunctionSlope=2), name)
    to.refuse("scaling-unread", "must be stored unscaled", mha(ElementToIntensityFunctionOffset=NAN), name)
    to.refuse("units-other", "DistanceUnits must be mm", mha(DistanceUnits="um"), name)
    to.refuse("not-3d", "must have one channel, got 3", mha(ElementNumberOfChannels=3), name)
    to.refuse("not-3d", "must be one 3D volume, got shape", mha(np.stack([ARRAY] * 2, axis=-1)), name)
    to.refuse("not-3d", r"must have three axes, got shape \(5, 4, 3, 1\)", mha(ARRAY[..., None]), name)
    to.accept("unused-fields", mha(AnatomicalOrientation="XYZ", Modality="MET_MOD_MR", Note="any = value"), name)
    for length in (0, 0.5, 2, NAN):
        content = mha(TransformMatrix=f"0 {length} 0 0 0 1 1 0 0")
        to.refuse("directions-length", "TransformMatrix must be of directions of length 1", content, name)


def _types(to: CorpusWriter) -> None:
    for name, make, pack in MAKERS:
        for kind in NRRD_TYPES:
            for order in "<>":
                to.accept("data-types", make(ARRAY.astype(kind), order=order), name)
        to.accept("data-types", make(ARRAY.astype(">f4"), order=">", pack=pack), name)
    for kind in ("block", "long", "float16", "complex"):
        to.refuse("data-types-other", "type must be that of integers", nrrd(type=kind), "scan.nrrd")
    for kind in ("MET_LONG", "MET_STRING", "MET_FLOAT_ARRAY", "MET_NONE"):
        to.refuse("data-types-other", "ElementType must be one of", mha(ElementType=kind), "scan.mha")


def _geometry(to: CorpusWriter) -> None:
    for name, make, _ in MAKERS:
        for value in (NAN, INF, 1e10):
            lps = LPS.copy()
            lps[1, 3] = value
            to.refuse("affine-infinite", "affine of .* must be finite", make(lps=lps), name)
        for shear in (0.02, 0.9):
            lps = np.eye(4)
            lps[0, 1] = shear
            to.refuse("sheared", "right angles, got a cosine", make(lps=lps), name)
        to.refuse("singular", "right angles", make(lps=np.diag([1.0, 1, 1, 1])[:, [0, 0, 2, 3]]), name)
        slight = np.eye(4)
        slight[0, 1] = 0.005
        to.accept("sheared-slightly", make(lps=slight), name, affine=np.diag([-1.0, -1, 1, 1]) @ slight)
        for factor in (1e-3, 1e3):
            affine = np.vstack([AFFINE[:3] * factor, AFFINE[3]])
            lps = np.vstack([LPS[:3] * factor, LPS[3]])
            to.warn("implausible", "has implausible voxel sizes", make(lps=lps), name, affine=affine)
        for angle in (20, 44.9, 45, 90):
            lps = rotation(angle) @ np.diag([0.4, 0.4, 1.2, 1])
            to.accept("oblique", make(lps=lps), name, affine=np.diag([-1.0, -1, 1, 1]) @ lps)
        for signs in ((1, 1, 1), (-1, -1, 1), (-1, 1, 1), (1, 1, -1)):
            lps = np.diag([*np.array(signs) * (0.5, 0.75, 2), 1.0])[[0, 2, 1, 3]]
            to.accept("axis-orders", make(lps=lps), name, affine=np.diag([-1.0, -1, 1, 1]) @ lps)
    lps = LPS.copy()
    lps[:3, 1] = 0
    to.refuse("singular", "must give positive voxel sizes", nrrd(lps=lps), "scan.nrrd")
    for space, turn in (("RAS", (1, 1, 1, 1)), ("left-anterior-superior", (-1, 1, 1, 1)), ("lps", (-1, -1, 1, 1))):
        affine = np.diag(np.array(turn, float)) @ LPS
        to.accept("axis-orders", nrrd(space=space), "scan.nrrd", affine=affine)
    bare = {"space": None, "space_directions": None, "space_origin": None}
    to.warn("no-forms", "states no orientation", nrrd(**bare, spacings="0.5 2 3"), "scan.nrrd", affine=CENTRE)
    to.warn("no-forms", "states no orientation", mha(TransformMatrix=None), "scan.mha", affine=CENTRE)
    for size in (0, -1, NAN, INF):
        to.refuse("sizes", "voxel sizes in .* must be positive", mha(ElementSpacing=f"0.5 {size} 3"), "scan.mha")
        to.refuse("sizes", "voxel sizes in .* must be", nrrd(**bare, spacings=f"0.5 {size} 3"), "scan.nrrd")


def _detached(to: CorpusWriter) -> None:
    def beside(content: bytes, data: str = "voxels.raw", raw: bytes = stored(ARRAY)) -> Callable[[Path], None]:
        def write(path: Path) -> None:
            path.write_bytes(content)
            path.with_name(data).write_bytes(raw)

        return write

    for name, make, pack in (("scan.nhdr", nrrd, gzipped), ("scan.mhd", mha, zlib.compress)):
        key = "data_file" if make is nrrd else "ElementDataFile"

        def header(data: str, make: Any = make, key: str = key, **more: Any) -> bytes:
            content: bytes = make(**{key: data, "body": b"", **more})
            return content.rstrip(b"\n") + b"\n"

        to.accept("data-file", beside(header("voxels.raw")), name)
        to.accept("data-file", beside(header("voxels.raw") + b"\n"), name)
        to.accept("data-file", beside(header("voxels.raw").replace(b"\n", b"\r\n")), name)
        to.accept("data-file", beside(header("v.gz", pack=pack), "v.gz", pack(stored(ARRAY))), name)
        skip = "byte_skip" if make is nrrd else "HeaderSize"
        to.accept("data-file", beside(header("voxels.raw", **{skip: 5}), raw=b"12345" + stored(ARRAY)), name)
        to.accept("data-file", beside(header("voxels.raw", **{skip: -1}), raw=b"1234567" + stored(ARRAY)), name)
        to.refuse("too-short", "got .* bytes less", beside(header("voxels.raw"), raw=stored(ARRAY)[:-1]), name)
        to.refuse("too-short", "got .* bytes less", beside(header("voxels.raw", **{skip: -1}), raw=b"12"), name)
        to.refuse("missing", "got nothing there", beside(header("elsewhere.raw")), name)
        to.refuse("irregular", "got a device", _linked(header("zero")), name)
        for data in ("/etc/passwd", "../voxels.raw", "sub/voxels.raw", "..", "c:\\voxels.raw"):
            to.refuse("data-file-elsewhere", "must be named without a folder", beside(header(data)), name)
        for data in ("LIST", "LIST 2", "voxels%03d.raw 1 3 1"):
            to.refuse("data-file-elsewhere", "must be in one file", beside(header(data)), name)


def _linked(content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content)
        path.with_name("zero").symlink_to("/dev/zero")

    return write


def _values(to: CorpusWriter) -> None:
    for name, make, pack in MAKERS:
        for value in (NAN, INF):
            for kind in ("f4", "f8"):
                array = ARRAY.astype(kind)
                array[1, 2, 0] = value
                to.refuse("voxels-infinite", "must be finite, got 1 NaN", make(array, pack=pack), name)
        to.refuse("constant", "must not be constant, got 7", make(np.full_like(ARRAY, 7)), name)
        to.refuse("beyond-float32", "must fit in 32-bit floats", make(ARRAY * 1e39), name)
        to.accept("thin", make(ARRAY[:, :1]), name, array=ARRAY[:, :1])
        labels = name.replace("scan", "labels")
        for array in (np.zeros_like(ARRAY), ARRAY.astype("f4"), ARRAY.astype("i4")):
            to.accept("labels", make(array), labels, kind="label", array=array)
        to.refuse("label-values", "must hold whole numbers, got", make(ARRAY * 0.3), labels, kind="label")
        large = make(ARRAY.astype("i8") * 2**40)
        to.refuse("label-values", r"values below 2\*\*31", large, labels, kind="label")


def _layers(to: CorpusWriter) -> None:
    name = "labels.seg.nrrd"
    first, second = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    first[0], second[2] = 1, 5
    axes = " ".join(_vector(column) for column in LPS[:3, :3].T)
    four = {"space_directions": f"none {axes}", "kinds": "list domain domain domain"}

    def layered(one: np.ndarray, two: np.ndarray, value: int = 5) -> bytes:
        segments = [(0, 1, "talus"), (1, value, "tibia")]
        lines = (
            f"Segment{number}_ID:=S{number}\nSegment{number}_Name:={bone}\nSegment{number}_Layer:={layer}\n"
            f"Segment{number}_LabelValue:={label}"
            for number, (layer, label, bone) in enumerate(segments)
        )
        return nrrd(np.stack([one, two]), pack=gzipped, more="\n".join(lines), **four)

    to.accept("layers", layered(first, second), name, kind="label", array=first + second)
    second[0, 0, 0] = 5
    to.refuse("layers-apart", "must not overlap, got talus and tibia", layered(first, second), name, kind="label")
    second[0, 0, 0] = 3
    to.refuse("layers-apart", "got a value without a name, 3", layered(first, second), name, kind="label")
    second[second > 0] = 1
    cause = "must have different label values, got 1 for t.* and t"
    to.refuse("layers-apart", cause, layered(first, second, 1), name, kind="label")
    to.refuse("layers-apart", "must have one channel, got a segmentation", layered(first, second), name)


def _others(to: CorpusWriter) -> None:
    def pair(path: Path, **fields: Any) -> None:
        header = nib.AnalyzeImage(ARRAY, np.diag([0.5, 2, 3, 1])).header
        content = bytearray(header.binaryblock)
        changed = np.frombuffer(content, header.structarr.dtype)
        for field, value in fields.items():
            changed[field] = value
        path.write_bytes(content)
        path.with_suffix(".img").write_bytes(stored(ARRAY))

    to.warn("no-forms", "states no orientation", pair, "scan.hdr", affine=CENTRE)
    for field, value, cause in (
        ("sizeof_hdr", 300, "must start with a header of Analyze"),
        ("datatype", 32, "datatype must be one of"),
        ("bitpix", 8, "bitpix must be 16"),
        ("vox_offset", 4, "vox_offset must be 0"),
        ("dim", 0, r"dim\[0\] must be"),
    ):
        row = "not-the-format" if field == "sizeof_hdr" else "entry-invalid"
        to.refuse(row, cause, lambda path, f=field, v=value: pair(path, **{f: v}), "scan.hdr")
    to.refuse("scaling-unread", "must be stored unscaled", lambda path: pair(path, funused1=2), "scan.hdr")
    to.refuse("sizes", "must be positive", lambda path: pair(path, pixdim=0), "scan.hdr")
    nifti_pair = nib.Nifti1Pair(ARRAY, AFFINE)
    to.refuse("pair", "got half of a NIfTI", nifti_pair.to_filename, "scan.hdr")

    made = nib.MGHImage(ARRAY.astype(np.int32), AFFINE).to_bytes()
    for name, pack in (("scan.mgh", bytes), ("scan.mgz", gzipped)):
        to.accept("data-types", pack(made), name)
        to.refuse("too-short", "less", pack(made[:400]), name)
        to.refuse("too-large", "at most 536870912 voxels", pack(made[:4] + b"\x7f\xff\xff\xff" * 3 + made[16:]), name)
    to.refuse("gzip-broken", "intact gzip file", gzipped(made)[:-4], "scan.mgz")
    to.refuse("not-the-format", "must start with a header of MGH", bytes(1000), "scan.mgh")
    two = nib.MGHImage(np.stack([ARRAY] * 2, axis=-1).astype(np.float32), AFFINE).to_bytes()
    to.refuse("not-3d", "must be one 3D volume", two, "scan.mgh")
    to.warn("no-forms", "states no orientation", made[:28] + b"\0\0" + made[30:], "scan.mgh", affine=_plain())
    for content in (bytes(1000), b"\x89HDF\r\n\x1a\n" + bytes(1000)):
        to.refuse("not-the-format", "must start as a MINC 2 file|must be intact", content, "scan.mnc")
    for content in (bytes(256), bytes(1000)):
        to.refuse("not-the-format", "must start with a header of GIPL", content, "scan.gipl")


def _plain() -> np.ndarray:
    """Affine of voxels of 1 mm, as FreeSurfer takes a header without a valid orientation."""
    affine = np.diag([-1.0, 1, 1, 1])
    affine[:3, 3] = -np.diag(affine)[:3] * (np.array(SHAPE) - 1) / 2
    return affine


if __name__ == "__main__":
    for _entry in write_corpus(Path(sys.argv[1])):
        print(_entry.expected, _entry.row, _entry.path, sep="\t")
