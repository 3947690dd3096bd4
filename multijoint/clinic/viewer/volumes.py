"""A case as NiiVue reads it: small whole numbers, not more voxels than a browser can hold, and its bones."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from custom_components.errors import InputError, needs_extra, show_path
from custom_components.io.geometry import orientation_of, to_canonical, voxel_volume_ml
from custom_components.io.pictures import grey_limits
from custom_components.io.volumes import on_grid, read_frame, read_label, read_volume
from nibabel.orientations import inv_ornt_aff
from scipy import ndimage

from multijoint.clinic.pictures.overlays import LegendEntry, read_legend
from multijoint.clinic.viewer.cases import ViewedCase

_MAX_VOXELS = 2**26  # NiiVue keeps about 12 bytes a voxel, and a browser's tab ends near 4 GiB
_MAX_SIDE = 2048  # of a 3D texture, everywhere
_MAX_BONES = 255
_SPACE = 4096  # bytes at a mesh's start, where its coordinate system is said
_GLTF_TO_RAS = np.array([[-1000, 0, 0, 0], [0, 0, 1000, 0], [0, 1000, 0, 0], [0, 0, 0, 1]])


@dataclass(frozen=True)
class ShownCase:
    """A case for a page.

    Args:
        scan: uncompressed NIfTI file of 16-bit numbers in RAS+ axis order, with the window to show it in.
        labels: uncompressed NIfTI file on its grid, of 8-bit numbers: 1 for the first of `bones`, and so on.
        bones: of each `value`, `name`, `color`, `volume_ml`, `centre_mm`, the RAS+ position of its voxel that is
            nearest to the centre of mass, and `box_mm`, its least and greatest position; a bone that is named but not
            there has no volume, no centre and no box.
        slices: of the patient's x, y and z axis how many slices the file has, `count`, and whether it counts them
            against the axis, `is_reversed`.
        every: only one of so many voxels along each axis is shown.
        digest: SHA-256 of the label map's file.
    """

    scan: bytes
    labels: bytes
    bones: list[dict[str, Any]]
    slices: list[dict[str, Any]]
    every: int
    digest: str


def show_case(case: ViewedCase) -> ShownCase:
    """Read a case.

    Raises:
        InputError: its scan or its segmentation cannot be used, or they lie on different grids.
    """
    scan = read_volume(check_grids(case))
    found = read_label(case.segmentation, like=scan)
    labels = found.array
    legend = read_legend(case.segmentation, (int(value) for value in np.unique(labels) if value))
    values = list(legend)
    if len(values) > _MAX_BONES or min(values, default=0) < 0:
        rule = f"label map {show_path(case.segmentation)} must have at most {_MAX_BONES} labels, all positive"
        raise InputError(f"{rule}, got {len(values)} from {min(values)} to {max(values)}; give a label map of bones")
    every, shape = 1, scan.array.shape
    while prod(-(-size // every) for size in shape) > _MAX_VOXELS or max(shape) > _MAX_SIDE * every:
        every += 1
    orientation = orientation_of(scan.affine)
    affine = scan.affine @ inv_ornt_aff(orientation, shape) @ np.diag([every, every, every, 1])
    step = (slice(None, None, every),) * 3
    table = np.zeros(max(values, default=0) + 1, np.uint8)
    table[values] = np.arange(1, len(values) + 1)
    indices = table[labels]
    by_axis = sorted((int(axis), size, bool(way < 0)) for (axis, way), size in zip(orientation, shape, strict=True))
    return ShownCase(
        _scan_file(to_canonical(scan.array, scan.affine)[step], affine),
        _file(to_canonical(indices, scan.affine)[step], affine, window=(0, 255), intent="label"),
        _bones(indices, legend, scan.affine),
        [{"count": size, "is_reversed": is_reversed} for _, size, is_reversed in by_axis],
        every,
        found.digest,
    )


def check_grids(case: ViewedCase) -> Path:
    """The scan of a case, on whose grid its label map lies, as far as headers tell.

    Raises:
        InputError: see `show_case`.
    """
    if case.scan is None:
        raise InputError(f"scan of {case.name} must be among the scans, got none; give the folder that was segmented")
    on_grid(read_frame(case.segmentation), read_frame(case.scan))
    return case.scan


def read_mesh(path: Path) -> bytes:
    """A mesh as a PLY file in RAS+ millimetres, as NiiVue wants it.

    A GLB file counts in metres with y upwards and the front of the patient to z, as glTF has it. STL and PLY are
    taken as 3D Slicer takes them: LPS+ millimetres, unless the head of the file says `SPACE=RAS`.

    Raises:
        InputError: trimesh is not installed, or cannot read the file.
    """
    with needs_extra("showing meshes", "clinic"):
        import trimesh
    try:
        with path.open("rb") as file:
            is_ras = b"SPACE=RAS" in file.read(_SPACE)
        mesh = trimesh.load(path, force="mesh", process=False)
        if not len(mesh.faces):
            raise ValueError("no faces")
        if path.suffix.lower() == ".glb":
            mesh.apply_transform(_GLTF_TO_RAS)
        elif not is_ras:
            mesh.apply_transform(np.diag([-1.0, -1.0, 1.0, 1.0]))
        has_colors = path.suffix.lower() == ".ply" and mesh.visual.kind == "vertex"
        colors = mesh.visual.vertex_colors if has_colors else None
        shown = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=colors, process=False)
        return bytes(shown.export(file_type="ply"))
    except Exception as error:  # trimesh's readers raise whatever a broken file leads them to
        found = f"got one that fails ({str(error) or type(error).__name__})"
        raise InputError(f"mesh {show_path(path)} must be a surface, {found}; make it again") from error


def _scan_file(array: np.ndarray, affine: np.ndarray) -> bytes:
    """Values as they are if they are whole and small, else in 65,535 steps from the least to the greatest."""
    low, high = float(array.min()), float(array.max())
    window = grey_limits(array)
    if not window[1] > window[0]:
        window = (low, high)
    if low >= -(2**15) and high < 2**15 and np.array_equal(array, np.rint(array)):
        return _file(array.astype(np.int16), affine, window=window)
    step, middle = (high - low) / (2**16 - 2), (high + low) / 2
    scaled = np.rint((array.astype(np.float64) - middle) / step).astype(np.int16)
    return _file(scaled, affine, window=window, step=step, middle=middle)


def _file(
    array: np.ndarray, affine: np.ndarray, *, window: Any, step: float = 1.0, middle: float = 0.0, intent: str = "none"
) -> bytes:
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.header.set_intent(intent)
    image.header["cal_min"], image.header["cal_max"] = window
    content = bytearray(image.to_bytes())
    header = nib.Nifti1Header(bytes(content[:348]), check=False)
    header["scl_slope"], header["scl_inter"] = step, middle  # nibabel would scale the array, were it told before
    content[:348] = header.binaryblock
    return bytes(content)


def _bones(indices: np.ndarray, legend: dict[int, LegendEntry], affine: np.ndarray) -> list[dict[str, Any]]:
    bones: list[dict[str, Any]] = []
    boxes = ndimage.find_objects(indices, max_label=max(1, len(legend)))
    for index, (value, box) in enumerate(zip(legend, boxes, strict=False), start=1):
        bone: dict[str, Any] = {"value": value, **legend[value]._asdict(), "volume_ml": 0.0}
        bone |= {"centre_mm": None, "box_mm": None}
        if box is not None:
            voxels = np.argwhere(indices[box] == index)
            offsets_mm = (voxels - voxels.mean(axis=0)) @ affine[:3, :3].T
            nearest = voxels[(offsets_mm**2).sum(axis=1).argmin()] + [side.start for side in box]
            bone["volume_ml"] = len(voxels) * voxel_volume_ml(affine)
            bone["centre_mm"] = (affine[:3, :3] @ nearest + affine[:3, 3]).tolist()
            corners = [side.start - 0.5 for side in box], [side.stop - 0.5 for side in box]
            places = np.stack(np.meshgrid(*zip(*corners, strict=True)), axis=-1).reshape(-1, 3) @ affine[:3, :3].T
            bone["box_mm"] = [(edge(places, axis=0) + affine[:3, 3]).tolist() for edge in (np.min, np.max)]
        bones.append(bone)
    return bones
