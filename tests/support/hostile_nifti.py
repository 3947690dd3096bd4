"""A corpus of hostile and of unusual NIfTI files, each with the answer that the reader must give.

`write_corpus(folder)` writes it anywhere, e.g. to try another program:

    python tests/support/hostile_nifti.py FOLDER
"""

from __future__ import annotations

import gzip
import math
import os
import stat
import struct
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np

SHAPE = (5, 4, 3)
ARRAY = np.random.default_rng(0).permutation(60).reshape(SHAPE).astype(np.int16)
AFFINE = np.array([[0.0, 0, 3, -7], [0.5, 0, 0, 11], [0, -2, 0, 5], [0, 0, 0, 1]])
INF, NAN = math.inf, math.nan

Class = Literal["accept", "warn", "refuse"]


@dataclass(frozen=True)
class Entry:
    """A file of the corpus.

    Args:
        path: the file.
        expected: whether it is read, read with a warning, or refused.
        cause: regular expression that the one line about it matches; empty if it is accepted.
        row: key of the row in `docs/reference/input.md`.
        kind: what to read it as.
        array: voxels of an accepted file.
        affine: voxel index -> RAS+ position in mm of an accepted file.
    """

    path: Path
    expected: Class
    cause: str
    row: str
    kind: Literal["image", "label"]
    array: np.ndarray | None
    affine: np.ndarray | None


def nifti(
    array: np.ndarray = ARRAY,
    affine: np.ndarray | None = AFFINE,
    *,
    version: int = 1,
    order: str = "<",
    between: bytes = bytes(4),
    **fields: Any,
) -> bytes:
    """A NIfTI file of any content: `fields` are set last and unchecked, `between` stands before the voxels."""
    header = (nib.Nifti1Header if version == 1 else nib.Nifti2Header)(endianness=order)
    header["magic"] = b"n+1" if version == 1 else b"n+2"
    header["dim"] = [array.ndim, *array.shape, *[1] * (7 - array.ndim)]
    header.set_data_dtype(array.dtype)
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["vox_offset"] = header.sizeof_hdr + len(between)
    header["xyzt_units"] = 2
    if affine is not None:
        header["pixdim"][1:4] = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
        header.set_qform(affine, 1, strip_shears=True)
        header.set_sform(affine, 1)
    for name, value in fields.items():
        if isinstance(value, dict):
            for index, part in value.items():
                header[name][index] = part
        else:
            header[name] = value
    return header.binaryblock + between + array.astype(array.dtype.newbyteorder(order)).tobytes(order="F")


def three(x: int, y: int | None = None, z: int | None = None) -> dict[int, int]:
    """Sizes for `dim`, all `x` if alone."""
    return {1: x, 2: y or x, 3: z or x}


def sform(matrix: Any, offset: Any = (0, 0, 0), **fields: Any) -> bytes:
    """A file with this sform alone, and voxel sizes of 1 unless `fields` say otherwise."""
    rows = {f"srow_{axis}": [*row, move] for axis, row, move in zip("xyz", matrix, offset, strict=True)}
    return nifti(**{"qform_code": 0, "sform_code": 1, "pixdim": [1, 1, 1, 1, 0, 0, 0, 0], **rows, **fields})


def qform(**fields: Any) -> bytes:
    """A file with a qform alone."""
    return nifti(**{"sform_code": 0, **fields})


def members(*parts: bytes) -> bytes:
    """A gzip file of several members."""
    return b"".join(gzip.compress(part, mtime=0) for part in parts)


def write_corpus(folder: Path) -> list[Entry]:
    """Write every file into its own folder below `folder`."""
    writer = CorpusWriter(Path(folder))
    for add in (_containers, _gzip, _lengths, _headers, _types, _offsets, _sizes, _geometry, _forms, _voxels, _labels):
        add(writer)
    return writer.entries


class CorpusWriter:
    """Writes the files of a corpus, and lists them with the answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: list[Entry] = []

    def _add(self, row: str, expected: Class, cause: str, name: str, content: Any, **more: Any) -> None:
        folder = self.folder / f"{len(self.entries):03d}_{row}"
        folder.mkdir(parents=True)
        path = folder / name
        if callable(content):
            content(path)
        else:
            path.write_bytes(content)
        entry = {"kind": "image", "array": None, "affine": None, **more}
        self.entries.append(Entry(path, expected, cause, row, **entry))

    def refuse(self, row: str, cause: str, content: Any, name: str = "scan.nii", **more: Any) -> None:
        self._add(row, "refuse", cause, name, content, **more)

    def warn(self, row: str, cause: str, content: Any, name: str = "scan.nii", **more: Any) -> None:
        self._add(row, "warn", cause, name, content, **{"array": ARRAY, "affine": AFFINE, **more})

    def accept(self, row: str, content: Any, name: str = "scan.nii", **more: Any) -> None:
        self._add(row, "accept", "", name, content, **{"array": ARRAY, "affine": AFFINE, **more})


def _containers(to: CorpusWriter) -> None:
    plain = nifti()
    for name in ("scan.dcm", "scan.nii.bz2", "scan.img", "scan"):
        to.refuse("name", r"volume must be a \.nii, .* file", plain, name)
    to.refuse("missing", "got nothing there", lambda path: None)
    to.refuse("missing", "got a broken symbolic link", lambda path: path.symlink_to("elsewhere.nii"))
    to.refuse("missing", "must be readable", lambda path: path.symlink_to(path.name))
    to.refuse("irregular", "got a folder", Path.mkdir)
    to.refuse("irregular", "got a named pipe", os.mkfifo)
    to.refuse("irregular", "got a named pipe", os.mkfifo, "scan.nii.gz")
    to.refuse("irregular", "got a socket", lambda path: os.mknod(path, 0o600 | stat.S_IFSOCK))
    to.refuse("irregular", "got a device", lambda path: path.symlink_to("/dev/zero"))
    to.refuse("empty", "got 0 bytes", b"")
    to.refuse("empty", "got 0 bytes", b"", "scan.nii.gz")
    to.refuse("empty", "got 0 bytes", members(b""), "scan.nii.gz")
    to.refuse("not-nifti", "got other bytes", b"DICM" * 200)
    to.refuse("not-nifti", "got other bytes", members(b"text " * 200), "scan.nii.gz")
    to.refuse("not-nifti", "got other bytes", bytes(1000))
    to.refuse("not-nifti", "got a gzip file; name it", members(plain))
    to.refuse("not-nifti", "got no gzip file", plain, "scan.nii.gz")
    to.refuse("pair", r"got half of a \.hdr/\.img pair", nifti(magic=b"ni1"))
    to.refuse("pair", r"got half of a \.hdr/\.img pair", nifti(version=2, magic=b"ni2"))
    for name in ("Scan 1 (ünïcode) 扫描.nii", "-r.nii", "SCAN.NII", "a.b..nii", "$(true);'\"%s{0}.nii"):
        to.accept("odd-names", plain, name)
    to.accept("odd-names", members(plain), "SCAN.Nii.GZ")
    to.accept("odd-names", lambda path: (path.with_name("real").write_bytes(plain), path.symlink_to("real")))


def _gzip(to: CorpusWriter) -> None:
    plain, name = nifti(), "scan.nii.gz"
    packed = gzip.compress(plain, mtime=0)
    for size in (1, 9, 12, 100, len(packed) - 9, len(packed) - 8, len(packed) - 4, len(packed) - 1):
        to.refuse("gzip-broken", "intact gzip file, got .*truncated|intact gzip file, got no gzip", packed[:size], name)
    for position, cause in ((-6, "CRC check failed"), (-2, "another length"), (2, "unknown compression"), (3, "flags")):
        broken = bytearray(packed)
        broken[position] ^= 0x80
        to.refuse("gzip-broken", f"intact gzip file, got .*{cause}", bytes(broken), name)
    to.refuse("gzip-broken", "got other bytes after its end", packed + b"more", name)
    to.refuse("gzip-broken", "got other bytes after its end", packed + b"\x1f", name)
    to.refuse("gzip-broken", "truncated", packed + packed[:10], name)
    to.refuse("gzip-broken", "got more than 1000 empty members", packed + members(b"") * 100_000, name)
    to.accept("gzip-variants", members(plain[:100], b"", plain[100:400], plain[400:], b""), name)
    to.accept("gzip-variants", packed + bytes(1000), name)
    to.accept("gzip-variants", _with_gzip_header(packed), name)
    to.accept("gzip-variants", _stored(plain), name)
    to.refuse("trailing-many", "got more than 512 bytes more", packed + members(bytes(2**20)) * 2048, name)
    to.refuse("trailing-many", "got more than 512 bytes more", _bomb(plain), name)


def _with_gzip_header(packed: bytes) -> bytes:
    """With a file name, a comment, an extra field and a header checksum."""
    header = packed[:3] + bytes([2 | 4 | 8 | 16]) + packed[4:10] + struct.pack("<H", 4) + b"abcd" + b"n.nii\0c\0"
    return header + struct.pack("<H", zlib.crc32(header) & 0xFFFF) + packed[10:]


def _stored(plain: bytes) -> bytes:
    return gzip.compress(plain, compresslevel=0, mtime=0)


def _bomb(plain: bytes) -> bytes:
    """2 GB of zeros behind a small volume, in one member."""
    packer = zlib.compressobj(wbits=31)
    start = packer.compress(plain) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + block * 2048


def _lengths(to: CorpusWriter) -> None:
    plain = nifti()
    for size in (10, 347):
        to.refuse("too-short", r"must start with a NIfTI header", plain[:size])
    to.refuse("too-short", r"must start with a NIfTI header", nifti(version=2)[:539])
    for size in (348, 350, 352, 400, len(plain) - 1):
        to.refuse("too-short", "must be as long as its header says, got .*less", plain[:size])
        to.refuse("too-short", "must be as long as its header says, got .*less", members(plain[:size]), "scan.nii.gz")
    for size in (16, 512):
        to.warn("trailing-few", f"has {size} bytes after its voxels", plain + bytes(size))
        to.warn("trailing-few", f"has {size} bytes after its voxels", members(plain + bytes(size)), "scan.nii.gz")
    to.refuse("trailing-many", "got 513 bytes more", plain + bytes(513))
    to.refuse("trailing-many", "got more than 512 bytes more", members(plain + bytes(513)), "scan.nii.gz")
    to.refuse("too-large", r"at most 536870912 voxels, got 1073741824; set MULTIJOINT_MAX", nifti(dim=three(1024)))
    packed = members(nifti(dim=three(32767)))
    to.refuse("too-large", r"at most 536870912 voxels, got 35181150961663", packed, "scan.nii.gz")
    for size in (2**62, 2**63 - 1):
        to.refuse("too-large", "at most 536870912 voxels, got", nifti(version=2, dim=three(size)))
    doubles = nifti(ARRAY.astype(float), version=2, dim=three(2**27, 2, 2))
    to.refuse("too-large", "at most 4294967296 bytes, got 4294967840; set MULTIJOINT_MAX_BYTES", doubles)


def _headers(to: CorpusWriter) -> None:
    for version in (1, 2):
        for order in "<>":
            to.accept("encodings", nifti(version=version, order=order))
            to.accept("encodings", members(nifti(version=version, order=order)), "scan.nii.gz")
            for magic in (b"", b"n+3", b"xyz", b"n+1" if version == 2 else b"n+2"):
                to.refuse("magic", "magic must be", nifti(version=version, order=order, magic=magic))
            for size in (0, -1, 349, 2**31 - 1):
                content = nifti(version=version, order=order, sizeof_hdr=size)
                to.refuse("not-nifti", "got other bytes", content)
            for rank in (0, -1, 8, 255):
                to.refuse("dimensions", r"dim\[0\] must be", nifti(version=version, order=order, dim={0: rank}))
            for size in (0, -1, -(2**15)):
                to.refuse("dimensions", "dim must be positive", nifti(version=version, order=order, dim={2: size}))
            code = {"version": version, "order": order}
            to.refuse("dimensions", "dim must be positive", nifti(**code, dim={0: 4, 4: 0}))
            to.refuse("data-types-other", "datatype must be", nifti(**code, datatype=3))
            to.refuse("bitpix", "bitpix must be 16", nifti(**code, bitpix=8))
            to.refuse("scaling-infinite", "scl_slope must be finite", nifti(**code, scl_slope=NAN))
            to.refuse("offset", "vox_offset must be", nifti(**code, vox_offset=0))
            to.refuse("sizes", "voxel sizes in .* must be positive", nifti(**code, pixdim={2: NAN}))
    to.refuse("magic", "eol_check must be", nifti(version=2, eol_check=[13, 10, 26, 13]))
    to.refuse("dimensions", "dim must be positive", nifti(version=2, dim={1: -(2**63)}))
    for array in (ARRAY[0, 0], ARRAY[0]):
        to.refuse("not-3d", r"one 3D volume, got shape \(", nifti(array))
    to.refuse("not-3d", r"got shape \(5, 4, 3, 2\)", nifti(np.stack([ARRAY, ARRAY], axis=-1)))
    to.refuse("not-3d", r"got shape \(5, 4, 3, 1, 3\)", nifti(np.stack([ARRAY] * 3, axis=-1)[..., None, :]))
    for rank in range(1, 5):
        to.accept("one-volume", nifti(ARRAY.reshape(*SHAPE, *[1] * rank)))
    fields = {"intent_code": 1005, "intent_p1": NAN, "cal_max": NAN, "toffset": INF, "slice_code": 99, "slice_end": -5}
    to.accept("unused-fields", nifti(**fields, descrip=b"\xff\xfe", aux_file=b"\xff", dim_info=255))
    to.accept("unused-fields", nifti(dim={4: -7, 7: -7}, pixdim={4: NAN, 7: -1}, xyzt_units=2 + 8))


def _types(to: CorpusWriter) -> None:
    for code, bits in ((0, 0), (1, 1), (32, 64), (128, 24), (1536, 128), (1792, 128), (2048, 256), (2304, 32)):
        content = nifti(datatype=code, bitpix=bits) + bytes(4000)
        to.refuse("data-types-other", "must be real numbers, got|datatype must be one of", content)
    for name in ("u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"):
        for order in "<>":
            to.accept("data-types", nifti(ARRAY.astype(name), order=order))
    wide = ARRAY.astype(np.int64) * 2**56
    to.accept("data-types", nifti(wide), array=wide)
    unsigned = ARRAY.astype(np.uint64) + np.uint64(2**64 - 2**57)
    unsigned[0, 0, 0] = 0
    to.accept("data-types", nifti(unsigned), array=unsigned)
    to.accept("scaling", nifti(scl_slope=0.5, scl_inter=-3), array=ARRAY * 0.5 - 3)
    to.accept("scaling", nifti(scl_slope=-2, scl_inter=1, order=">", version=2), array=ARRAY * -2.0 + 1)
    to.accept("scaling", nifti(scl_slope=0, scl_inter=1000))
    to.accept("scaling", nifti(ARRAY.astype("f4"), scl_slope=4), array=ARRAY * 4.0)
    for fields in ({"scl_slope": INF}, {"scl_slope": -INF}, {"scl_inter": NAN}, {"scl_inter": INF}):
        to.refuse("scaling-infinite", "must be finite", nifti(**fields))
    to.refuse("beyond-float32", "must fit in 32-bit floats", nifti(scl_slope=3e38))


def _offsets(to: CorpusWriter) -> None:
    for offset in (NAN, INF, -INF, -352, 1, 348, 351, 352.5, 1e9, 3e38):
        to.refuse("offset", "vox_offset must be a whole number", nifti(vox_offset=offset))
    to.refuse("offset", "vox_offset must be", nifti(version=2, vox_offset=352))
    to.refuse("offset", "vox_offset must be", nifti(version=2, vox_offset=2**63 - 1))
    to.refuse("too-short", "bytes less", nifti(vox_offset=4096))
    to.accept("extensions", nifti(between=bytes(4) + b"anything at all"))
    to.accept("extensions", nifti(between=bytes([1, 0, 0, 0])))
    for order in "<>":
        one = struct.pack(order + "2i", 32, 6) + b"comment".ljust(24, b"\0")
        for version in (1, 2):
            to.accept("extensions", nifti(version=version, order=order, between=b"\1\0\0\0" + one + one))
        for length in (0, -16, 8, 33, 48, 2**31 - 16, -(2**31)):
            between = b"\1\0\0\0" + one + struct.pack(order + "2i", length, 6) + bytes(8)
            to.refuse(
                "extensions-broken", "header extensions of .* must have sizes", nifti(order=order, between=between)
            )


def _sizes(to: CorpusWriter) -> None:
    for size in (0, -0.5, NAN, INF, -INF):
        to.refuse("sizes", "voxel sizes in .* must be positive", nifti(pixdim={1: size}))
    for qfac in (2, NAN, 0.5, INF):
        to.refuse("qfac", "qfac", nifti(pixdim={0: qfac}))
    to.accept(
        "qfac-unused",
        nifti(np.ascontiguousarray(ARRAY), np.diag([1.0, 2, 3, 1]), pixdim={0: 0}),
        affine=np.diag([1.0, 2, 3, 1]),
    )
    upright = np.diag([1.0, 2, 3, 1])
    to.accept("qfac-unused", nifti(affine=upright, pixdim={0: 0}), affine=upright)
    to.accept("qfac-unused", nifti(pixdim={0: NAN}, qform_code=0))
    for field in ("qform_code", "sform_code"):
        for code in (-1, 6, 32767):
            to.refuse("form-codes", f"{field} must be from 0 to 5", nifti(**{field: code}))
    for code in range(2, 6):
        to.accept("forms-differ", nifti(qform_code=code, sform_code=code))
    for unit, factor in ((0, 1), (1, 1000), (2, 1), (3, 0.001)):
        stored = np.vstack([AFFINE[:3] / factor, AFFINE[3]])
        to.accept("units", nifti(affine=stored, xyzt_units=unit))
    for unit in (4, 7, 56 + 2, 128 + 2):
        to.refuse("units-unknown", "xyzt_units must be", nifti(xyzt_units=unit))
    for factor in (1e-3, 1e3):
        affine = np.vstack([AFFINE[:3] * factor, AFFINE[3]])
        to.warn("implausible", "has implausible voxel sizes", nifti(affine=affine), affine=affine)
    affine = np.vstack([AFFINE[:3] * 1e3, AFFINE[3]])
    to.warn("implausible", "has implausible voxel sizes", nifti(xyzt_units=1), affine=affine)
    affine = AFFINE @ np.diag([1, 1, 1e-30, 1])
    to.warn("implausible", "has implausible voxel sizes", nifti(affine=affine), affine=affine)


def _geometry(to: CorpusWriter) -> None:
    one = np.eye(3)
    for value in (NAN, INF, -INF, 1e10, 3e38):
        to.refuse("affine-infinite", "affine of .* must be finite", sform(np.diag([value, 1, 1])))
        to.refuse("affine-infinite", "affine of .* must be finite", sform(one, (0, value, 0)))
        to.refuse("affine-infinite", "qform of .* must be", qform(qoffset_z=value))
    to.refuse("singular", "must give positive voxel sizes", sform(np.zeros((3, 3))))
    to.refuse("singular", "must give positive voxel sizes", sform(np.diag([1, 0, 1])))
    to.refuse("singular", "right angles, got a cosine of 1.000", sform([[1, 1, 0], [0, 0, 0], [0, 0, 1]]))
    to.refuse("singular", "right angles", sform([[1, 0.577, 0], [0, 0.577, 0], [0, 0.577, 1]]))
    for shear in (0.02, 0.3, -0.9):
        matrix = np.array([[1, shear, 0], [0, 1, 0], [0, 0, 1]])
        sizes = np.sqrt((matrix**2).sum(axis=0))
        to.refuse("sheared", "right angles, got a cosine", sform(matrix, pixdim=[1, *sizes, 0, 0, 0, 0]))
    slight = np.array([[1, 0.005, 0], [0, 1, 0], [0, 0, 1]])
    expected = np.eye(4)
    expected[:3, :3] = slight
    to.accept("sheared-slightly", sform(slight), affine=expected)
    for factor in (0.5, 1.02, 10, 1000):
        to.refuse("sizes-disagree", "voxel sizes of .* must agree", sform(one * factor))
    centre = np.diag([-0.5, 2.0, 3.0, 1.0])
    centre[:3, 3] = -np.diag(centre)[:3] * (np.array(SHAPE) - 1) / 2
    for garbage in (0, NAN):
        content = nifti(sform_code=0, qform_code=0, srow_x=garbage, quatern_b=garbage)
        to.warn("no-forms", "states no orientation", content, affine=centre)
    for signs in ((1, 1, 1), (-1, -1, 1), (-1, 1, 1), (1, 1, -1)):
        affine = np.diag([*np.array(signs) * (0.5, 0.75, 2), 1.0])
        affine[:3, 3] = (-100, 50, 10)
        to.accept("axis-orders", nifti(affine=affine), affine=affine)
        to.accept("axis-orders", nifti(affine=affine[[0, 2, 1, 3]]), affine=affine[[0, 2, 1, 3]])
    for angle in (20, 44.9, 45, 90):
        affine = rotation(angle) @ np.diag([0.4, 0.4, 1.2, 1])
        to.accept("oblique", nifti(affine=affine), affine=affine)
        to.accept("oblique", nifti(affine=affine, sform_code=0, version=2), affine=affine)


def rotation(angle: float) -> np.ndarray:
    """Turn about the third axis by degrees, (4, 4)."""
    turn, radians = np.eye(4), math.radians(angle)
    turn[:2, :2] = [[math.cos(radians), -math.sin(radians)], [math.sin(radians), math.cos(radians)]]
    return turn


def _forms(to: CorpusWriter) -> None:
    for other in (np.diag([0.5, 2, 3, 1]), AFFINE * [[-1], [1], [1], [1]], AFFINE @ np.diag([-1, -1, 1, 1])):
        content = nifti(**_quaternion(other))
        to.refuse("forms-conflict", "sform and qform of .* must agree, got axes", content)
    to.accept("forms-differ", nifti(qoffset_x=55, qform_code=2))
    to.warn("forms-apart", "an sform and a qform of one meaning, 62 mm apart", nifti(qoffset_x=55))
    to.warn("forms-apart", "an sform and a qform of one meaning", nifti(srow_z={3: 5.0 * 2**20}), affine=_raised(2**20))
    to.accept("forms-differ", nifti(**_quaternion(rotation(5) @ AFFINE)))
    for value in (NAN, INF, 2, -3e38):
        to.refuse("quaternion", "qform of .* must be", qform(quatern_c=value))
        to.refuse("quaternion", "qform of .* must be", nifti(quatern_c=value))
        to.accept("qform-unused", nifti(qform_code=0, quatern_c=value, qoffset_x=value))
    to.accept("sform-unused", qform(srow_x=[NAN] * 4, srow_y=[0] * 4))


def _raised(factor: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[2, 3] *= factor
    return affine


def _quaternion(affine: np.ndarray) -> dict[str, Any]:
    header = nib.Nifti1Header()
    header["pixdim"][1:4] = (0.5, 2, 3)
    header.set_qform(affine, 1)
    return {"pixdim": {0: header["pixdim"][0]}} | {f"quatern_{axis}": header[f"quatern_{axis}"] for axis in "bcd"}


def _voxels(to: CorpusWriter) -> None:
    for value in (NAN, INF, -INF):
        for name in ("f4", "f8"):
            array = ARRAY.astype(name)
            array[1, 2, 0] = value
            to.refuse("voxels-infinite", "voxels of .* must be finite, got 1 NaN", nifti(array))
    to.refuse("voxels-infinite", "got 60 NaN", members(nifti(np.full(SHAPE, NAN))), "scan.nii.gz")
    for value in (0, 7, -3):
        to.refuse("constant", f"must not be constant, got {value} in every", nifti(np.full_like(ARRAY, value)))
    to.refuse("constant", "must not be constant", nifti(ARRAY[:1, :1, :1]))
    to.refuse("constant", "must not be constant", nifti(ARRAY.astype(float) * 1e-12 + 1e9))
    for value in (1e39, -1e300, 1e-60):
        to.refuse("beyond-float32", "must fit in 32-bit floats", nifti(ARRAY * value))
    for axis in range(3):
        thin = ARRAY.take([0], axis=axis)
        to.accept("thin", nifti(thin), array=thin)
    to.accept("thin", nifti(ARRAY[:, :1, :1]), array=ARRAY[:, :1, :1])


def _labels(to: CorpusWriter) -> None:
    for array in (np.zeros_like(ARRAY), np.full_like(ARRAY, 3), ARRAY.astype("f4"), ARRAY.astype("f8") + 1e-6):
        to.accept("labels", nifti(array), "labels.nii", kind="label", array=np.rint(array))
    to.accept("labels", nifti(scl_slope=2), "labels.nii", kind="label", array=ARRAY * 2)
    for top, kind, off in ((3, "i2", 0), (14, "i2", 0.3), (40, "i2", -0.5), (7, "u1", 0.5), (60, "u1", -0.4)):
        slope = top / (2**8 - 1 if kind == "u1" else 2**16 - 1)  # as nibabel stores floats; `off` in slopes
        whole = np.resize(np.arange(top), SHAPE)
        first = 0 if kind == "u1" else -(2**15)
        codes = np.rint(whole / slope - off).clip(0) + first
        inter = (off - first) * slope
        content = nifti(codes.astype(kind), scl_slope=slope, scl_inter=inter)
        to.accept("labels-scaled", content, "labels.nii", kind="label", array=whole)
    for slope in (0.05, 0.25, 0.3, 0.5):  # 0, 0.05, ...: fractions
        to.refuse("label-values", "must hold whole numbers, got", nifti(scl_slope=slope), "labels.nii", kind="label")
    to.refuse("label-values", "must hold whole numbers, got", nifti(ARRAY * 0.3), "labels.nii", kind="label")
    to.refuse("label-values", r"values below 2\*\*31", nifti(ARRAY.astype("i8") * 2**40), "labels.nii", kind="label")
    to.refuse("label-values", r"values below 2\*\*31", nifti(ARRAY * 1e30), "labels.nii", kind="label")


if __name__ == "__main__":
    for _entry in write_corpus(Path(sys.argv[1])):
        print(_entry.expected, _entry.row, _entry.path, sep="\t")
