"""Procedural MR phantoms of children's joints: bones a radiographer can name, and no patient behind them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
