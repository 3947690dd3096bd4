from .federation import SharedLayers
from .folding import fold_network
from .forwards import EmbeddingForward
from .heads import names_to_share
from .means import MeanNetwork
from .norms import DomainSpecificBatchNorm2d
from .parameters import count_parameters, group_parameters
from .unet import MultiDomainUNet

__all__ = [
    "DomainSpecificBatchNorm2d",
    "EmbeddingForward",
    "MeanNetwork",
    "MultiDomainUNet",
    "SharedLayers",
    "count_parameters",
    "fold_network",
    "group_parameters",
    "names_to_share",
]
