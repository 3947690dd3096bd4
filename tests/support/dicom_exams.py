"""Small DICOM exams for tests: a volume that no two of its 48 axis orders show alike, and changes to its files."""

from collections.abc import Callable, Iterator, Sequence
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from scipy.spatial.transform import Rotation

from multijoint.clinic.dicom.exams import find_exams
from multijoint.clinic.dicom.series import DicomExam, Series
from multijoint.phantoms.dicom_exams import classic_series

SHAPE = (9, 7, 6)


def oblique() -> np.ndarray:
    """Affine of a scan turned about all three axes, with three different voxel sizes."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [11, -17, 8], degrees=True).as_matrix() * [0.8, 1.1, 3.3]
    affine[:3, 3] = -31.25, 12.5, 77.125
    return affine


def numbered() -> np.ndarray:
    """Each voxel has a different value."""
    return np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) - 100


def axis_orders() -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """All 48: which axis is stored first, second and third, and in which direction."""
    return product(permutations(range(3)), product((1, -1), repeat=3))


def stored(voxels: np.ndarray, affine: np.ndarray, axes: Sequence[int], signs: Sequence[int]) -> Any:
    """The same volume in another axis order: voxels and affine."""
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for new, (old, sign) in enumerate(zip(axes, signs, strict=True)):
        matrix[old, new] = sign
        matrix[old, 3] = 0 if sign == 1 else voxels.shape[old] - 1
    turned = voxels.transpose(axes)[tuple(slice(None, None, sign) for sign in signs)]
    return np.ascontiguousarray(turned), affine @ matrix


def series(**more: Any) -> list[Any]:
    """The images of a good series."""
    return classic_series(numbered(), oblique(), **{"name": "test"} | more)


def beside(images: Sequence[Any], sop_class: str, **elements: Any) -> Any:
    """An object in the study of some images, of another class, and of another series unless `elements` say its UID."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = sop_class
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = generate_uid()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.StudyInstanceUID, image.SeriesInstanceUID = images[0].StudyInstanceUID, generate_uid()
    image.Modality, image.SeriesNumber = "MR", 30
    for keyword, value in elements.items():
        setattr(image, keyword, value)
    return image


def in_place(images: Sequence[Any]) -> list[Any]:
    """Images in order of their place along z."""
    return sorted(images, key=lambda image: image.ImagePositionPatient[2])


def save(folder: Path, images: Sequence[Any]) -> Path:
    """Write images to files of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        image.save_as(folder / f"IM{number:04d}", enforce_file_format=True)
    return folder


def save_bare(folder: Path, images: Sequence[Any], *, implicit: bool = True, first: int = 0) -> Path:
    """Write images as data sets alone, without preamble and without what says how they are encoded."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images, first):
        path = folder / f"IM{number:04d}"
        Dataset(image).save_as(path, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
    return folder


def changed(change: Callable[[list[Any]], Any]) -> list[Any]:
    """A good series in order of place, after a change, which may return other images."""
    images = in_place(series())
    return change(images) or images


def only_exam(folder: Path) -> DicomExam:
    """The exam of a folder."""
    [exam] = find_exams(folder)
    return exam


def only_series(folder: Path) -> Series:
    """The series of a folder's exam."""
    [found] = only_exam(folder).series
    return found
