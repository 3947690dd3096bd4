"""Collect the rows of an experiment from the folders of its jobs, in an order that does not depend on when they ran."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from custom_components.system.files import read_csv, write_arrays

from multijoint.experiments.jobs.examples import save_examples
from multijoint.experiments.jobs.experiment import job_folder
from multijoint.experiments.jobs.methods import known_methods
from multijoint.experiments.jobs.trials import FOLDER as TRIALS
from multijoint.experiments.jobs.trials import read_trial
from multijoint.experiments.rows import read_rows, write_rows

_LOSSES = ("loss", "cross_entropy", "contrastive")
_SCORE = "val_mean_dice"


def gather(folder: Path) -> None:
    """Write `cases.csv`, `slices.csv`, `jobs.csv`, `curves.csv`, `embeddings.npz` and `examples.npz` of an experiment.

    After an evaluation of shifted copies, `shifted.csv` too; after trials, `trials.csv`. A failed job has a row in
    `jobs.csv` only. Without a finished job, `jobs.csv` is the only file.
    """
    known = list(known_methods())

    def order(record: dict[str, Any]) -> tuple[Any, ...]:
        """The paper's methods in its order, then others by name; a method's jobs by seed, fold, training subjects."""
        rank = known.index(record["method"]) if record["method"] in known else len(known)
        keys = ("method", "seed", "fold", "train_subjects", "name")
        return rank, *(len(record[key]) if key == "train_subjects" else record[key] for key in keys)

    paths = (folder / "jobs").glob("*/*/job.json")
    found = [json.loads(path.read_text()) | {"name": f"{path.parts[-3]}/{path.parts[-2]}"} for path in paths]
    records = sorted(found, key=order)
    done = [record for record in records if record["state"] == "done"]
    write_rows(folder, "jobs", [_job_row(folder, record) for record in records])
    if not done:
        return
    write_rows(
        folder, "cases", [row for record in done for row in _case_rows(job_folder(folder, record["name"]), record)]
    )
    shifted = [row for record in done if record.get("shifted") for row in _shifted_rows(folder, record)]
    if shifted:
        write_rows(folder, "shifted", shifted)
    found = [read_trial(path.parent) for path in (folder / TRIALS).glob("*/*/trial.json")]
    trials = sorted(found, key=lambda record: (order(record)[0], record["seed"], record["fold"] < 0, record["name"]))
    if trials:
        rows = [row for record in trials for row in _case_rows(folder / TRIALS / record["name"], record)]
        write_rows(folder, "trials", rows)
    slices = [
        _keys(record) | row
        for record in done
        for row in _tested(job_folder(folder, record["name"]), record, "slices.csv")
    ]
    write_rows(folder, "slices", slices)
    write_rows(folder, "curves", [row for record in done for row in _curve_rows(folder, record)])
    _save_embeddings(folder, [record for record in done if record["embedded"]])
    save_examples(folder, read_rows(folder, "cases"))


def _keys(record: dict[str, Any]) -> dict[str, Any]:
    return {key: record[key] for key in ("method", "seed", "fold", "train_subjects")}


def _tested(place: Path, record: dict[str, Any], name: str, part: str = "evaluation") -> list[dict[str, str]]:
    """Rows of an evaluation of a job, or trial, in its folder; of a job limited to few subjects, its domain's only."""
    rows = read_csv(place / part / name)
    return [row for row in rows if not record["limited"] or row["domain"] in record["limited"]]


def _case_rows(place: Path, record: dict[str, Any], part: str = "evaluation") -> Iterator[dict[str, Any]]:
    numbers = ("dice", "assd_mm", "mssd_mm", "status", "taken_for", "dice_as_one")  # earlier versions lack the last two
    before = {
        (row["domain"], row["case"], row["label"]): {f"{name}_before": row.get(name) for name in numbers}
        for row in _tested(place, record, "metrics_before.csv", part)
    }
    for row in _tested(place, record, "metrics.csv", part):
        yield _keys(record) | row | before[row["domain"], row["case"], row["label"]]


def _shifted_rows(folder: Path, record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for row in _case_rows(job_folder(folder, record["name"]), record, part="shifted"):
        case, _, shift = row["case"].rpartition("_")  # the name of a copy, see `shifts.write_copies`
        yield row | {"case": case, "shift": shift}


def _curve_rows(folder: Path, record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    keys = _keys(record) | {"domains": "+".join(record["domains"])}
    for row in read_csv(job_folder(folder, record["name"]) / "train" / "log.csv"):
        values = [(name, "", row.get(name)) for name in _LOSSES]
        values += [("validation_dice", "", row.get(_SCORE))]
        values += [("validation_dice", domain, row.get(f"{_SCORE}_{domain}")) for domain in record["domains"]]
        for quantity, domain, value in values:
            if value:
                yield keys | {"epoch": row["epoch"], "quantity": quantity, "domain": domain, "value": value}


def _job_row(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
    train = job_folder(folder, record["name"]) / "train"
    row = record | {"domains": "+".join(record["domains"])}
    if (train / "run.json").is_file():
        run = json.loads((train / "run.json").read_text())
        names = {"device": "device", "parameters": "weights", "parameters_per_domain": "weights_per_domain"}
        row |= {column: run[name] for column, name in names.items()}
    if (train / "log.csv").is_file():
        row |= _log_summary(read_csv(train / "log.csv"))
    return row


def _log_summary(log: Sequence[dict[str, str]]) -> dict[str, Any]:
    import pandas as pd

    names = ["epoch", "steps", "epoch_seconds", "seconds", "slices_per_second", "peak_memory_mib", _SCORE]
    # pandas reads an empty text as a missing number, but not the text "nan".
    table = pd.DataFrame(log).reindex(columns=names).replace("nan", "").apply(pd.to_numeric).set_index("epoch")
    total, scores = table.sum(), table[_SCORE].dropna()
    slices = (table["slices_per_second"] * table["seconds"]).sum()
    return {
        "epochs": len(log),
        "steps": round(total["steps"]),
        "train_seconds": round(total["epoch_seconds"], 2),
        "slices_per_second": round(slices / max(total["seconds"], 1e-9), 1),
        "peak_memory_mib": table["peak_memory_mib"].max(),
        "best_epoch": scores.idxmax() if len(scores) else "",
        "validation_dice": scores.max(),
    }


def _save_embeddings(folder: Path, records: Sequence[dict[str, Any]]) -> None:
    """Write the embeddings of all methods that trained on several data sets, for the first seed and fold with any."""
    first = min(((record["seed"], record["fold"]) for record in records), default=None)
    arrays: dict[str, np.ndarray] = {}
    meta: dict[str, Any] = {"methods": [], "epochs": {}}
    for record in records:
        if (record["seed"], record["fold"]) != first:
            continue
        method = record["method"]
        with np.load(job_folder(folder, record["name"]) / "evaluation" / "embeddings.npz") as found:
            epochs = found["epochs"].tolist()
            meta |= {"domains": found["domains"].tolist(), "seed": record["seed"], "fold": record["fold"]}
            meta["methods"].append(method)
            meta["epochs"][method] = epochs
            arrays |= {f"{method}/{name}": found[name] for name in found.files if name not in ("domains", "epochs")}
    if meta["methods"]:
        write_arrays(folder / "embeddings.npz", {"meta": json.dumps(meta), **arrays})
