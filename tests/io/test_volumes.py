import gzip
import itertools
import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import itk
import nibabel as nib
import numpy as np
import pytest
from custom_components.errors import InputError
from custom_components.io import nifti_files
from custom_components.io.geometry import MAX_GRID_ERROR, canonical_spacing_mm, to_canonical, voxels_apart
from custom_components.io.volumes import Volume, read_grid, read_label, read_volume, write_label_map
from custom_components.system.files import file_digest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from support.hostile_nifti import nifti

ARRAY = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
AFFINE = np.array([[0.0, 0, 3, -7], [0.5, 0, 0, 11], [0, -2, 0, 5], [0, 0, 0, 1]])
gzip_compress = gzip.compress
AXIS_ORDERS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))


def save(
    path: Path, array: np.ndarray = ARRAY, affine: np.ndarray = AFFINE, image_class: type = nib.Nifti1Image
) -> Path:
    image = image_class(array, affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    nib.save(image, path)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scan.nii"


@pytest.mark.parametrize("image_class", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "SCAN.NII.GZ"])
def test_reads_values_and_affine(tmp_path: Path, image_class: type, name: str) -> None:
    volume = read_volume(save(tmp_path / name, image_class=image_class))
    np.testing.assert_array_equal(volume.array, ARRAY)
    np.testing.assert_array_equal(volume.affine, AFFINE)
    assert (volume.array.dtype, volume.affine.dtype) == (np.float32, np.float64)
    assert volume.spacing_mm == (0.5, 2.0, 3.0)
    np.testing.assert_array_equal(read_grid(tmp_path / name)[1], AFFINE)
    shape, affine = read_grid(tmp_path / name)
    assert shape == ARRAY.shape
    np.testing.assert_array_equal(affine, AFFINE)


def test_one_volume_in_4d_is_read_as_3d_and_written_as_3d(path: Path) -> None:
    volume = read_volume(save(path, ARRAY[..., None]))
    assert volume.array.shape == (2, 3, 4)
    write_label_map(path.with_name("out.nii"), np.ones((2, 3, 4), np.uint8), like=volume)
    assert nib.load(path.with_name("out.nii")).shape == (2, 3, 4)


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("unknown", 1), ("meter", 1000), ("micron", 0.001)])
def test_units_become_mm_and_stay_in_the_written_header(path: Path, unit: str, factor: float) -> None:
    image = nib.Nifti1Image(ARRAY, AFFINE)
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    volume = read_volume(path)
    np.testing.assert_allclose(volume.affine[:3], AFFINE[:3] * factor)
    write_label_map(path.with_name("out.nii"), np.zeros((2, 3, 4), np.uint8), like=volume)
    assert nib.load(path.with_name("out.nii")).header.get_xyzt_units()[0] == unit
    np.testing.assert_allclose(read_label(path.with_name("out.nii")).affine, volume.affine)


def test_a_volume_without_orientation_is_read_with_a_warning(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read_volume(save(path))
    assert not caplog.records
    image = nib.Nifti1Image(ARRAY, None)
    image.header.set_zooms((0.5, 2, 3))
    nib.save(image, path)
    with caplog.at_level(logging.WARNING):
        assert read_volume(path).spacing_mm == (0.5, 2.0, 3.0)
    assert "scan.nii states no orientation" in caplog.text


def test_odd_sizes_and_bytes_too_many_are_warned_of(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(path, affine=AFFINE * [[1000], [1000], [1000], [1]])
    path.write_bytes(path.read_bytes() + bytes(16))
    volume = read_volume(path)
    assert [record.getMessage() for record in caplog.records] == [
        "scan.nii has implausible voxel sizes, 500, 2000, 3000 mm; check the unit in the header",
        "scan.nii has 16 bytes after its voxels, which are ignored",
    ]
    caplog.clear()
    write_label_map(path.with_name("out.nii"), ARRAY, like=volume)
    assert not caplog.records, "writing warns of nothing"


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", ">i2", "u2", "i4", "u4", "i8", "u8", "f4", ">f4", "f8", ">f8"])
@pytest.mark.parametrize("slope", [1, 0.37])
def test_values_are_those_of_nibabel(path: Path, dtype: str, slope: float) -> None:
    rng, kind = np.random.default_rng(0), np.dtype(dtype)
    shape = (101, 53, 401)  # more than one part
    if kind.kind == "f":
        array = rng.normal(0, 1e6, shape).astype(kind)
    else:
        array = rng.integers(np.iinfo(kind).min, np.iinfo(kind).max, shape, kind.newbyteorder("=")).astype(kind)
    image = nib.Nifti1Image(array, AFFINE, dtype=kind)
    image.header.set_slope_inter(slope, 0 if slope == 1 else -2.5)
    raw = image.header.binaryblock[:352]
    header = nib.Nifti1Header(raw[:348], endianness="<")
    header = header.as_byteswapped(">") if dtype.startswith(">") else header
    header["magic"], header["vox_offset"] = b"n+1", 352
    path.write_bytes(header.binaryblock + bytes(4) + array.tobytes(order="F"))
    np.testing.assert_array_equal(read_volume(path).array, nib.load(path).get_fdata().astype(np.float32))


def test_encodings_that_mean_the_same_are_read_as_the_same(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(-2000, 2000, (7, 6, 5)).astype(np.int16)
    volumes = []
    for version, order, as_float, name in itertools.product((1, 2), "<>", (False, True), ("scan.nii", "scan.nii.gz")):
        if as_float:
            content = nifti(stored * np.float32(0.25) + np.float32(8), version=version, order=order)
        else:
            content = nifti(stored, version=version, order=order, scl_slope=0.25, scl_inter=8)
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        volumes.append(read_volume(tmp_path / name))
    for volume in volumes:
        np.testing.assert_array_equal(volume.array, volumes[0].array)
        np.testing.assert_array_equal(volume.affine, volumes[0].affine)


def test_the_digest_is_that_of_the_file(tmp_path: Path) -> None:
    for name in ("scan.nii", "scan.nii.gz"):
        assert read_volume(save(tmp_path / name)).digest == file_digest(tmp_path / name)
    assert Volume(ARRAY, AFFINE, None, tmp_path).digest == ""


def test_a_volume_that_does_not_fit_in_memory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise MemoryError

    monkeypatch.setattr("custom_components.io.nifti_voxels.np.empty", fail)
    with pytest.raises(InputError, match=r"scan\.nii must fit in memory, got shape \(2, 3, 4\)"):
        read_volume(save(path))


def _truncated(path: Path) -> Path:
    whole = save(path.with_name("whole.nii.gz")).read_bytes()
    path.with_name("scan.nii.gz").write_bytes(whole[:-20])
    return path.with_name("scan.nii.gz")


UNTRUSTED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "name": (lambda path: path.with_suffix(".dcm"), r"must be a \.nii, .* file"),
    "container": (_truncated, "must be an intact gzip file"),
    "voxels": (lambda path: save(path, np.stack([ARRAY, ARRAY], axis=-1)), "must be one 3D volume"),
    "geometry": (lambda path: save(path, affine=AFFINE * (1e10, 1, 1, 1)), "form of .* must be finite"),
    "constant": (lambda path: save(path, np.full_like(ARRAY, 5)), "must not be constant, got 5 in every voxel"),
    "too large": (lambda path: save(path, ARRAY * 1e300), "must fit in 32-bit floats, got 0 to 2.3e"),
}


@pytest.mark.parametrize("problem", UNTRUSTED)
def test_what_cannot_be_trusted_is_refused(path: Path, problem: str) -> None:
    make, message = UNTRUSTED[problem]
    broken = make(path)
    with pytest.raises(InputError, match=message) as caught:
        read_volume(broken)
    assert broken.name in str(caught.value)
    assert str(broken.parent) not in str(caught.value)
    assert "\n" not in str(caught.value)


@given(changes=st.dictionaries(st.integers(0, 351), st.integers(0, 255), min_size=1, max_size=3))
def test_any_other_header_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, changes: dict[int, int]) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.nii"
    raw = bytearray(save(path).read_bytes())
    for position, value in changes.items():
        raw[position] = value
    path.write_bytes(raw)
    try:
        volume = read_volume(path)
    except InputError:
        return
    assert np.isfinite(volume.array).all()
    assert np.isfinite(volume.affine).all()
    assert min(volume.spacing_mm) > 0


def test_labels(path: Path) -> None:
    image = read_volume(save(path))
    label_path = path.with_name("label.nii")
    label = read_label(save(label_path, ARRAY.astype(np.float32)), like=image)
    assert label.array.dtype == np.int32
    np.testing.assert_array_equal(label.array, ARRAY)
    assert not read_label(save(label_path, np.zeros_like(ARRAY)), like=image).array.any()

    with pytest.raises(InputError, match=r"label\.nii must hold whole numbers, got 0.5 \(24 such voxels\)"):
        read_label(save(label_path, ARRAY + np.float32(0.5)))
    with pytest.raises(InputError, match=r"below 2\*\*31"):
        read_label(save(label_path, ARRAY * 1e12))
    with pytest.raises(
        InputError, match=r"label\.nii must have the shape of .*scan\.nii, \(2, 3, 4\), got \(2, 3, 2\)"
    ):
        read_label(save(label_path, ARRAY[..., :2]), like=image)
    moved = AFFINE.copy()
    moved[0, 3] += 0.06 * 3  # the axis of 3 mm
    with pytest.raises(InputError, match=r"must have the affine of .*corners up to 0.06 voxels \(0.18 mm\) apart"):
        read_label(save(label_path, affine=moved), like=image)
    moved[0, 3] = AFFINE[0, 3] + 0.04 * 3
    np.testing.assert_array_equal(read_label(save(label_path, affine=moved), like=image).affine, AFFINE)


GRID = (320, 320, 3)


def _oblique(rng: np.random.Generator, *, degrees: float, decimals: int | None) -> np.ndarray:
    """A grid as scanners lie, half a turn from RAS+, tilted about all axes; its directions are rounded if asked for."""
    turn = (
        np.diag([-1, -1, 1]) @ Rotation.from_euler("xyz", rng.uniform(-degrees, degrees, 3), degrees=True).as_matrix()
    )
    if decimals is not None:
        turn[:, :2] = turn[:, :2].round(decimals)
        turn[:, 2] = np.cross(turn[:, 0], turn[:, 1])
    affine = np.eye(4)
    affine[:3, :3] = turn * (0.5, 0.5, 4.0)
    affine[:3, 3] = rng.uniform(-200, 200, 3)
    return affine


def _write(path: Path, affine: np.ndarray, *, sform: bool, qform: bool) -> Path:
    image = nib.Nifti1Image(np.ones(GRID, np.uint8), affine)
    image.dataobj[:9] = 0
    image.set_sform(affine, int(sform))
    image.set_qform(affine, int(qform))
    nib.save(image, path)
    return path


@pytest.mark.parametrize("forms", [(True, False), (False, True), (True, True)], ids=["sform", "qform", "both"])
@pytest.mark.parametrize("degrees", [0.3, 30])
def test_the_grid_of_a_scan_is_known_again_from_what_others_write(
    forms: tuple[bool, bool], degrees: float, tmp_path: Path
) -> None:
    """ITK squares up rounded axes and writes both forms; a quaternion is coarse near half a turn."""
    rng = np.random.default_rng(0)
    for decimals in (None, 6, 5, 4):
        sform, qform = forms
        path = _write(
            tmp_path / "scan.nii", _oblique(rng, degrees=degrees, decimals=decimals), sform=sform, qform=qform
        )
        scan = read_volume(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            itk.imwrite(itk.imread(str(path)), str(tmp_path / "by_itk.nii"))
        _write(tmp_path / "sform.nii", scan.affine, sform=True, qform=False)
        names = ["by_itk.nii", "sform.nii"]
        if qform or degrees > 1:
            _write(tmp_path / "qform.nii", scan.affine, sform=False, qform=True)
            names.append("qform.nii")
        for name in names:
            label = read_label(tmp_path / name, like=scan)
            np.testing.assert_array_equal(label.affine, scan.affine)
        turned = nib.as_closest_canonical(nib.load(tmp_path / "by_itk.nii"))
        nib.save(turned, tmp_path / "turned.nii")
        np.testing.assert_array_equal(read_label(tmp_path / "turned.nii", like=scan).array, label.array)


@given(
    place=st.integers(0, 11),
    amount=st.floats(0.06, 2) | st.floats(-2, -0.06),
    sform=st.booleans(),
    label_sform=st.booleans(),
)
@settings(max_examples=25)
def test_another_grid_is_refused(
    tmp_path_factory: pytest.TempPathFactory, place: int, amount: float, sform: bool, label_sform: bool
) -> None:
    folder = tmp_path_factory.getbasetemp()
    affine = _oblique(np.random.default_rng(place), degrees=30, decimals=None)
    scan = read_volume(_write(folder / "scan.nii", affine, sform=sform, qform=True))
    other = affine.copy()
    row, column = divmod(place, 4)
    # in voxels of this axis at the farthest corner
    other[row, column] += amount * np.abs(affine[:3, :3]).max() / (1 if column == 3 else GRID[column] - 1)
    try:
        labels = _write(folder / "other.nii", other, sform=label_sform, qform=not label_sform)
        apart = voxels_apart(GRID, scan.affine, read_volume(labels, kind="label").affine)
    except InputError:
        return
    if apart > MAX_GRID_ERROR:
        with pytest.raises(InputError, match=r"must have the affine of scan\.nii, got corners up to"):
            read_label(labels, like=scan)
    else:
        read_label(labels, like=scan)


@pytest.mark.parametrize("order", AXIS_ORDERS, ids=str)
def test_all_axis_orders(path: Path, order: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    axes, signs = order
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3)[list(axes)].T * signs) * (1.0, 2.0, 3.0)
    affine[:3, 3] = (10, -20, 30)
    volume = read_volume(save(path, affine=affine))
    canonical = to_canonical(volume.array, volume.affine)
    expected = nib.as_closest_canonical(nib.load(path))
    np.testing.assert_array_equal(canonical, expected.get_fdata())
    assert np.shares_memory(canonical, volume.array)
    assert canonical_spacing_mm(affine) == tuple(np.linalg.norm(expected.affine[:3, :3], axis=0))

    out = path.with_name("out.nii.gz")
    write_label_map(out, ARRAY, like=volume)
    written = read_label(out, like=volume)
    np.testing.assert_array_equal(written.array, ARRAY)
    np.testing.assert_array_equal(written.affine, volume.affine)
    _check_with_itk(out, affine)


def _check_with_itk(path: Path, affine: np.ndarray) -> None:
    """An independent reader sees the same voxels at the same places (its world is LPS+)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # any use may load a compiled module, whose warning as an error crashes at exit
        image = itk.imread(str(path))
        array = itk.array_from_image(image).T
        direction = itk.array_from_matrix(image.GetDirection())
    np.testing.assert_array_equal(array, ARRAY)
    seen = np.eye(4)
    seen[:3, :3] = direction * np.asarray(image.GetSpacing())
    seen[:3, 3] = np.asarray(image.GetOrigin())
    np.testing.assert_allclose(np.diag([-1, -1, 1, 1]) @ seen, affine, atol=1e-5)


def test_oblique_geometry_survives_exactly(path: Path) -> None:
    angle = np.deg2rad(20)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn * (0.4, 0.4, 1.2)
    volume = read_volume(save(path, affine=affine))
    write_label_map(path.with_name("out.nii"), ARRAY, like=volume)
    np.testing.assert_array_equal(read_label(path.with_name("out.nii")).affine, volume.affine)
    _check_with_itk(path.with_name("out.nii"), affine)


@pytest.mark.parametrize("image_class", [nib.Nifti1Image, nib.Nifti2Image])
def test_a_label_map_keeps_the_grid_and_drops_everything_else(path: Path, image_class: type) -> None:
    image = image_class(ARRAY, AFFINE)
    image.set_qform(AFFINE, 2)
    image.set_sform(AFFINE, 3)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"], image.header["aux_file"], image.header["intent_name"] = b"SECRET", b"SECRET", b"SECRET"
    image.header["cal_max"], image.header["scl_slope"], image.header["scl_inter"] = 99, 2, 0
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"SECRET"))
    nib.save(image, path)
    volume = read_volume(path)
    out = path.with_name("out.nii")
    write_label_map(out, ARRAY > 5, like=volume)

    assert b"SECRET" in path.read_bytes()
    assert b"SECRET" not in out.read_bytes()
    written = nib.load(out)
    assert type(written) is image_class
    assert written.get_data_dtype() == np.uint8
    header = written.header
    assert (int(header["qform_code"]), int(header["sform_code"]), header.get_xyzt_units()) == (2, 3, ("mm", "sec"))
    assert header.get_intent()[0] == "label"
    assert header["descrip"].item() == b"multijoint label map"
    stored = type(header)(out.read_bytes()[: header.sizeof_hdr])
    assert (stored["cal_max"], stored["scl_slope"], stored["scl_inter"]) == (0, 1, 0)
    np.testing.assert_array_equal(np.asarray(written.dataobj), ARRAY > 5)


def test_equal_labels_give_equal_bytes(path: Path) -> None:
    volume = read_volume(save(path))
    outputs = [path.with_name(name) for name in ("a.nii.gz", "b.nii.gz")]
    for out in outputs:
        write_label_map(out, ARRAY, like=volume)
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_the_optional_library_writes_the_same_voxels_in_few_more_bytes(
    path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    x, y, z = np.ogrid[-1:1:96j, -1:1:80j, -1:1:48j]
    labels = ((x**2 + y**2 + z**2 < 0.7) + ((x - 0.2) ** 2 + y**2 + 3 * z**2 < 0.2)).astype(np.uint8)
    volume = read_volume(save(path, labels))
    files = {library: path.with_name(f"{library}{ending}") for library in ("isal", "again", "zlib")}
    for library, file in files.items():
        if library == "zlib":
            monkeypatch.setattr(nifti_files, "isal_zlib", None)
        write_label_map(file, labels, like=volume)
    raw = {library: file.read_bytes() for library, file in files.items()}
    assert raw["isal"] == raw["again"] != raw["zlib"]
    assert len(raw["isal"]) <= 2.5 * len(raw["zlib"])
    np.testing.assert_array_equal(read_label(files["isal"]).array, labels)  # by zlib, which is left


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (ARRAY[..., :3], r"must have the shape of .*scan\.nii, \(2, 3, 4\), got \(2, 3, 3\)"),
        (ARRAY.astype(np.float32), "whole numbers from 0 to 255, got float32"),
        (ARRAY - 1, "got int16 from -1 to 22"),
        (ARRAY + 250, "got int16 from 250 to 273"),
    ],
)
def test_unfit_labels_are_refused(path: Path, labels: np.ndarray, message: str) -> None:
    volume = read_volume(save(path))
    with pytest.raises(InputError, match=message):
        write_label_map(path.with_name("out.nii"), labels, like=volume)
    with pytest.raises(InputError, match=r"must be a \.nii\.gz, .* or \.nii file"):
        write_label_map(path.with_name("out.mhd"), ARRAY, like=volume)
    assert [file.name for file in path.parent.iterdir()] == ["scan.nii"]


def test_a_failed_write_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = read_volume(save(path))

    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match=r"No space left on device: '.*out\.nii'"):
        write_label_map(path.with_name("out.nii"), ARRAY, like=volume)
    assert [file.name for file in path.parent.iterdir()] == ["scan.nii"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: gzip_compress(raw[:-1] + b"\0"), r"out\.nii\.gz must read back as given, got other labels"),
        (lambda raw: gzip_compress(raw[:-1]), r"out\.nii\.gz must read back as given, got other labels"),
        (lambda raw: gzip_compress(raw + b"\0"), r"out\.nii\.gz must read back as given, got other labels"),
        (lambda raw: gzip_compress(raw)[:-1], r"out\.nii\.gz must be an intact gzip file, got .*truncated"),
    ],
)
def test_a_label_map_that_reads_back_as_another_is_not_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytes], bytes], message: str
) -> None:
    volume = read_volume(save(path))
    monkeypatch.setattr("custom_components.io.label_files.compress", lambda head, voxels: damage(head + bytes(voxels)))
    with pytest.raises(InputError, match=message):
        write_label_map(path.with_name("out.nii.gz"), ARRAY, like=volume)
    assert [file.name for file in path.parent.iterdir()] == ["scan.nii"]


def test_garbage_in_a_form_that_is_not_used_is_not_written(path: Path) -> None:
    path.write_bytes(nifti(ARRAY, AFFINE, qform_code=0, quatern_b=np.nan, qoffset_x=np.inf, pixdim={0: np.nan}))
    volume = read_volume(path)
    write_label_map(path.with_name("out.nii"), ARRAY, like=volume)
    header = nib.load(path.with_name("out.nii")).header
    assert np.isfinite([header["quatern_b"], header["qoffset_x"], header["pixdim"][0]]).all()
    np.testing.assert_array_equal(header.get_best_affine(), volume.affine)
