"""Random damage: no header, no flipped bit may crash the reader or change its result unnoticed."""

import gzip
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from custom_components.errors import InputError
from custom_components.io.geometry import canonical_spacing_mm, to_canonical
from custom_components.io.volumes import Volume, read_volume
from support.hostile_nifti import nifti

Amount = Callable[[int, int], int]

SHAPE = (24, 22, 20)
IMAGE = np.random.default_rng(1).normal(100, 30, SHAPE).astype(np.int16)
EXTREMES = (0, 1, -1, 2, 7, 8, 255, 2**15 - 1, -(2**15), 2**31 - 1, -(2**31), 2**63 - 1, -(2**63))
FLOATS = (*EXTREMES, 0.5, 1e-45, 1e-300, 1e38, 1e300, float("nan"), float("inf"), float("-inf"))
MAX_S = 2.0
MAX_MB = 128


def peak_mb() -> int:
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024


def check_volume(volume: Volume) -> None:
    spacing = np.array(volume.spacing_mm)
    assert np.isfinite(volume.affine).all()
    assert np.isfinite(spacing).all()
    assert (spacing > 0).all()
    assert np.isfinite(np.linalg.inv(volume.affine)).all()
    assert abs(np.linalg.det(volume.affine[:3, :3] / spacing)) > 0.9
    assert volume.array.shape == tuple(volume.header["dim"][1:4])
    assert np.isfinite(volume.array).all()
    assert volume.array.min() < volume.array.max()
    assert sorted(canonical_spacing_mm(volume.affine)) == sorted(volume.spacing_mm)
    assert to_canonical(volume.array, volume.affine).size == volume.array.size


def mutate(raw: bytes, rng: np.random.Generator) -> bytes:
    """Change one to four things in the header or in the four bytes behind it."""
    size = int.from_bytes(raw[:4], "little")
    size = size if size in (348, 540) else int.from_bytes(raw[:4], "big")
    header_class = nib.Nifti1Header if size == 348 else nib.Nifti2Header
    dtype = header_class.template_dtype.newbyteorder("<" if raw[:4] == size.to_bytes(4, "little") else ">")
    data = np.frombuffer(raw, np.uint8).copy()
    header = data[:size].view(dtype)[0]
    for _ in range(rng.integers(1, 5)):
        kind = rng.integers(3)
        if kind == 0:
            data[rng.integers(size + 4)] = rng.integers(256)
        elif kind == 1:
            data[rng.integers(size + 4)] ^= np.uint8(1 << rng.integers(8))
        else:
            name = str(rng.choice(dtype.names))
            field = np.atleast_1d(header[name])
            index = rng.integers(field.size)
            if field.dtype.kind == "f":
                value = rng.choice(FLOATS)
            elif field.dtype.kind in "iu":
                limits = np.iinfo(field.dtype)
                value = int(np.clip(EXTREMES[rng.integers(len(EXTREMES))], limits.min, limits.max))
            else:
                value = rng.bytes(field.dtype.itemsize)
            with np.errstate(all="ignore"):
                if header[name].shape:
                    header[name][index] = value
                else:
                    header[name] = value
    return data.tobytes()


def test_any_header_is_read_rightly_or_refused(
    tmp_path: Path, amount: Amount, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    rng, found = np.random.default_rng(2), Counter[str]()
    valid = [nifti(version=version, order=order) for version in (1, 2) for order in "<>"]
    num, slowest, before = amount(300, 10_000), 0.0, peak_mb()
    for index in range(num):
        content = mutate(valid[index % 4], rng)
        path = tmp_path / ("scan.nii.gz" if index % 3 == 0 else "scan.nii")
        path.write_bytes(gzip.compress(content, 1) if index % 3 == 0 else content)
        caplog.clear()
        start, message, volume = time.monotonic(), "", None
        try:
            volume = read_volume(path)
        except InputError as error:
            message = str(error)
        slowest = max(slowest, time.monotonic() - start)
        if volume is None:
            assert path.name in message
            assert "\n" not in message
            found["refused"] += 1
        else:
            check_volume(volume)
            found["read with a warning" if caplog.records else "read"] += 1
    grown = peak_mb() - before
    assert capfd.readouterr() == ("", "")
    print(f"{num} headers: {dict(found)}; slowest {slowest:.3f} s; peak memory grew by {grown} MB")
    assert set(found) >= {"refused", "read"}
    assert slowest < MAX_S
    assert grown < MAX_MB


def flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_a_flipped_bit_in_a_compressed_file_never_changes_what_is_read(tmp_path: Path, amount: Amount) -> None:
    rng, found = np.random.default_rng(3), Counter[str]()
    path = tmp_path / "scan.nii.gz"
    packed = gzip.compress(nifti(IMAGE), mtime=0)
    path.write_bytes(packed)
    original = read_volume(path)
    num = amount(60, 1_000)
    bits = rng.integers(8 * len(packed), size=num).tolist()
    for bit in (*range(8 * 10), *bits):  # gzip's own header first: some of its bits mean nothing
        path.write_bytes(flip(packed, bit))
        where = "gzip header" if bit < 8 * 10 else "stream"
        try:
            volume = read_volume(path)
        except InputError:
            found[f"{where}: refused"] += 1
            continue
        np.testing.assert_array_equal(volume.array, original.array)
        np.testing.assert_array_equal(volume.affine, original.affine)
        assert volume.digest != original.digest
        found[f"{where}: read, the same volume"] += 1
    print(f"80 bits of the gzip header and {num} anywhere: {dict(found)}")
    assert found["stream: refused"] > 0.9 * num
    assert found["gzip header: refused"] >= 8 * 3


UNSEEN = {"pixdim", "scl_slope", "scl_inter", "xyzt_units", "srow_x", "srow_y", "srow_z"}
"""Fields whose flipped bit may leave a header that agrees with itself; docs/reference/input.md says so."""


def test_which_flipped_bits_of_a_plain_header_are_not_seen(
    tmp_path: Path, amount: Amount, caplog: pytest.LogCaptureFixture
) -> None:
    rng, found, unseen = np.random.default_rng(4), Counter[str](), Counter[str]()
    raw = nifti(IMAGE)
    path = tmp_path / "scan.nii"
    path.write_bytes(raw)
    original = read_volume(path)
    num = amount(200, 8 * 352)
    bits = rng.choice(8 * 352, size=num, replace=False).tolist()
    for bit in bits:
        path.write_bytes(flip(raw, bit))
        caplog.clear()
        try:
            volume = read_volume(path)
        except InputError:
            found["refused"] += 1
            continue
        check_volume(volume)
        same = np.array_equal(volume.array, original.array) and np.array_equal(volume.affine, original.affine)
        found[
            "the same volume" if same else "another volume, with a warning" if caplog.records else "another volume"
        ] += 1
        if not same and not caplog.records:
            unseen[field_at(bit // 8)] += 1
    print(f"{num} bits of a plain header: {dict(found)}; unseen in {dict(unseen)}")
    assert set(unseen) <= UNSEEN


def field_at(position: int) -> str:
    fields = nib.Nifti1Header.template_dtype.fields
    return next(
        (name for name, (kind, start) in fields.items() if start <= position < start + kind.itemsize), "extension flag"
    )
