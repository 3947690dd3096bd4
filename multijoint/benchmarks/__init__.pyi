from .registry import BENCHMARKS, run_benchmarks
from .rows import Row, format_rows

__all__ = ["BENCHMARKS", "Row", "format_rows", "run_benchmarks"]
