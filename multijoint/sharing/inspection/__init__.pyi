from .inspection import inspect_bundle, open_bundle
from .report import Concern, Report

__all__ = ["Concern", "Report", "inspect_bundle", "open_bundle"]
