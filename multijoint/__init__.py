"""Bone segmentation in small, heterogeneous MR data sets: the application on top of `custom_components`.

The names of this package are imported when they are first used, so that `import multijoint` takes no time.

Example:
    >>> import multijoint
    >>> manifests = multijoint.write_phantoms("phantoms", num_cases=6)  # doctest: +SKIP
    >>> run = multijoint.train(manifests, out="runs/x", budget="5min")  # doctest: +SKIP
    >>> result = multijoint.load(run.model).segment("a.nii.gz", domain="ankle")  # doctest: +SKIP
"""

from typing import TYPE_CHECKING

import lazy_loader
from custom_components import __version__ as __version__

# Here instead of in a stub, as the sub-packages have it: the top of the package stays at twelve entries.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "api.adapting": ["adapt_model"],
        "api.models": ["load"],
        "api.segmenting": ["segment"],
        "api.training": ["evaluate", "train"],
        "checks.checking": ["check_manifests"],
        "clinic.pictures.overlays": ["draw_overlay"],
        "clinic.report.report": ["write_report"],
        "phantoms.writing": ["write_phantoms"],
        "running": ["InputError", "find_bundle", "run_workflow"],
        "sharing.inspection.inspection": ["inspect_bundle"],
        "sharing.packaging.packaging": ["package"],
    },
)
__all__ += ["__version__"]

if TYPE_CHECKING:
    from .api.adapting import adapt_model as adapt_model
    from .api.models import load as load
    from .api.segmenting import segment as segment
    from .api.training import evaluate as evaluate
    from .api.training import train as train
    from .checks.checking import check_manifests as check_manifests
    from .clinic.pictures.overlays import draw_overlay as draw_overlay
    from .clinic.report.report import write_report as write_report
    from .phantoms.writing import write_phantoms as write_phantoms
    from .running import InputError as InputError
    from .running import find_bundle as find_bundle
    from .running import run_workflow as run_workflow
    from .sharing.inspection.inspection import inspect_bundle as inspect_bundle
    from .sharing.packaging.packaging import package as package
