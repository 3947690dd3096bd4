"""One volume as a file of each format, written by libraries of their own: ITK, nibabel and pydicom."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.spatial.transform import Rotation

AXIS_ORDERS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))
ORIENTED = ("scan.nii.gz", "scan.nrrd", "scan.nhdr", "scan.mha", "scan.mhd", "scan.mgz", "scan.mnc")
UNORIENTED = ("scan.hdr", "scan.gipl")


def oblique(angles: tuple[float, float, float] = (11.0, -23.0, 37.0)) -> np.ndarray:
    """An affine (4, 4) of a turned grid, index -> RAS+ mm."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * (0.5, 0.75, 2.5)
    affine[:3, 3] = (-31.25, 17.5, 8.125)
    return affine


def reordered(array: np.ndarray, affine: np.ndarray, order: tuple[int, ...], signs: tuple[int, ...]) -> tuple:
    """The same volume with its axes permuted and flipped."""
    turn = np.stack([np.argsort(order), np.array(signs)[np.argsort(order)]], axis=1)
    turned = nib.orientations.apply_orientation(array, turn)
    return turned, affine @ nib.orientations.inv_ornt_aff(turn, array.shape)


def write(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    """Write a volume (X, Y, Z), by nibabel as NIfTI, MGH and Analyze, by ITK otherwise."""
    classes: dict[str, Callable[..., nib.spatialimages.SpatialImage]] = {".gz": nib.Nifti1Image, ".mgz": nib.MGHImage}
    classes[".hdr"] = nib.AnalyzeImage
    if path.suffix in classes:
        sizes = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
        grid = np.diag([*sizes, 1.0]) if path.suffix == ".hdr" else affine
        classes[path.suffix](array, grid).to_filename(path)
        return path
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ITK's modules warn while they are imported
        import itk

        image = itk.image_from_array(np.ascontiguousarray(array.T))
        lps = (np.eye(4) if path.suffix == ".mnc" else np.diag([-1.0, -1.0, 1.0, 1.0])) @ affine
        sizes = np.sqrt((lps[:3, :3] ** 2).sum(axis=0))
        image.SetSpacing(sizes.tolist())
        image.SetOrigin(lps[:3, 3].tolist())
        image.SetDirection(itk.matrix_from_array(lps[:3, :3] / sizes))
        itk.imwrite(image, str(path), compression=path.suffix in (".nrrd", ".mha"))
    return path
