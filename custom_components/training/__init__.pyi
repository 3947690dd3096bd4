from .adaptation import extend_network, join_domains, split_subjects
from .batches import SliceTarget, prepare_slices
from .embeddings import EmbeddingExtractor
from .epoch_log import EpochLog, attached
from .handlers import CheckpointHandler, SetSamplerEpoch
from .runs import TrainingRun
from .tracking import Tracking, name_run
from .validation import StackDice

__all__ = [
    "CheckpointHandler",
    "EmbeddingExtractor",
    "EpochLog",
    "SetSamplerEpoch",
    "SliceTarget",
    "StackDice",
    "Tracking",
    "TrainingRun",
    "attached",
    "extend_network",
    "join_domains",
    "name_run",
    "prepare_slices",
    "split_subjects",
]
