import gzip
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from custom_components.errors import InputError
from custom_components.io.geometry import orientation_of, to_canonical
from custom_components.io.nifti_files import MAX_VOXELS
from custom_components.io.volumes import nifti_bytes
from support.dicom_exams import SHAPE, axis_orders, numbered, oblique, only_series, save, series, stored
from support.processes import run

from multijoint.clinic.dicom.export import read_series
from multijoint.phantoms.dicom_exams import classic_series, enhanced_file


def read(folder: Path, images: list) -> tuple[np.ndarray, np.ndarray]:
    return read_series(only_series(save(folder, images)))


def as_nifti(voxels: np.ndarray, affine: np.ndarray) -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image.from_bytes(gzip.decompress(nifti_bytes(voxels, affine)))


@pytest.mark.parametrize("kind", ["classic", "enhanced"])
def test_left_is_left_in_all_48_axis_orders(kind: str, tmp_path: Path) -> None:
    """However a series is stored, each voxel has the same value at the same place in the patient."""
    voxels, affine = numbered(), oblique()
    canonical = nibabel.as_closest_canonical(nibabel.Nifti1Image(voxels, affine))
    for number, (axes, signs) in enumerate(axis_orders()):
        turned = stored(voxels, affine, axes, signs)
        images = [enhanced_file(*turned, name="x")] if kind == "enhanced" else classic_series(*turned, name="x")
        found = nibabel.as_closest_canonical(as_nifti(*read(tmp_path / str(number), images)))
        np.testing.assert_allclose(found.affine, canonical.affine, atol=1e-4)
        np.testing.assert_array_equal(found.dataobj, canonical.dataobj)
    assert number == 47


def test_a_spot_on_the_left_by_hand(tmp_path: Path) -> None:
    """DICOM counts x to the patient's left, NIfTI to the right: x = 40 mm in DICOM is x = -40 mm in NIfTI."""
    voxels = np.zeros((8, 6, 5), np.int16)
    voxels[7, 1, 4] = 1000
    images = classic_series(voxels, np.diag([-5.0, -2.0, 3.0, 1.0]), name="by hand")
    spots = [image for image in images if image.pixel_array.any()]
    assert [float(number) for number in spots[0].ImagePositionPatient] == [0, 0, 12]
    assert [float(number) for number in spots[0].ImageOrientationPatient] == [1, 0, 0, 0, 1, 0]
    assert [float(number) for number in spots[0].PixelSpacing] == [2, 5]
    assert spots[0].pixel_array[1, 7] == 1000  # row 1 is 2 mm to the back, column 7 is 35 mm to the left
    scan = as_nifti(*read(tmp_path, images))
    [place] = np.argwhere(np.asarray(scan.dataobj) == 1000)
    np.testing.assert_allclose((scan.affine @ [*place, 1])[:3], [-35, -2, 12])


ITK_READS = """
import itk, numpy, sys
image = itk.imread(list(itk.GDCMSeriesFileNames.New(Directory=sys.argv[1]).GetInputFileNames()), itk.SS)
lps = numpy.eye(4)
lps[:3, :3] = itk.array_from_matrix(image.GetDirection()) * numpy.array(image.GetSpacing())
lps[:3, 3] = image.GetOrigin()
numpy.savez(sys.argv[2], voxels=itk.array_from_image(image).T, lps=lps)
"""


def test_itk_reads_the_same_volume(tmp_path: Path) -> None:
    """ITK's GDCM reader shares no code with pydicom; in a separate process, since ITK contains another GDCM."""
    voxels, affine = read(tmp_path / "series", series())
    command = [sys.executable, "-c", ITK_READS, str(tmp_path / "series"), str(tmp_path / "read.npz")]
    run(command, check=True)
    with np.load(tmp_path / "read.npz") as found:
        np.testing.assert_array_equal(found["voxels"], voxels)
        np.testing.assert_allclose(np.diag([-1, -1, 1, 1]) @ found["lps"], affine, atol=1e-4)


def test_rescaling_is_applied_slice_by_slice(tmp_path: Path) -> None:
    images = series()
    for image in images:
        image.RescaleSlope, image.RescaleIntercept = "0.5", str(image.InstanceNumber)
    voxels, affine = read(tmp_path, images)
    assert voxels.dtype == np.float32
    found = to_canonical(voxels, affine)
    order = np.random.default_rng(SHAPE[2]).permutation(SHAPE[2])  # instance number - 1 -> slice
    wanted = numbered() * 0.5 + (np.argsort(order) + 1)
    np.testing.assert_array_equal(found, to_canonical(wanted, oblique()))
    assert read(tmp_path / "as stored", series())[0].dtype == np.int16

    images[2].RescaleSlope = "0"
    with pytest.raises(InputError, match="rescale slope of IM0002 must be finite and not 0"):
        read(tmp_path / "zero", images)


def test_rescaling_of_enhanced_images(tmp_path: Path) -> None:
    from pydicom.dataset import Dataset

    image = enhanced_file(numbered(), oblique(), name="x")
    scale = Dataset()
    scale.RescaleSlope, scale.RescaleIntercept, scale.RescaleType = "2", "-3", "US"
    image.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence = [scale]
    voxels, affine = read(tmp_path, [image])
    np.testing.assert_array_equal(to_canonical(voxels, affine), to_canonical(numbered() * 2.0 - 3, oblique()))


@pytest.mark.parametrize(
    ("padding", "limit", "low"),
    [(200, None, 0), (-100, None, -99), (200, 205, 0), (205, 200, 0), (65536 - 100, None, -99), (999, None, None)],
)
def test_padding_becomes_background(padding: int, limit: int | None, low: int | None, tmp_path: Path) -> None:
    """0, or the lowest of the other voxels; a signed value may be stated as if it were unsigned."""
    voxels = numbered() if padding in (-100, 65536 - 100) else numbered() + 100
    images = classic_series(voxels, oblique(), name="x")
    for image in images:
        kind = "SS" if padding < 0 else "US"
        image.add_new("PixelPaddingValue", kind, padding)
        if limit is not None:
            image.add_new("PixelPaddingRangeLimit", kind, limit)
        image.RescaleSlope, image.RescaleIntercept = 2, 0
    values = [padding, padding if limit is None else limit]
    signed = [value - 65536 if value > 2**15 else value for value in values]
    is_padding = (voxels >= min(signed)) & (voxels <= max(signed))
    expected = np.where(is_padding, -1 if low is None else low, voxels) * 2
    assert is_padding.any() == (low is not None)
    found, affine = read(tmp_path, images)
    np.testing.assert_array_equal(to_canonical(found, affine), to_canonical(expected, oblique()))


@pytest.mark.parametrize("syntax", ["RLELossless", "JPEGLSLossless", "--jpeg", "--j2k"])
def test_compressed_pixels_are_the_same(syntax: str, tmp_path: Path) -> None:
    import pydicom
    from gdcm import ImageChangeTransferSyntax, ImageReader, ImageWriter, TransferSyntax

    images = series()
    plain = read(tmp_path / "plain", images)
    if syntax.startswith("--"):
        kind = TransferSyntax.JPEGLosslessProcess14_1 if syntax == "--jpeg" else TransferSyntax.JPEG2000Lossless
        (tmp_path / "packed").mkdir()
        for path in sorted((tmp_path / "plain").iterdir()):
            reader, change, writer = ImageReader(), ImageChangeTransferSyntax(), ImageWriter()
            reader.SetFileName(str(path))
            assert reader.Read()
            change.SetTransferSyntax(TransferSyntax(kind))
            change.SetInput(reader.GetImage())
            assert change.Change()
            writer.SetFileName(str(tmp_path / "packed" / path.name))
            writer.SetFile(reader.GetFile())
            writer.SetImage(change.GetOutput())
            assert writer.Write()
    else:
        for image in images:
            image.compress(getattr(pydicom.uid, syntax))
        save(tmp_path / "packed", images)
    assert pydicom.dcmread(tmp_path / "packed" / "IM0000").file_meta.TransferSyntaxUID.is_compressed
    voxels, affine = read_series(only_series(tmp_path / "packed"))
    np.testing.assert_array_equal(voxels, plain[0])
    np.testing.assert_allclose(affine, plain[1], atol=1e-9)


def test_pixels_that_cannot_be_used_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = only_series(save(tmp_path / "good", series()))
    monkeypatch.setenv(MAX_VOXELS, "377")
    with pytest.raises(InputError, match="must have at most 377 voxels, got 378"):
        read_series(found)
    monkeypatch.delenv(MAX_VOXELS)
    path = found.stack.slices[3].path
    path.write_bytes(path.read_bytes()[:-50])  # since it was listed
    with pytest.raises(InputError, match=f"DICOM file {path.name} must be intact, got one that cannot be read"):
        read_series(found)

    import pydicom

    images = series()
    for image in images:
        image.compress(pydicom.uid.RLELossless)
    found = only_series(save(tmp_path / "packed", images))
    path = found.stack.slices[0].path
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match=f"DICOM file {path.name} must be intact"):
        read_series(found)


def test_a_scan_claims_no_memory_before_it_is_known_to_be_small(tmp_path: Path) -> None:
    import pydicom

    images = series()
    for image in images:
        image.compress(pydicom.uid.RLELossless)
        image.Rows = image.Columns = 65535
    found = only_series(save(tmp_path, images))
    with pytest.raises(InputError, match=r"must have at most 536870912 voxels, got 257690\d+"):
        read_series(found)


def test_the_same_voxels_give_the_same_bytes_and_tell_nothing(tmp_path: Path) -> None:
    first, second = (nifti_bytes(*read(tmp_path / name, series())) for name in "ab")
    assert first == second
    assert b"Nobody" not in gzip.decompress(first)
    scan = as_nifti(*read(tmp_path / "a", series()))
    assert (int(scan.header["qform_code"]), int(scan.header["sform_code"])) == (1, 1)
    np.testing.assert_allclose(scan.get_qform(), scan.get_sform(), atol=1e-4)
    assert orientation_of(scan.affine)[:, 0].tolist() == [0, 1, 2]
