"""Exact distances from voxels to the nearest voxel of the same class in another set.

Surfaces of a prediction and its reference mostly lie within a few voxels of each other. So each voxel first tries the
grid positions around it, in order of distance: the first that holds its class in the other set is the nearest voxel,
and trying a position for all voxels is one array lookup. Only the voxels that find nothing in reach query a k-d tree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from itertools import product

import numpy as np
from scipy.spatial import KDTree

_NUM_STEPS = 256
"""Number of grid positions around a voxel that are tried before the k-d tree is queried."""

_RADIUS = 0.62
"""Approximate radius of a ball of volume 1: (3 / 4 / pi) ** (1 / 3)."""


class ClassVoxels:
    """A set of voxels of one grid, each of one class.

    The lookup grid and the k-d trees of a set are built once, however many other sets are compared with it.

    Args:
        voxels: indices, shape (n, axes).
        classes: class index of each voxel, integers other than 0, shape (n,).
        spacing_mm: distance between neighbouring voxels along each axis, in mm.
    """

    def __init__(self, voxels: np.ndarray, classes: np.ndarray, *, spacing_mm: Sequence[float]) -> None:
        self.spacing_mm = tuple(spacing_mm)
        order = np.argsort(classes, kind="stable")
        present, starts = np.unique(classes[order], return_index=True)
        parts = np.split(voxels[order], starts[1:])
        self._voxels = dict(zip(present.tolist(), parts, strict=False))  # without voxels: one part, no class
        self._trees: dict[int, KDTree] = {}

    def voxels(self, c: int) -> np.ndarray:
        """Indices of the voxels of one class, shape (n, axes)."""
        return self._voxels[c]

    def distances_mm(self, other: ClassVoxels) -> dict[int, np.ndarray]:
        """Distance of each voxel to the nearest voxel of its class in another set on the same grid.

        Returns:
            Class index -> distances between voxel centres in mm, for each class that both sets have.

        Example:
            >>> one = ClassVoxels(np.array([[0, 0], [3, 4]]), np.array([7, 7]), spacing_mm=(1.0, 0.5))
            >>> other = ClassVoxels(np.array([[0, 2], [0, 0]]), np.array([7, 5]), spacing_mm=(1.0, 0.5))
            >>> one.distances_mm(other)
            {7: array([1.        , 3.16227766])}
        """
        found = {}
        for c in self._voxels.keys() & other._voxels.keys():
            found[c] = other._near(self._voxels[c], c)
            far = np.flatnonzero(np.isinf(found[c]))
            if len(far):
                found[c][far] = other._tree(c).query(self._voxels[c][far] * self.spacing_mm)[0]
        return found

    def _near(self, voxels: np.ndarray, c: int) -> np.ndarray:
        """Distances to the nearest voxel of a class; infinite where none of the steps reaches one."""
        steps, lengths_mm = self._steps
        start, grid = self._grid
        distances = np.full(len(voxels), math.inf)
        # Voxels from which a step could leave the grid are left to the k-d tree. For all others, a step is a constant
        # offset in flat memory.
        reach, at = np.abs(steps).max(axis=0), voxels - start
        left = np.flatnonzero(((at >= reach) & (at < grid.shape - reach)).all(axis=1))
        positions = np.ravel_multi_index(tuple(at[left].T), grid.shape)
        strides = np.array(grid.strides) // grid.itemsize
        flat = grid.reshape(-1)
        for step, length_mm in zip((steps @ strides).tolist(), lengths_mm.tolist(), strict=True):
            hit = flat[positions + step] == c
            if hit.any():
                distances[left[hit]] = length_mm  # steps are sorted by length: no later one can be shorter
                left, positions = left[~hit], positions[~hit]
                if not len(left):
                    break
        return distances

    @cached_property
    def _steps(self) -> tuple[np.ndarray, np.ndarray]:
        """Steps to the surrounding voxels, complete up to the longest and sorted by length, with lengths in mm."""
        spacing = np.array(self.spacing_mm)
        radius_mm = _RADIUS * (_NUM_STEPS * spacing.prod()) ** (1 / len(spacing))
        # Steps along a single axis come in pairs (forwards and back), so no axis needs more than half of them.
        reach = np.minimum(radius_mm // spacing, _NUM_STEPS // 2).astype(int)
        steps = np.array(list(product(*(range(-number, number + 1) for number in reach.tolist()))))
        lengths_mm = np.sqrt(((steps * spacing) ** 2).sum(axis=1))
        order = np.argsort(lengths_mm, kind="stable")[: np.count_nonzero(lengths_mm <= radius_mm)][:_NUM_STEPS]
        return steps[order], lengths_mm[order]

    @cached_property
    def _grid(self) -> tuple[np.ndarray, np.ndarray]:
        """First voxel of a grid that covers the set with a margin, and its classes, 0 where the set has no voxel."""
        everything = np.concatenate(list(self._voxels.values()))
        margin = 2 * np.abs(self._steps[0]).max(axis=0)
        start = everything.min(axis=0) - margin
        classes = max(self._voxels)
        grid = np.zeros(everything.max(axis=0) + margin + 1 - start, np.min_scalar_type(classes))
        for c, voxels in self._voxels.items():
            grid[tuple((voxels - start).T)] = c
        return start, grid

    def _tree(self, c: int) -> KDTree:
        if c not in self._trees:
            points = self._voxels[c] * self.spacing_mm
            self._trees[c] = KDTree(points, balanced_tree=False, compact_nodes=False)
        return self._trees[c]
