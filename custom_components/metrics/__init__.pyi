from .bone_scores import BoneScore, SliceDice, dice_as_one, dice_coefficient, score_case, score_predictions, slice_dice
from .evaluation import ScoreHandler, check_evaluation
from .surface_distances import BORDERS, surface_voxels

__all__ = [
    "BORDERS",
    "BoneScore",
    "ScoreHandler",
    "SliceDice",
    "check_evaluation",
    "dice_as_one",
    "dice_coefficient",
    "score_case",
    "score_predictions",
    "slice_dice",
    "surface_voxels",
]
