"""Run one job, resumable at any moment: train, segment and score the test cases, embed slices."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from custom_components.models.checkpoints import RESUMABLE
from custom_components.system.files import remove_stale_temporaries, write_atomically

from multijoint.cluster import ProcessFailure, run_process
from multijoint.experiments.jobs.experiment import Experiment, Job, job_folder
from multijoint.running import find_bundle


@dataclass(frozen=True)
class JobState:
    """A job is "waiting", "started" (running, or killed), "failed" or "done"; the cause of a failure is one line."""

    state: str
    cause: str = ""


def read_state(folder: Path, name: str) -> JobState:
    """The state of a job of the experiment in `folder`."""
    place = job_folder(folder, name)
    if (place / "job.json").is_file():
        record = json.loads((place / "job.json").read_text())
        return JobState(record["state"], record["cause"])
    return JobState("started" if place.is_dir() else "waiting")


def run_job(payload: tuple[Experiment, Job], environment: dict[str, str]) -> JobState:
    """Run the steps of a job that are not done; a task of `cluster.run_tasks`.

    The folder stays locked as long as any process works in it, including one that outlived the call that started it. A
    second call waits, and then finds the job done. The state is "done" or "failed", also for a job that was done with
    other override files. `environment` has the variables of its processes.
    """
    experiment, job = payload
    place = job_folder(experiment.folder, job.name)
    place.mkdir(parents=True, exist_ok=True)
    with (place / ".lock").open("w") as lock:
        # The steps' processes inherit the descriptor and so hold the lock too, even after this process was killed.
        # `filelock` keeps its descriptor to itself, hence `flock`.
        fcntl.flock(lock, fcntl.LOCK_EX)
        configs = hashlib.sha256(b"".join(path.read_bytes() for path in job.method.configs)).hexdigest()
        if read_state(experiment.folder, job.name).state == "done":
            if json.loads((place / "job.json").read_text())["configs"] == configs:
                return JobState("done")
            return JobState("failed", f"override files of {job.method.name} have changed since it ran; rename them")
        (place / "job.json").unlink(missing_ok=True)
        remove_stale_temporaries(place)  # of a process killed while it wrote
        try:
            seconds = _run_steps(experiment, job, place, environment, lock.fileno())
            result = JobState("done")
        except ProcessFailure as failure:
            seconds, result = 0.0, JobState("failed", str(failure))
        record = {
            **job.rows(),
            "domains": list(job.domains),
            "limited": list(job.train_subjects),
            "embedded": bool(job.snapshots),
            "threads": experiment.threads,
            "border": yaml.safe_load((find_bundle() / "configs" / "evaluate.yaml").read_text())["border"],
            "configs": configs,
            "evaluate_seconds": round(seconds, 2),
            "state": result.state,
            "cause": result.cause,
        }
        write_atomically(place / "job.json", (json.dumps(record, indent=2) + "\n").encode())
        return result


def _run_steps(experiment: Experiment, job: Job, place: Path, environment: dict[str, str], lock: int) -> float:
    train, evaluation = place / "train", place / "evaluation"
    own = {
        "manifests": [str(path) for path in job.manifests],
        "dataset_dir": None if experiment.dataset_dir is None else str(experiment.dataset_dir),
        "fold": job.fold,
        "seed": job.seed,
        "snapshots": list(job.snapshots),
        "train_subjects": dict(job.train_subjects) or None,
    }
    configs = find_bundle() / "configs"
    overlays = [configs / "train.yaml", _write_yaml(place / "settings.yaml", experiment.settings), *job.method.configs]

    def run(step: str, *extra: Path, **settings: Any) -> None:
        last = _write_yaml(place / f"{step}.yaml", own | settings)
        files = [str(path) for path in (*overlays, *extra, last)]
        command = [sys.executable, "-m", "monai.bundle", "run", step, "--config_file", str(files)]
        command += ["--bundle_root", str(configs.parent)]
        run_process(command, log=place / f"{step}.log", environment=environment, keep_open=[lock])

    trained = place / "trained"  # the training process has ended well
    if not trained.is_file():
        resume = any((train / name).is_file() for name in RESUMABLE)
        if not resume and train.exists():
            shutil.rmtree(train)  # killed before its first checkpoint
        run("training", output_dir=str(train), resume=resume)
        write_atomically(trained, b"")
    start = time.perf_counter()
    if evaluation.exists():
        shutil.rmtree(evaluation)
    run("evaluating", configs / "evaluate.yaml", output_dir=str(evaluation), checkpoint=str(train / "model.pt"))
    if job.snapshots:
        run("embedding_slices", configs / "embed.yaml", output_dir=str(evaluation), run_dir=str(train))
    return time.perf_counter() - start


def _write_yaml(path: Path, content: Mapping[str, Any]) -> Path:
    write_atomically(path, yaml.safe_dump(dict(content), sort_keys=False).encode())
    return path
