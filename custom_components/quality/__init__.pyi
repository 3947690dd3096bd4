from .calibration import DomainQuality
from .expected_dice import ExpectedDice
from .flags import FlagRules

__all__ = ["DomainQuality", "ExpectedDice", "FlagRules"]
