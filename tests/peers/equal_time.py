"""nnU-Net v2 and multijoint trained for as long on the same cores, then scored on other people and shifted copies."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from custom_components.data.cases import Case
from custom_components.data.manifests import load_manifest
from custom_components.data.splits import LEAST_TYPICAL, Split, describe, make_splits
from custom_components.domains import Domain
from custom_components.io.volumes import read_label, read_volume
from custom_components.metrics.bone_scores import dice_as_one, score_case
from custom_components.metrics.score_tables import score_rows, write_scores_csv
from nnunet import NNUNet
from ours import Default
from predicting import predict
from running import Trained, make_parser, measure

from multijoint.benchmarks.rows import Row, device_name, format_rows
from multijoint.experiments.jobs.shifts import SHIFTS, write_copies
from multijoint.experiments.rows import exam_scores
from multijoint.experiments.tables.markdown import draw_grid

Side = NNUNet | Default
VOLUMES = (3, 33)


def main() -> None:
    """Train one after the other, let each segment the held-out scans and their copies, print and write the rows."""
    parser = make_parser(__doc__)
    parser.add_argument("--minutes", type=float, default=15, help="of each training")
    parser.add_argument("--clock", choices=["wall", "processor"], default="wall", help="that the minutes are of")
    parser.add_argument("--configurations", nargs="*", default=["2d", "3d_fullres"], help="of nnU-Net")
    parser.add_argument("--joint", type=Path, help="another such folder, for our joint network of both")
    parser.add_argument("--nnunet-alone", action="store_true", help="leave ours out")
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)), help="and as many threads")
    parser.add_argument("--shifts", nargs="*", choices=SHIFTS, default=SHIFTS, help="copies to score")
    parser.add_argument("--time-prediction", action="store_true", help="then time how both segment 3 and 33 scans")
    options = parser.parse_args()
    if options.clock == "processor" and options.cores != 1:
        parser.error("--clock processor must have --cores 1; processor minutes of several cores are not minutes")
    if options.time_prediction and (options.nnunet_alone or "2d" not in options.configurations):
        parser.error("--time-prediction must have ours and configuration 2d; leave --nnunet-alone out")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])  # also of all processes started here
    os.environ |= {"OMP_NUM_THREADS": str(options.cores), "CUDA_VISIBLE_DEVICES": ""}
    manifest = load_manifest(options.data.resolve() / "dataset.json")
    domain, split = manifest.domain, make_splits([manifest], fold=LEAST_TYPICAL)
    print("\n".join(describe(split)), flush=True)

    work = options.work.resolve() / f"{domain.name}_{options.minutes:g}_minutes"
    copies = [copy for case in split.testing for copy in write_copies(work / "copies", case, plane=domain.plane)]
    copies = [copy for copy in copies if copy.name.rpartition("_")[2] in options.shifts]
    data = [options.data.resolve()]
    sides: dict[str, Side] = {}
    if not options.nnunet_alone:
        sides["ours"] = Default(data, work / "ours", domain=domain.name)
    if options.joint:
        joint = Default([*data, options.joint.resolve()], work / "ours_joint", domain=domain.name)
        sides["ours, joint"] = joint
    for name in options.configurations:
        sides[f"nnU-Net {name}"] = NNUNet(options.nnunet.absolute(), work / f"nnunet_{name}", configuration=name)

    lines = []
    with (work / "rows.jsonl").open("w") as file:
        for name, side in sides.items():
            if isinstance(side, NNUNet):
                planning, _ = measure(partial(side.prepare, split, domain))
                print(f"{name}: plans and preprocessing took {planning:.1f} minutes", flush=True)
            trained = side.train_for(options.minutes, clock=options.clock)
            print(f"{name}: {trained}", flush=True)
            folder = work / "segmented" / side.folder.name
            rows = list(segment_and_score(side, [*split.testing, *copies], domain, folder))
            write_scores_csv(work / f"{side.folder.name}.csv", rows)
            scanned = {case.name for case in split.testing}
            own, moved = ([row for row in rows if (row["case"] in scanned) == each] for each in (True, False))
            scores = {"scanned": summarise(own), "shifted": summarise(moved)}
            record = {"network": name, "device": device_name()} | asdict(trained) | scores
            print(json.dumps(record), file=file, flush=True)
            lines.append(line_of(name, trained, scores))
            table = draw_grid([HEADER, *lines])
            (work / "table.txt").write_text(f"{table}\n")
            print(table, flush=True)
    if options.time_prediction:
        rows = list(time_prediction(sides["ours"], sides["nnU-Net 2d"], split, work))
        (work / "prediction.txt").write_text(f"{format_rows(rows)}\n")
        print(format_rows(rows), flush=True)


def time_prediction(ours: Side, nnunet: Side, split: Split, work: Path) -> Iterator[Row]:
    """Rows of the seconds and the memory of both, the networks being those of equally long trainings."""
    assert isinstance(ours, Default)
    assert isinstance(nnunet, NNUNet)
    for count in VOLUMES:
        yield from predict(ours, nnunet, split, count=count, repetitions=1, folder=work / f"volumes_{count}")


def segment_and_score(side: Side, cases: Sequence[Case], domain: Domain, folder: Path) -> Iterator[dict[str, Any]]:
    """Rows of `metrics.csv` of what its command wrote, on the grids of the scans."""
    scans, output = folder / "scans", folder / "output"
    shutil.rmtree(folder, ignore_errors=True)
    scans.mkdir(parents=True)
    for case in cases:
        shutil.copy(case.image, scans / side.scan_name(case.name))
    side.segment(scans, output)
    for case in cases:
        scan = read_volume(case.image)
        found, wanted = (
            domain.encode(read_label(path, like=scan).array, source=str(path))
            for path in (output / side.result_name(case.name), str(case.label))
        )
        scores = score_case(found, wanted, domain=domain, spacing_mm=scan.spacing_mm)
        exam = {"case": case.name, "subject": case.subject, "domain": domain.name, "spacing_mm": scan.spacing_mm}
        yield from score_rows(scores, **exam, dice_as_one=dice_as_one(found, wanted))


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Dice in percent over exams, each the mean of its bones, as in the tables of experiments; and level errors."""
    job = {"method": "", "train_subjects": "", "seed": 0, "fold": 0}
    exams = exam_scores(pd.DataFrame(rows).assign(**job))
    dice = 100 * exams["dice"]
    return {
        "exams": len(exams),
        **{"mean": float(dice.mean()), "median": float(dice.median()), "worst_tenth": float(dice.quantile(0.1))},
        **{"level_errors": int(exams["level_errors"].sum()), "bones": int(exams["num_bones"].sum())},
    }


HEADER = [
    *("network", "minutes", "processor minutes", "steps", "slices or patches", "million weights"),
    *("Dice %: mean", "median", "worst tenth", "level errors"),
    *("shifted: mean", "median", "worst tenth", "level errors"),
]


def line_of(name: str, trained: Trained, scores: dict[str, dict[str, float]]) -> list[str]:
    """Of the table."""
    cells = [name, f"{trained.minutes:.1f}", f"{trained.processor_minutes:.1f}"]
    cells += [f"{trained.iterations:,}", f"{trained.seen:,}", f"{trained.parameters / 1e6:.2f}"]
    for each in scores.values():
        cells += [f"{each[key]:.1f}" for key in ("mean", "median", "worst_tenth")]
        cells.append(f"{each['level_errors']} of {each['bones']}")
    return cells


if __name__ == "__main__":
    main()
