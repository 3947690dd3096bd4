"""nnU-Net v2 and multijoint on the same subjects and processor: seconds, peak memory and accuracy, side by side."""

import json
import statistics
from collections.abc import Iterator

from custom_components.data.manifests import load_manifest
from custom_components.data.preprocessing import slice_size
from custom_components.data.splits import describe, make_splits
from custom_components.io.volumes import read_grid
from nnunet import NNUNet
from ours import Multijoint, size_for
from predicting import predict, score
from running import Training, make_parser

from multijoint.benchmarks.rows import Row, format_rows

NUM_FOLDS = 5
VOLUMES = (3, 33)
EPOCHS_TIMED = 3  # of which the first does not count


def main() -> None:
    """Train both, time both, score both; print and write the rows as they come."""
    parser = make_parser(__doc__)
    parser.add_argument("--epochs", type=int, default=5, help="of nnU-Net, 250 batches each; ours sees as many slices")
    parser.add_argument("--repetitions", type=int, default=3, help="of each timed run")
    options = parser.parse_args()
    data = options.data.resolve() / "dataset.json"
    manifest = load_manifest(data)
    domain, split = manifest.domain, make_splits([manifest], fold=0, num_folds=NUM_FOLDS)
    print("\n".join(describe(split)), flush=True)

    work = options.work.resolve() / f"{domain.name}_{options.epochs}_epochs"
    grids = [read_grid(case.image) for case in split.training]
    sizes = [slice_size(shape, affine, plane=domain.plane) for shape, affine in grids]
    slices = sum(
        shape[0] * shape[1] * shape[2] // (rows * columns)
        for (shape, _), (rows, columns) in zip(grids, sizes, strict=True)
    )
    nnunet = NNUNet(options.nnunet.absolute(), work / "nnunet")
    ours = Multijoint(data, work / "ours", num_folds=NUM_FOLDS, image_size=size_for(sizes))
    nnunet.prepare(split, domain)

    theirs = nnunet.train(options.epochs)
    own = ours.train(round(theirs.slices / slices), slices=slices)
    for name, training in (("nnU-Net", theirs), ("multijoint", own)):
        print(f"{name}: {training}", flush=True)

    def rows() -> Iterator[Row]:
        yield Row(f"nnU-Net, training of {theirs.slices} slices", own.whole_seconds, theirs.whole_seconds, "s", 1)
        yield training_epochs(ours, nnunet, slices=slices, batch_size=theirs.batch_size, turns=options.repetitions)
        for count in VOLUMES:
            folder = work / f"volumes_{count}"
            yield from predict(ours, nnunet, split, count=count, repetitions=options.repetitions, folder=folder)
        yield from score(ours, nnunet, split, domain, folder)

    versions = {f"peer's {name}": version for name, version in nnunet.versions().items()}
    seen = []
    with (work / "rows.jsonl").open("w") as file:
        for row in rows():
            record = json.loads(row.to_json())
            record["versions"] |= versions
            line = json.dumps(record)
            print(line, flush=True)
            print(line, file=file, flush=True)
            seen.append(row)
    (work / "table.txt").write_text(f"{format_rows(seen)}\n")
    print(format_rows(seen))


def training_epochs(ours: Multijoint, nnunet: NNUNet, *, slices: int, batch_size: int, turns: int) -> Row:
    """Seconds to train on so many slices, in turns; reading and augmentation included, validation not."""
    timed: list[tuple[float, float]] = []
    for report in (*ours.folder.glob("timed_*.json"), *nnunet.folder.glob("timed_*.json")):
        report.unlink()  # of an earlier run
    for turn in range(turns):
        both: tuple[Training, Training] = (
            ours.train(EPOCHS_TIMED, slices=slices, results=f"timed_{turn}"),
            nnunet.train(EPOCHS_TIMED, iterations=round(slices / batch_size), results=f"timed_{turn}"),
        )
        timed.append(tuple(training.seconds_for(slices) for training in both))
    own, theirs = (statistics.median(side) for side in zip(*timed, strict=True))
    return Row(f"nnU-Net, training epoch of {slices} slices", own, theirs, "s", turns)


if __name__ == "__main__":
    main()
