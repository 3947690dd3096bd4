from .growth import Curve, Growth, fit_growth
from .scaling import scale

__all__ = ["Curve", "Growth", "fit_growth", "scale"]
