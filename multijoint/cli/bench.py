"""`multijoint bench`: one JSON line a figure, then a table."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from multijoint.cli.commands import Commands
from multijoint.cli.presenting import record

__all__ = ["add_command"]


def add_command(commands: Commands) -> None:
    """Add the command and its arguments."""
    parser = commands.add(
        "bench",
        _bench,
        help="measure speed and memory against peers: JSON lines, then a table",
        example="multijoint bench postprocess surface-metrics",
        extra="bench",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which benchmarks (default all, under half an hour)")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="measure each figure once, on small inputs, without targets (about 4 minutes); written to FOLDER/quick",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/bench"), metavar="FOLDER", help="data, models, figures (%(default)s)"
    )


def _bench(options: argparse.Namespace) -> None:
    import logging

    from custom_components.system.files import write_atomically

    from multijoint.benchmarks import format_rows, run_benchmarks

    logging.basicConfig(level=logging.WARNING)
    folder = options.out / "quick" if options.quick else options.out
    rows = []
    for row in run_benchmarks(options.names, folder=folder, quick=options.quick):
        rows.append(row)
        print(row.to_json(), flush=True)
    lines, table = folder / "bench.jsonl", folder / "table.txt"
    text = format_rows(rows, quick=options.quick)
    write_atomically(lines, "".join(row.to_json() + "\n" for row in rows).encode())
    write_atomically(table, (text + "\n").encode())
    record(rows=[json.loads(row.to_json()) for row in rows], written=[lines, table])
    print(f"\n{text}")
