from .augmentation import RandFlipRotateTranslated, RandIntensityd
from .cases import Case
from .datasets import SliceDataset
from .manifests import Manifest, load_manifests
from .planes import add_planes
from .preprocessing import Preprocessing
from .sampling import DomainBalancedBatchSampler
from .scans import list_cases, list_scans
from .splits import Split, make_splits, split_of

__all__ = [
    "Case",
    "DomainBalancedBatchSampler",
    "Manifest",
    "Preprocessing",
    "RandFlipRotateTranslated",
    "RandIntensityd",
    "SliceDataset",
    "Split",
    "add_planes",
    "list_cases",
    "list_scans",
    "load_manifests",
    "make_splits",
    "split_of",
]
