"""Procedural MR phantoms of children's joints: bones a radiographer can name, and no patient behind them.

And of random shapes in random contrasts, which no anatomy limits, for a network to start from.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
