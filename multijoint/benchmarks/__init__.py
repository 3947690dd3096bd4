"""Speed and memory beside peers, measured in the same run: `multijoint bench`."""

from multijoint.benchmarks.registry import BENCHMARKS, run_benchmarks
from multijoint.benchmarks.rows import Row, format_rows

__all__ = ["BENCHMARKS", "Row", "format_rows", "run_benchmarks"]
