"""A smooth, closed surface of a bone that keeps its volume and stays within half a voxel of its mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from custom_components.errors import needs_extra

from multijoint.clinic.meshes.bone_masks import BoneMask

MAX_DISTANCE = 0.49
"""How far a vertex may lie from the surface of the mask, as a share of a voxel along each of its axes."""

_LEVEL = 0.499  # at 0.5 voxels that share only an edge are undecided, and leak
_SHRINK, _GROW, _PASSES = 0.5, 0.53, 20  # of Taubin's filter; more of it wears rods of one voxel away
_REGION = 10  # edges: over how much of the surface it is to keep its place on the average
_VOLUME_ERROR, _NEWTON_STEPS, _FARTHEST = 1e-4, 3, 2.0  # share; then bisection; in voxels
_LPS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class BoneSurface:
    """Triangles around a bone, their normals outward.

    Args:
        vertices_mm: positions (N, 3) in mm, in LPS (x to the patient's left, y posterior, z superior).
        faces: indices (M, 3) of vertices.
        cut: (M,), whether the face lies where the field of view has cut the bone: no surface of the bone.
    """

    vertices_mm: np.ndarray
    faces: np.ndarray
    cut: np.ndarray

    @property
    def cut_vertices(self) -> np.ndarray:
        """(N,), whether a vertex belongs to a cut face."""
        marked = np.zeros(len(self.vertices_mm), bool)
        marked[self.faces[self.cut]] = True
        return marked

    @property
    def area_mm2(self) -> float:
        """Area of all faces."""
        return float(_face_areas(self.vertices_mm, self.faces).sum())

    @property
    def cut_area_mm2(self) -> float:
        """Area of the cut faces."""
        return float(_face_areas(self.vertices_mm, self.faces)[self.cut].sum())

    @property
    def volume_mm3(self) -> float:
        """Enclosed volume."""
        return _volume(self.vertices_mm, self.faces)


def check_trimesh() -> None:
    """Refuse to go on without trimesh.

    Raises:
        InputError: it is not installed.
    """
    with needs_extra("meshing", "clinic"):
        import trimesh  # noqa: F401


def bone_surface(bone: BoneMask) -> BoneSurface:
    """Find the surface of a bone.

    Marching cubes through the mask gives vertices that lie on the surface of the mask. Taubin's filter smooths them
    without shrinking; none may move by more than `MAX_DISTANCE` of a voxel. Then all move along their normals, within
    the same limit, until the enclosed volume is that of the voxels. All this is done in voxel units, so that slices
    of any thickness and oblique grids are smoothed alike. Where the field of view cut the bone, the surface is closed
    by a flat face on the border of the outermost voxels.

    Returns:
        A closed surface; components that share not more than a corner have one each. Its volume error is below 0.01 %;
        it can be more, up to some percent, for patterns that are noise rather than bone.

    Raises:
        InputError: trimesh is not installed.

    Source:
        Lewiner et al., Efficient implementation of marching cubes' cases, 2003 (scikit-image). Taubin, A signal
        processing approach to fair surface design, SIGGRAPH 1995 (trimesh).
    """
    check_trimesh()
    extended, faces = _marching_cubes(bone)
    on_mask, pinned = _project(extended, bone)
    extended, on_mask, pinned, faces = _merge(extended, on_mask, pinned, faces)
    vertices = _limit(on_mask + _smooth(extended, faces, bone) - extended, on_mask, pinned)
    vertices = _restore_volume(vertices, on_mask, pinned, faces, float(bone.voxels.sum()))
    to_lps = _LPS @ bone.affine[:3]
    if np.linalg.det(to_lps[:, :3]) < 0:
        faces = faces[:, ::-1]
    cut = pinned[faces].all(axis=1).any(axis=(1, 2))
    return BoneSurface(vertices @ to_lps[:, :3].T + to_lps[:, 3], np.ascontiguousarray(faces), cut)


def _marching_cubes(bone: BoneMask) -> tuple[np.ndarray, np.ndarray]:
    """Vertices in voxels of the box, and faces; a bone that is cut goes on for one voxel more."""
    from skimage.measure import marching_cubes

    volume = np.pad(bone.voxels, 2).astype(np.float32)
    for axis, sides in enumerate(bone.cut):
        layers = np.moveaxis(volume, axis, 0)
        for cut, outside, border in zip(sides, (1, -2), (2, -3), strict=True):
            if cut:
                layers[outside] = layers[border]
    vertices, faces, _, _ = marching_cubes(volume, _LEVEL, gradient_direction="ascent")
    # Each lies halfway between two voxels, or in the middle of eight, but for the level and rounding.
    nearest = np.rint(vertices)
    vertices = np.where(np.abs(vertices - nearest) < 1e-3, nearest, np.floor(vertices) + 0.5)
    return vertices.astype(np.float64) - 2, faces


def _project(extended: np.ndarray, bone: BoneMask) -> tuple[np.ndarray, np.ndarray]:
    """Vertices put on the border if they are outside the volume; and (N, 3, 2), the sides that each is kept on."""
    # Voxel centres have whole numbers, so the border of the box lies at -0.5 and at its shape less 0.5.
    low, high = np.full(3, -0.5), np.array(bone.voxels.shape) - 0.5
    pinned = np.stack([extended <= low, extended >= high], axis=2) & bone.cut
    return np.where(pinned.any(axis=2), np.clip(extended, low, high), extended), pinned


def _merge(
    extended: np.ndarray, on_mask: np.ndarray, pinned: np.ndarray, faces: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Merge vertices that meet where two sides of the volume do."""
    meeting = np.flatnonzero(pinned.any(axis=2).sum(axis=1) > 1)
    if not len(meeting):
        return extended, on_mask, pinned, faces
    _, first, which = np.unique(on_mask[meeting], axis=0, return_index=True, return_inverse=True)
    stands_for = np.arange(len(extended))
    stands_for[meeting] = meeting[first[which.reshape(-1)]]
    faces = stands_for[faces]
    # A face with two equal corners has no area; vertices without a face go, and the others are numbered anew.
    kept, faces = np.unique(faces[(faces != np.roll(faces, 1, axis=1)).all(axis=1)], return_inverse=True)
    return extended[kept], on_mask[kept], pinned[kept], faces.reshape(-1, 3)


def _smooth(vertices: np.ndarray, faces: np.ndarray, bone: BoneMask) -> np.ndarray:
    """Smooth with Taubin's filter, then move regions back that the filter moved inward or outward as a whole."""
    from scipy.sparse import csr_array
    from trimesh import Trimesh, smoothing

    mesh = Trimesh(vertices, faces, process=False)
    start, end = mesh.edges.T  # each edge both ways
    # Vertices beyond the volume close the end of a cut bone. They follow the walls, but the walls must not follow them:
    # edges from a wall to such a vertex are left out, edges in the other direction stay.
    beyond = np.maximum(-vertices - 1, vertices - bone.voxels.shape).max(axis=1) > 0.25
    used = beyond[start] | ~beyond[end]
    start, end = start[used], end[used]
    weights = 1 / np.maximum(np.bincount(start, minlength=len(vertices)), 1)
    mean_of_neighbours = csr_array((weights[start], (start, end)), shape=(len(vertices),) * 2)
    smoothing.filter_taubin(mesh, _SHRINK, _GROW, _PASSES, laplacian_operator=mean_of_neighbours)
    smooth = np.array(mesh.vertices)
    # The filter shrinks thin parts. Averaged over about `_REGION` edges, the moves along the normals leave out the
    # smoothing of single steps and show only how far a region has moved; this much is undone.
    normals = _normals(smooth, faces)
    outward = ((smooth - vertices) * normals).sum(axis=1)
    for _ in range(_REGION):
        outward = mean_of_neighbours @ outward
    return smooth - outward[:, None] * normals


def _limit(vertices: np.ndarray, on_mask: np.ndarray, pinned: np.ndarray) -> np.ndarray:
    """The nearest positions that are allowed."""
    moves = np.where(pinned.any(axis=2), 0, vertices - on_mask)
    distances = np.linalg.norm(moves, axis=1, keepdims=True)
    return on_mask + moves * np.minimum(1, MAX_DISTANCE / np.maximum(distances, MAX_DISTANCE))


def _restore_volume(
    vertices: np.ndarray, on_mask: np.ndarray, pinned: np.ndarray, faces: np.ndarray, volume: float
) -> np.ndarray:
    """Move all vertices along their normals by one distance, as far as allowed, until the volume is right."""
    from scipy.optimize import brentq

    normals = _normals(vertices, faces)

    def moved(distance: float) -> np.ndarray:
        return _limit(vertices + distance * normals, on_mask, pinned)

    def excess(distance: float) -> float:
        return _volume(moved(distance), faces) / volume - 1

    # Newton's method: moving a surface by d changes its volume by about d times its area. Where the limit stops many
    # vertices this may fail, and the root is bracketed instead.
    area, distance = _face_areas(vertices, faces).sum(), 0.0
    for _ in range(_NEWTON_STEPS):
        error = excess(distance)
        if abs(error) <= _VOLUME_ERROR:
            return moved(distance)
        distance = float(np.clip(distance - error * volume / area, -_FARTHEST, _FARTHEST))
    if excess(-_FARTHEST) >= 0:
        return moved(-_FARTHEST)
    if excess(_FARTHEST) <= 0:
        return moved(_FARTHEST)
    return moved(brentq(excess, -_FARTHEST, _FARTHEST, xtol=_VOLUME_ERROR))


def _edges(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    first, second, third = vertices[faces.T]
    return first, second - first, third - first


def _volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    first, one, other = _edges(vertices - vertices[0], faces)
    return float((first * np.cross(one, other)).sum() / 6)


def _face_areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    _, one, other = _edges(vertices, faces)
    return np.linalg.norm(np.cross(one, other), axis=1) / 2


def _normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals of vertices, the mean of those of their faces weighted by area: along it the volume grows most."""
    _, one, other = _edges(vertices, faces)
    cross = np.cross(one, other)
    corners = faces.reshape(-1)
    normals = np.stack([np.bincount(corners, np.repeat(cross[:, k], 3), len(vertices)) for k in range(3)], axis=1)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
