from .api.adapting import adapt_model
from .api.segmenting import segment
from .checks.checking import check_manifests
from .clinic.pictures.overlays import draw_overlay
from .clinic.report.report import write_report
from .phantoms.writing import write_phantoms
from .running import InputError, find_bundle, run_workflow
from .sharing.inspection.inspection import inspect_bundle
from .sharing.packaging.packaging import package

__version__: str

__all__ = [
    "InputError",
    "adapt_model",
    "check_manifests",
    "draw_overlay",
    "find_bundle",
    "inspect_bundle",
    "package",
    "run_workflow",
    "segment",
    "write_phantoms",
    "write_report",
    "__version__",
]
