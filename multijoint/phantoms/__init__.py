"""Procedural MR phantoms of children's joints: bones a radiographer can name, and no patient behind them."""

from multijoint.phantoms.writing import PHANTOM_DOMAINS, write_phantoms

__all__ = ["PHANTOM_DOMAINS", "write_phantoms"]
