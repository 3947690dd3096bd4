"""`multijoint bench`: its arguments, a JSON line a figure, and the table."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from multijoint.cli.presenting import record

__all__ = ["add_bench"]


def add_bench(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command.

    Args:
        add: makes the parser of a command from its name, the function that runs it, `help` and `example`.
    """
    bench = add(
        "bench",
        _bench,
        help="measure speed and memory beside peers: JSON lines, then a table",
        example="multijoint bench postprocess surface-metrics",
    )
    bench.add_argument("names", nargs="*", metavar="NAME", help="which benchmarks (default all, under half an hour)")
    bench.add_argument(
        "--out", type=Path, default=Path("runs/bench"), metavar="FOLDER", help="data, models, figures (%(default)s)"
    )


def _bench(options: argparse.Namespace) -> None:
    from custom_components.system.files import write_atomically

    from multijoint.benchmarks import format_rows, run_benchmarks

    logging.basicConfig(level=logging.WARNING)
    rows = []
    for row in run_benchmarks(options.names, folder=options.out):
        rows.append(row)
        print(row.to_json(), flush=True)
    write_atomically(options.out / "bench.jsonl", "".join(row.to_json() + "\n" for row in rows).encode())
    table = format_rows(rows)
    write_atomically(options.out / "table.txt", (table + "\n").encode())
    record(
        rows=[json.loads(row.to_json()) for row in rows],
        written=[options.out / "bench.jsonl", options.out / "table.txt"],
    )
    sys.stdout.write(f"\n{table}\n")
