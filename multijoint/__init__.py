"""Bone segmentation in small, heterogeneous MR data sets: the application on top of `custom_components`.

The names of this package are imported when they are first used, so that `import multijoint` takes no time.

Example:
    >>> import multijoint
    >>> manifests = multijoint.write_phantoms("phantoms", num_cases=6)  # doctest: +SKIP
    >>> rows = multijoint.segment(["a.nii.gz"], model="model.pt", domain="ankle", output_dir="out")  # doctest: +SKIP
"""

import lazy_loader
from custom_components import __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]
