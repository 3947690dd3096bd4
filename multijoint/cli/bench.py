"""`multijoint bench`: one JSON line a figure, then a table."""

import json
from pathlib import Path

from multijoint.cli.commands import command, flag, out_path, text
from multijoint.cli.messages import show_messages
from multijoint.cli.presenting import record


@command(
    text("names", "NAME", "which benchmarks (default all, about 15 minutes)", nargs="*"),
    flag("--quick", "measure each figure once, on small inputs, without targets (4 minutes); written to FOLDER/quick"),
    out_path("FOLDER", "data, models, figures (%(default)s)", default=Path("runs/bench")),
    example="multijoint bench postprocess surface-metrics",
    extra="bench",
)
def bench(names: list[str], quick: bool, out: Path) -> None:
    """Measure speed and memory against peers: JSON lines, then a table."""
    from custom_components.errors import InputError
    from custom_components.system.files import write_atomically

    from multijoint.benchmarks import format_rows, run_benchmarks

    show_messages(least="WARNING")
    folder = out / "quick" if quick else out
    rows = []
    for row in run_benchmarks(names, folder=folder, quick=quick):
        rows.append(row)
        print(row.to_json(), flush=True)
    lines, table = folder / "bench.jsonl", folder / "table.txt"
    shown = format_rows(rows, quick=quick)
    write_atomically(lines, "".join(row.to_json() + "\n" for row in rows).encode())
    write_atomically(table, (shown + "\n").encode())
    record(rows=[json.loads(row.to_json()) for row in rows], written=[lines, table])
    print(f"\n{shown}")
    if failed := [row.name for row in rows if row.failed]:
        raise InputError(f"benchmarks must come to a figure, got {len(failed)} that failed: {'; '.join(failed)}")
