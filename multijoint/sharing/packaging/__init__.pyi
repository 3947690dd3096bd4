from .held_out import MOST_FALL
from .int8_networks import measure_int8, quantise_model, write_networks
from .packaging import package

__all__ = ["MOST_FALL", "measure_int8", "package", "quantise_model", "write_networks"]
