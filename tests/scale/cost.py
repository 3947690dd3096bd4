"""What an archive of scans costs in hours, memory, storage, requests and dollars, from measured seconds."""

import argparse

# Processor seconds and bytes of a scan, and memory of its process; docs/results/scale.md says how they were measured.
KINDS = {
    "hippocampus, 35 slices of 48 x 64": {"seconds": 0.56, "gib": 0.65, "read": 0.074e6, "written": 0.003e6},
    "joint, 194 slices of 256 x 256, float32": {"seconds": 38.4, "gib": 1.3, "read": 15e6, "written": 0.15e6},
    "joint, 194 slices of 256 x 256, int8": {"seconds": 12.0, "gib": 1.3, "read": 15e6, "written": 0.15e6},
}
OPTIONS = {
    "scans": (1_000_000, "of the archive"),
    "share": (16, "scans a process, --share"),
    "start": (3.5, "processor seconds to start a process"),
    "listing": (0.0005, "seconds of the command itself a scan, before and after all shares"),
    "processors": (16, "of a node"),
    "node-hour": (0.68, "dollars"),
    "node-start": (300, "seconds until a node works, which are paid"),
    "storage": (0.023, "dollars a GB and month"),
    "thousand-writes": (0.005, "dollars, also for lists of 1,000 names"),
    "thousand-reads": (0.0004, "dollars"),
}


def main() -> None:
    """Print a table for one node and one for 100, and one for storage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    for name, (value, help) in OPTIONS.items():
        parser.add_argument(f"--{name}", type=type(value), default=value, help=help)
    given = parser.parse_args()
    print("| scans | processor hours | of which starts | nodes | hours | dollars | GiB a node |")
    print("|---|---|---|---|---|---|---|")
    for kind, of in KINDS.items():
        starts = given.scans / given.share * given.start / 3600
        processor_hours = given.scans * of["seconds"] / 3600 + starts
        for nodes in (1, 100):
            last = given.share * of["seconds"] / 3600  # the others wait for the last share
            computing = processor_hours / nodes / given.processors + last
            hours = computing + given.scans * given.listing / 3600 + given.node_start / 3600
            dollars = hours * nodes * given.node_hour
            cells = [kind, f"{processor_hours:,.0f}", f"{starts / processor_hours:.1%}", nodes, f"{hours:,.1f}"]
            memory = given.processors * (of["gib"] + 0.09)
            print("|", " | ".join(map(str, [*cells, f"{dollars:,.0f}", f"{memory:.0f}"])), "|")
    print("\n| scans | read | written | storage, dollars a month | requests | their dollars |")
    print("|---|---|---|---|---|---|")
    for kind, of in KINDS.items():
        read, written = given.scans * of["read"] / 1e9, given.scans * of["written"] / 1e9
        reads, writes = given.scans, 2 * given.scans + given.scans / 1000  # a label map and a record each; lists
        dollars = reads / 1000 * given.thousand_reads + writes / 1000 * given.thousand_writes
        cells = [kind, f"{read:,.0f} GB", f"{written:,.0f} GB", f"{(read + written) * given.storage:,.0f}"]
        print("|", " | ".join([*cells, f"{(reads + writes) / 1e6:.1f} million", f"{dollars:,.1f}"]), "|")


if __name__ == "__main__":
    main()
