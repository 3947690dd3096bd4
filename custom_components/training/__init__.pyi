from .adaptation import extend_network, join_domains, split_subjects
from .averaging import average_weights
from .batches import SliceTarget, collate_slices, prepare_slices
from .embeddings import EmbeddingExtractor
from .epoch_log import EpochLog
from .fold_epochs import epochs_of_runs
from .handlers import (
    AveragingHandler,
    CheckpointHandler,
    EarlyStopHandler,
    FirstRankValidation,
    ResumeHandler,
    SetSamplerEpoch,
)
from .interruption import InterruptionHandler
from .model_quality import calibrate_run
from .norm_statistics import reestimate_run
from .planning import TrainingPlan, plan_training
from .precision import choose_precision
from .runs import TrainingRun
from .schedules import make_schedule, moves_each_epoch
from .state import TrainingState
from .tracking import Tracking, name_run
from .validation import StackDice

__all__ = [
    "AveragingHandler",
    "CheckpointHandler",
    "EarlyStopHandler",
    "EmbeddingExtractor",
    "EpochLog",
    "FirstRankValidation",
    "InterruptionHandler",
    "ResumeHandler",
    "SetSamplerEpoch",
    "SliceTarget",
    "StackDice",
    "Tracking",
    "TrainingPlan",
    "TrainingRun",
    "TrainingState",
    "average_weights",
    "calibrate_run",
    "choose_precision",
    "collate_slices",
    "epochs_of_runs",
    "extend_network",
    "join_domains",
    "make_schedule",
    "moves_each_epoch",
    "name_run",
    "plan_training",
    "prepare_slices",
    "reestimate_run",
    "split_subjects",
]
