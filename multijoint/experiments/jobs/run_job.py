"""Run one job, resumable at any moment: train, segment and score the test cases and shifted copies, embed slices."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from custom_components.errors import InputError
from custom_components.system.files import remove_stale_temporaries, write_atomically
from custom_components.system.locks import wait_for_lock

from multijoint.cluster import ProcessFailure, run_process
from multijoint.experiments.jobs.experiment import Experiment, Job, fold_setting, job_folder
from multijoint.experiments.jobs.shifts import write_copies
from multijoint.running import find_bundle


@dataclass(frozen=True)
class JobState:
    """A job is "waiting", "started" (running, or killed), "failed" or "done"; the cause of a failure is one line.

    For "waiting" the cause says what is waited for, if other parts of the job are done.
    """

    state: str
    cause: str = ""


def read_state(folder: Path, name: str, *, shifted: bool = False) -> JobState:
    """The state of a job of the experiment in `folder`; if `shifted`, it is not done without its shifted copies."""
    place = job_folder(folder, name)
    if (place / "job.json").is_file():
        record = json.loads((place / "job.json").read_text())
        if record["state"] == "done" and shifted and not record.get("shifted"):
            return JobState("waiting", "shifted copies")
        return JobState(record["state"], record["cause"])
    return JobState("started" if place.is_dir() else "waiting")


def run_job(payload: tuple[Experiment, Job], environment: dict[str, str]) -> JobState:
    """Run the steps of a job that are not done; a task of `cluster.run_tasks`.

    A job that was done without shifted copies evaluates these and is not trained again.

    The folder stays locked as long as any process works in it, including one that outlived the call that started it. A
    second call waits, and then finds the job done. The state is "done" or "failed", also for a job that was done with
    other override files. `environment` has the variables of its processes.
    """
    experiment, job = payload
    place = job_folder(experiment.folder, job.name)
    place.mkdir(parents=True, exist_ok=True)
    # The steps' processes inherit the descriptor and so hold the lock too, even after this process was killed.
    # `filelock` keeps its descriptor to itself, hence our own.
    with wait_for_lock(place / ".lock") as lock:
        configs = hashlib.sha256(b"".join(path.read_bytes() for path in job.method.configs)).hexdigest()
        record = json.loads((place / "job.json").read_text()) if (place / "job.json").is_file() else {}
        done = record.get("state") == "done"
        if done and record["configs"] != configs:
            return JobState("failed", f"override files of {job.method.name} have changed since it ran; rename them")
        if done and (record.get("shifted") or not job.shifted):
            return JobState("done")
        if not done:
            (place / "job.json").unlink(missing_ok=True)
            record = job.rows() | {
                "domains": list(job.domains),
                "limited": list(job.train_subjects),
                "embedded": bool(job.snapshots),
                "threads": experiment.threads,
                "border": yaml.safe_load((find_bundle() / "configs" / "evaluate.yaml").read_text())["border"],
                "configs": configs,
                "evaluate_seconds": 0.0,
                "shifted": False,
            }
        remove_stale_temporaries(place)  # of a process killed while it wrote
        run = partial(run_step, experiment, job, place, environment, lock.fileno())
        try:
            if not done:
                record["evaluate_seconds"] = round(_train_and_evaluate(run, job, place), 2)
                if job.shifted:  # which take long: if they are killed, the rest stays done
                    _write_record(place, record, JobState("done"))
            if job.shifted:
                _evaluate_shifted(run, experiment, job, place)
                record["shifted"] = True
            result = JobState("done")
        except (ProcessFailure, InputError, OSError) as failure:
            result = JobState("failed", " ".join(str(failure).split()))
        _write_record(place, record, result)
        return result


def _write_record(place: Path, record: Mapping[str, Any], result: JobState) -> None:
    content = {**record, "state": result.state, "cause": result.cause}
    write_atomically(place / "job.json", (json.dumps(content, indent=2) + "\n").encode())


def run_step(
    experiment: Experiment,
    job: Job,
    place: Path,
    environment: dict[str, str],
    lock: int,
    step: str,
    *extra: Path,
    log: str = "",
    **settings: Any,
) -> None:
    """Run a workflow with the settings of the job; its last configuration and its log are called `log`, or as it."""
    own = {
        "manifests": [str(path) for path in job.manifests],
        "dataset_dir": None if experiment.dataset_dir is None else str(experiment.dataset_dir),
        "fold": fold_setting(job.fold),
        "seed": job.seed,
        "snapshots": list(job.snapshots),
        "train_subjects": dict(job.train_subjects) or None,
    }
    configs = find_bundle() / "configs"
    overlays = [configs / "train.yaml", _write_yaml(place / "settings.yaml", experiment.resolved), *job.method.configs]
    last = _write_yaml(place / f"{log or step}.yaml", own | settings)
    files = [str(path) for path in (*overlays, *extra, last)]
    command = [sys.executable, "-m", "monai.bundle", "run", step, "--config_file", str(files)]
    command += ["--bundle_root", str(configs.parent)]
    run_process(command, log=place / f"{log or step}.log", environment=environment, keep_open=[lock])


def _train_and_evaluate(run: Callable[..., None], job: Job, place: Path) -> float:
    """Returns the seconds of all but the training."""
    from custom_components.models.checkpoints import RESUMABLE  # and with it PyTorch, which tables do without

    train, configs = place / "train", find_bundle() / "configs"
    trained = place / "trained"  # the training process has ended well
    if not trained.is_file():
        resume = any((train / name).is_file() for name in RESUMABLE)
        if not resume and train.exists():
            shutil.rmtree(train)  # killed before its first checkpoint
        run("training", output_dir=str(train), resume=resume)
        write_atomically(trained, b"")
    start = time.perf_counter()
    evaluation = _empty(place / "evaluation")
    run("evaluating", configs / "evaluate.yaml", output_dir=str(evaluation), checkpoint=str(train / "model.pt"))
    if job.snapshots:
        run("embedding_slices", configs / "embed.yaml", output_dir=str(evaluation), run_dir=str(train))
    return time.perf_counter() - start


def _evaluate_shifted(run: Callable[..., None], experiment: Experiment, job: Job, place: Path) -> None:
    copies = [
        copy
        for case, plane in job.shifted
        for copy in write_copies(experiment.folder / "shifted_copies", case, plane=plane)
    ]
    tested = [
        {
            "_target_": "custom_components.data.cases.as_case",
            "item": {
                **{"name": copy.name, "domain": copy.domain, "subject": copy.subject},
                **{"image": [str(file) for file in copy.images], "label": str(copy.label)},
            },
            "domain": copy.domain,
        }
        for copy in copies
    ]
    how = {"output_dir": str(_empty(place / "shifted")), "checkpoint": str(place / "train" / "model.pt")}
    run("evaluating", find_bundle() / "configs" / "evaluate.yaml", log="shifted", tested=tested, **how)


def _empty(folder: Path) -> Path:
    if folder.exists():
        shutil.rmtree(folder)
    return folder


def _write_yaml(path: Path, content: Mapping[str, Any]) -> Path:
    write_atomically(path, yaml.safe_dump(dict(content), sort_keys=False).encode())
    return path
