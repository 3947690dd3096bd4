from .adapting import adapt_model
from .archives import segment_on_cluster
from .exams import segment_exams
from .experimenting import format_jobs, format_states, open_plan, run_jobs
from .meshing import mesh_cases
from .opening import open_model
from .segmenting import segment

__all__ = [
    "adapt_model",
    "format_jobs",
    "format_states",
    "mesh_cases",
    "open_model",
    "open_plan",
    "run_jobs",
    "segment",
    "segment_exams",
    "segment_on_cluster",
]
