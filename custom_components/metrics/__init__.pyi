from .bone_scores import BoneScore, dice_coefficient, score_case, slice_dice
from .evaluation import ScoreHandler, check_evaluation
from .surface_distances import (
    BORDERS,
    UNDEFINED,
    SurfaceDistances,
    bone_surfaces,
    check_masks,
    check_shapes,
    check_spacing,
    surface_voxels,
    symmetric_distances,
    symmetric_surface_distances,
)

__all__ = [
    "BORDERS",
    "BoneScore",
    "ScoreHandler",
    "SurfaceDistances",
    "UNDEFINED",
    "bone_surfaces",
    "check_evaluation",
    "check_masks",
    "check_shapes",
    "check_spacing",
    "dice_coefficient",
    "score_case",
    "slice_dice",
    "surface_voxels",
    "symmetric_distances",
    "symmetric_surface_distances",
]
