from .curves import draw_few_subjects, draw_learning_curves
from .embedding_checks import EmbeddingChecks, check_embeddings
from .embeddings import draw_embeddings
from .exams import draw_exams
from .figures import write_figures

__all__ = [
    "EmbeddingChecks",
    "check_embeddings",
    "draw_embeddings",
    "draw_exams",
    "draw_few_subjects",
    "draw_learning_curves",
    "write_figures",
]
