from .inspection import inspect_bundle, open_bundle
from .packaging import MOST_FALL, measure_int8, package, quantise_model, write_networks

__all__ = ["MOST_FALL", "inspect_bundle", "measure_int8", "open_bundle", "package", "quantise_model", "write_networks"]
