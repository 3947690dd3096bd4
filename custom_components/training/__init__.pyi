from .adaptation import extend_network, join_domains, split_subjects
from .batches import SliceTarget, prepare_slices
from .embeddings import EmbeddingExtractor
from .epoch_log import EpochLog
from .handlers import CheckpointHandler, EarlyStopHandler, ResumeHandler, SetSamplerEpoch
from .interruption import InterruptionHandler
from .model_quality import calibrate_run
from .runs import TrainingRun
from .state import TrainingState
from .tracking import Tracking, name_run
from .validation import StackDice

__all__ = [
    "CheckpointHandler",
    "EarlyStopHandler",
    "EmbeddingExtractor",
    "EpochLog",
    "InterruptionHandler",
    "ResumeHandler",
    "SetSamplerEpoch",
    "SliceTarget",
    "StackDice",
    "Tracking",
    "TrainingRun",
    "TrainingState",
    "calibrate_run",
    "extend_network",
    "join_domains",
    "name_run",
    "prepare_slices",
    "split_subjects",
]
