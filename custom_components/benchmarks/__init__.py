"""Speed and memory beside peers, measured in the same run: `multijoint bench`."""

from custom_components.benchmarks.rows import Row, format_rows
from custom_components.benchmarks.running import BENCHMARKS, run_benchmarks

__all__ = ["BENCHMARKS", "Row", "format_rows", "run_benchmarks"]
