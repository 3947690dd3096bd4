"""Surfaces of bones, looked at with VTK: closed, of the right volume, near the mask, in the right place, marked."""

import sys

import numpy as np
import pytest
from custom_components.errors import InputError
from hypothesis import given, settings
from support.label_maps import all_maps
from support.solids import (
    affines,
    axis_orders,
    masks,
    mass,
    num_bad_edges,
    num_regions,
    polydata,
    signed_distances,
    voxel_faces,
)

from multijoint.clinic.meshes.bone_masks import BoneMask, bone_masks
from multijoint.clinic.meshes.surfaces import MAX_DISTANCE, BoneSurface, bone_surface

FLIP = np.array([-1.0, -1.0, 1.0])
MASKS, AFFINES = masks(), affines()


def one_bone(mask: np.ndarray, affine: np.ndarray) -> BoneMask:
    (bone,) = bone_masks(mask.astype(np.uint8), affine)
    return bone


def to_voxels(surface: BoneSurface, bone: BoneMask) -> np.ndarray:
    """Vertices in voxels of the bone's box."""
    return np.linalg.solve(bone.affine[:3, :3], (surface.vertices_mm * FLIP - bone.affine[:3, 3]).T).T


def check(mask: np.ndarray, affine: np.ndarray) -> BoneSurface:
    bone = one_bone(mask, affine)
    surface = bone_surface(bone)
    looked_at = polydata(surface.vertices_mm, surface.faces)
    assert num_bad_edges(looked_at) == 0
    volume_mm3 = mask.sum() * abs(np.linalg.det(affine[:3, :3]))
    volume, area = mass(polydata(surface.vertices_mm - surface.vertices_mm.mean(axis=0), surface.faces))
    assert volume == pytest.approx(volume_mm3, rel=0.01)
    assert surface.volume_mm3 == pytest.approx(volume, rel=1e-6)  # positive: the normals point outward
    assert surface.area_mm2 == pytest.approx(area)
    vertices = to_voxels(surface, bone)
    assert np.abs(signed_distances(voxel_faces(bone.voxels), vertices)).max() <= MAX_DISTANCE + 1e-6 < 0.5
    return surface


@pytest.mark.parametrize("affine", AFFINES)
@pytest.mark.parametrize("mask", MASKS)
def test_closed_as_large_as_the_mask_and_near_it(mask: str, affine: str) -> None:
    check(MASKS[mask], AFFINES[affine])


@settings(max_examples=40)
@given(all_maps)
def test_whatever_the_mask(labels: np.ndarray) -> None:
    for value in np.unique(labels[labels > 0]):
        check(labels == value, AFFINES["sheared"])


@pytest.mark.parametrize("mask", ["ball", "shell", "scapula", "shaft", "cut ball"])
def test_faces_lie_near_the_mask_too_and_the_mask_near_them(mask: str) -> None:
    bone = one_bone(MASKS[mask], AFFINES["thick"])
    surface = bone_surface(bone)
    vertices = to_voxels(surface, bone)
    centres = vertices[surface.faces].mean(axis=1)
    assert np.abs(signed_distances(voxel_faces(bone.voxels), centres)).max() < 0.5
    inside = signed_distances(polydata(vertices, surface.faces), np.argwhere(bone.voxels))
    assert (inside < 0).mean() > 0.99  # centres of voxels; at most the tips of corners are outside
    assert inside.max() < 0.5


@pytest.mark.parametrize("order", range(48))
def test_left_is_left_in_every_axis_order(order: int) -> None:
    """A body with a spike to the left, a longer one backward and the longest one upward, in an oblique scan."""
    mask = np.zeros((16, 18, 20), bool)
    mask[8:12, 5:9, 2:7] = mask[3:8, 6:8, 3:5] = mask[9:11, 9:16, 3:5] = mask[9:11, 6:8, 7:20] = True
    affine = AFFINES["oblique"]
    expected = bone_surface(one_bone(mask, affine))
    stored, stored_affine = list(axis_orders(mask, affine))[order]
    bone = one_bone(stored, stored_affine)
    surface = bone_surface(bone)
    np.testing.assert_array_equal(surface.faces, expected.faces)
    np.testing.assert_array_equal(surface.cut, expected.cut)
    np.testing.assert_allclose(surface.vertices_mm, expected.vertices_mm, atol=1e-9)
    # By hand: the outermost voxels of the file, put where its affine says, are where the surface ends.
    ras = np.argwhere(stored) @ stored_affine[:3, :3].T + stored_affine[:3, 3]
    reach = np.abs(stored_affine[:3, :3]).sum(axis=1) / 2
    lps = ras * FLIP
    assert (surface.vertices_mm.max(axis=0) < lps.max(axis=0) + reach).all()
    assert (surface.vertices_mm.max(axis=0) > lps.max(axis=0) - reach / 2).all()
    assert (surface.vertices_mm.min(axis=0) > lps.min(axis=0) - reach).all()
    assert (surface.vertices_mm.min(axis=0) < lps.min(axis=0) + reach / 2).all()
    assert bone.cut_sides == ("superior",)


def test_a_spike_to_the_left_has_large_x() -> None:
    mask = np.zeros((20, 9, 9), bool)
    mask[10:16, 2:7, 2:7] = mask[3:10, 4, 4] = True  # in RAS, low x is left
    surface = bone_surface(one_bone(mask, np.eye(4)))
    tip = surface.vertices_mm[surface.vertices_mm[:, 0].argmax()]
    np.testing.assert_allclose(tip, [-2.5, -4, 4], atol=0.5)


@pytest.mark.parametrize("affine", AFFINES)
def test_normals_point_outward(affine: str) -> None:
    surface = bone_surface(one_bone(MASKS["ball"], AFFINES[affine]))
    first, second, third = surface.vertices_mm[surface.faces.T]
    normals = np.cross(second - first, third - first)
    outward = (first + second + third) / 3 - surface.vertices_mm.mean(axis=0)
    assert ((normals * outward).sum(axis=1) > 0).all()


def test_components_are_closed_each_and_holes_stay() -> None:
    for name, regions in (("two", 2), ("shell", 2), ("diagonal", 6), ("ball", 1)):
        surface = bone_surface(one_bone(MASKS[name], np.eye(4)))
        assert num_regions(polydata(surface.vertices_mm, surface.faces)) == regions, name


def test_a_volume_full_of_bone_is_its_box_and_cut_all_around() -> None:
    bone = one_bone(np.ones((4, 5, 6), bool), np.diag([1, 2, 3, 1.0]))
    surface = bone_surface(bone)
    assert surface.volume_mm3 == pytest.approx(4 * 10 * 18)
    assert surface.area_mm2 == pytest.approx(2 * (4 * 10 + 4 * 18 + 10 * 18))
    assert surface.cut.all()
    assert surface.cut_vertices.all()
    assert bone.cut_sides == ("left", "right", "posterior", "anterior", "inferior", "superior")


@pytest.mark.parametrize("affine", AFFINES)
def test_cut_faces_are_flat_and_as_large_as_the_cut(affine: str) -> None:
    mask, matrix = MASKS["shaft"], AFFINES[affine]
    bone = one_bone(mask, matrix)
    surface = bone_surface(bone)
    along = to_voxels(surface, bone)[surface.faces[surface.cut]][..., 2 if affine != "sheared" else slice(None)]
    ends = np.array([-0.5, bone.voxels.shape[2] - 0.5])
    if affine != "sheared":
        assert np.abs(along[..., None] - ends).min(axis=-1).max() < 1e-9
    across = np.linalg.norm(np.cross(matrix[:3, 0], matrix[:3, 1]))
    assert surface.cut_area_mm2 == pytest.approx((mask[:, :, 0].sum() + mask[:, :, -1].sum()) * across, rel=0.02)
    assert num_bad_edges(polydata(surface.vertices_mm, surface.faces[~surface.cut])) > 0  # without them it is open


def test_a_whole_bone_has_no_cut_face() -> None:
    surface = bone_surface(one_bone(MASKS["ball"], np.eye(4)))
    assert not surface.cut.any()
    assert surface.cut_area_mm2 == 0


@pytest.mark.parametrize(("spacing", "within"), [((1, 1, 1), 0.015), ((0.5, 0.5, 1.5), 0.05)])
def test_area_of_a_ball(spacing: tuple[float, ...], within: float) -> None:
    """A staircase of voxels would have half as much again."""
    centre = np.array([12.3, 11.8, 12.1])
    positions = np.indices([round(25 / size) for size in spacing]).T * spacing
    mask = (np.linalg.norm(positions - centre, axis=-1) < 10).T
    surface = bone_surface(one_bone(mask, np.diag([*spacing, 1])))
    assert surface.area_mm2 == pytest.approx(4 * np.pi * 10**2, rel=within)
    assert surface.volume_mm3 == pytest.approx(4 / 3 * np.pi * 10**3, rel=0.01)


def test_thin_rods_are_not_smoothed_away() -> None:
    mask = MASKS["ball"].copy()
    mask[14, 14, 20:30] = True
    bone = one_bone(mask[:, :, :29], np.eye(4))
    surface = bone_surface(bone)
    around = to_voxels(surface, bone)
    rod = around[(around[:, 2] > 23) & (around[:, 2] < 26)]
    assert np.ptp(rod[:, :2], axis=0).min() > 0.8


def test_without_trimesh_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trimesh", None)
    with pytest.raises(InputError, match=r"meshing needs trimesh, got none; pip install 'multijoint\[clinic\]'"):
        bone_surface(one_bone(MASKS["voxel"], np.eye(4)))


def test_no_label_map() -> None:
    with pytest.raises(InputError, match="whole numbers from 0 to 255, got 0 to 900; give a label map, not a scan"):
        list(bone_masks(np.array([[[0, 900]]]), np.eye(4)))
    assert list(bone_masks(np.zeros((2, 2, 2), int), np.eye(4))) == []
