from .domain_fit import FitDomaind, channels_of, named_domain
from .engine import VolumeDataset, VolumeEvaluator
from .inferers import SlicewiseInferer
from .items import VolumeItem
from .loaders import VolumeLoader
from .networks import build_inference_network, precision_of
from .report import ReportHandler
from .results import ResultFolder
from .transforms import DecodeLabelsd, ReadVolumed, RestoreSourceGridd, StackSlicesd

__all__ = [
    "DecodeLabelsd",
    "FitDomaind",
    "ReadVolumed",
    "ReportHandler",
    "RestoreSourceGridd",
    "ResultFolder",
    "SlicewiseInferer",
    "StackSlicesd",
    "VolumeDataset",
    "VolumeEvaluator",
    "VolumeItem",
    "VolumeLoader",
    "build_inference_network",
    "channels_of",
    "named_domain",
    "precision_of",
]
