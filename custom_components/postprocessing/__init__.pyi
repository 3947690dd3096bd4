from .closing import spherical_closing
from .components import component_sizes, largest_component
from .transforms import KeepLargestComponentd, SphericalClosingd

__all__ = ["KeepLargestComponentd", "SphericalClosingd", "component_sizes", "largest_component", "spherical_closing"]
