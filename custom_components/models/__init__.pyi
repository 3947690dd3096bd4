from .checkpoints import build_network, describe_model, load_model, load_weights, save_checkpoint
from .ensembles import join_models, load_ensemble
from .single_domain import fold_domain, select_domain
from .starting import start_network
from .trained_model import TrainedModel

__all__ = [
    "TrainedModel",
    "build_network",
    "describe_model",
    "fold_domain",
    "join_models",
    "load_ensemble",
    "load_model",
    "load_weights",
    "save_checkpoint",
    "select_domain",
    "start_network",
]
