"""Phantoms as DICOM exams: a localiser, the scan, a screenshot, files in no order."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from custom_components.errors import needs_extra
from custom_components.system.files import write_atomically

_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MR, _ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def write_exam(folder: Path, voxels: np.ndarray, affine: np.ndarray, *, name: str, is_enhanced: bool = False) -> None:
    """Write a volume as a DICOM exam of three series in three folders, with a text file among them.

    Series 1 is a localiser of three planes, 2 the volume, its files in a shuffled order, 3 a screenshot. The same
    volume and name give the same bytes. With `is_enhanced`, the volume is one enhanced multi-frame file. Slices are
    taken along the last axis of the voxels (X, Y, Z), int16; the affine gives RAS+ positions in mm.

    Raises:
        InputError: pydicom is missing.
    """
    _save(folder / "S0001", _localiser(voxels, affine, name))
    scan = [enhanced_file(voxels, affine, name=name)] if is_enhanced else classic_series(voxels, affine, name=name)
    _save(folder / "S0002", scan)
    screenshot = _common(_SECONDARY_CAPTURE, name, 3, 1, "screenshot")
    screenshot.ImageType, screenshot.ConversionType = ["DERIVED", "SECONDARY"], "WSD"
    _set_pixels(screenshot, voxels[:, :, voxels.shape[2] // 2].T)
    _save(folder / "S0003", [screenshot])
    write_atomically(folder / "README.TXT", b"Synthetic exam written by multijoint phantoms. No patient.\n")


def classic_series(
    voxels: np.ndarray, affine: np.ndarray, *, name: str, number: int = 2, description: str = "T1 axial oblique"
) -> list[Any]:
    """One single-frame MR image a slice, as `pydicom.Dataset`, in a shuffled order of files and instance numbers.

    The voxels (columns, rows, slices) are int16 or uint16; the affine gives RAS+ positions in mm. UIDs are made from
    `name`.
    """
    order = np.random.default_rng(voxels.shape[2]).permutation(voxels.shape[2]).tolist()
    return [
        _image(voxels, _TO_LPS @ affine, index, name=name, number=number, instance=instance, description=description)
        for instance, index in enumerate(order, 1)
    ]


def enhanced_file(
    voxels: np.ndarray, affine: np.ndarray, *, name: str, number: int = 2, description: str = "T1 axial oblique"
) -> Any:
    """One enhanced MR image with a frame a slice, in a shuffled order; see `classic_series`."""
    lps = _TO_LPS @ affine
    order = np.random.default_rng(voxels.shape[2]).permutation(voxels.shape[2]).tolist()
    image = _common(_ENHANCED_MR, name, number, 1, description)
    image.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    image.AcquisitionDateTime, image.ContentQualification = "20200101000000", "RESEARCH"
    image.NumberOfFrames = len(order)
    planes = {index: _plane(lps, index) for index in order}
    image.PerFrameFunctionalGroupsSequence = [
        _dataset(
            PlanePositionSequence=[_dataset(ImagePositionPatient=planes[index].ImagePositionPatient)],
            PlaneOrientationSequence=[_dataset(ImageOrientationPatient=planes[index].ImageOrientationPatient)],
            FrameContentSequence=[
                _dataset(StackID="1", InStackPositionNumber=index + 1, DimensionIndexValues=[1, position])
            ],
        )
        for position, index in enumerate(order, 1)
    ]
    measures = _dataset(PixelSpacing=planes[0].PixelSpacing, SliceThickness=planes[0].SliceThickness)
    kind = _dataset(FrameType=image.ImageType)
    image.SharedFunctionalGroupsSequence = [_dataset(PixelMeasuresSequence=[measures], MRImageFrameTypeSequence=[kind])]
    _set_pixels(image, voxels.transpose(2, 1, 0)[order])
    return image


def _localiser(voxels: np.ndarray, affine: np.ndarray, name: str) -> list[Any]:
    """Three slices a plane, each plane across another axis of the volume."""
    images: list[Any] = []
    for axis in range(3):
        axes = [each for each in range(3) if each != axis] + [axis]
        lps = (_TO_LPS @ affine)[:, [*axes, 3]]
        turned = voxels.transpose(axes)
        for index in np.linspace(0, turned.shape[2] - 1, 5).astype(int)[1:-1].tolist():
            instance = len(images) + 1
            image = _image(turned, lps, index, name=name, number=1, instance=instance, description="localizer")
            image.ImageType[3] = "LOCALIZER"
            images.append(image)
    return images


def _image(voxels: np.ndarray, lps: np.ndarray, index: int, *, description: str, **place: Any) -> Any:
    """One slice along the last axis as a single-frame MR image."""
    image = _common(_MR, description=description, **place)
    image.ImageType = ["ORIGINAL", "PRIMARY", "M", "NORM"]
    image.update(_plane(lps, index))
    _set_pixels(image, voxels[:, :, index].T)
    return image


def _common(sop_class: str, name: str, number: int, instance: int, description: str) -> Any:
    """What all images of an exam have."""
    with needs_extra("writing DICOM phantoms", "clinic"):
        from pydicom.dataset import Dataset, FileMetaDataset
        from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    def uid(*what: object) -> str:
        return generate_uid(entropy_srcs=["multijoint phantom", name, *map(str, what)])

    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = sop_class
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = uid("instance", number, instance)
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SpecificCharacterSet = "ISO_IR 192"
    image.PatientName, image.PatientID, image.PatientBirthDate, image.PatientSex = "Nobody^Kim", "N0B0DY", "", "O"
    image.StudyInstanceUID, image.SeriesInstanceUID = uid("study"), uid("series", number)
    image.FrameOfReferenceUID, image.PositionReferenceIndicator = uid("frame of reference"), ""
    image.StudyID, image.AccessionNumber, image.ReferringPhysicianName = "1", "", ""
    for kind in ("Study", "Series", "Content"):
        setattr(image, f"{kind}Date", "20200101")
        setattr(image, f"{kind}Time", "000000")
    image.StudyDescription, image.SeriesDescription = "phantom", description
    image.Modality = "OT" if sop_class == _SECONDARY_CAPTURE else "MR"
    image.SeriesNumber, image.InstanceNumber = number, instance
    image.Manufacturer, image.ManufacturerModelName = "multijoint", "phantoms"
    image.DeviceSerialNumber, image.SoftwareVersions = "0", "1"
    image.ScanningSequence, image.SequenceVariant, image.ScanOptions, image.MRAcquisitionType = "GR", "NONE", "", "3D"
    image.EchoTime, image.RepetitionTime, image.EchoTrainLength, image.MagneticFieldStrength = 4.6, 11, 1, 3
    return image


def _dataset(**elements: Any) -> Any:
    from pydicom.dataset import Dataset

    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def _plane(lps: np.ndarray, index: int) -> Any:
    """Elements of one slice along the last axis of an affine in LPS+ mm."""
    from pydicom.valuerep import DSfloat

    def decimals(numbers: Sequence[float] | np.ndarray) -> list[Any]:
        return [DSfloat(float(number), auto_format=True) for number in numbers]

    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    thickness = decimals(spacing[2:])[0]
    return _dataset(
        ImageOrientationPatient=decimals((lps[:3, :2] / spacing[:2]).T.ravel()),
        ImagePositionPatient=decimals((lps @ [0, 0, index, 1])[:3]),
        PixelSpacing=decimals(spacing[[1, 0]]),
        SliceThickness=thickness,
        SpacingBetweenSlices=thickness,
    )


def _set_pixels(image: Any, pixels: np.ndarray) -> None:
    """Pixels (rows, columns) or (frames, rows, columns), 16 bits."""
    image.Rows, image.Columns = pixels.shape[-2:]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.PixelRepresentation = int(pixels.dtype.kind == "i")
    image.PixelData = np.ascontiguousarray(pixels).astype(pixels.dtype.newbyteorder("<")).tobytes()


def _save(folder: Path, images: Sequence[Any]) -> None:
    for number, image in enumerate(images, 1):
        buffer = io.BytesIO()
        image.save_as(buffer, enforce_file_format=True)
        write_atomically(folder / f"IM{number:04d}", buffer.getvalue())
