from .degradations import DEGRADATIONS, degrade
from .quality_study import study_quality, summarise_study

__all__ = ["DEGRADATIONS", "degrade", "study_quality", "summarise_study"]
