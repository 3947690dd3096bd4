"""Processes and tasks; that Ray gives what this machine gives stands in test_experiment_running.py."""

import os
import sys
import threading
import time
from pathlib import Path

import pytest
from custom_components.errors import InputError

from multijoint.cluster import ProcessFailure, Resources, describe_exit, processes, room_here, run_process, run_tasks


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_output_goes_to_the_log_and_variables_to_the_process(tmp_path: Path) -> None:
    log = tmp_path / "deep" / "job.log"
    for number in "12":
        run_process(python("import os; print('job', os.environ['JOB'])"), log=log, environment={"JOB": number})
    assert log.read_text() == "job 1\njob 2\n"


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("import sys; sys.exit('epoch 1\\nerror: fold must be 0..2, got 7\\nbye')", "fold must be 0..2, got 7"),
        ("raise ValueError('no such bone')", "ValueError: no such bone"),
        ("import os; os.kill(os.getpid(), 9)", r"killed by SIGKILL \(out of memory\?\)"),
        ("import os; os.kill(os.getpid(), 15)", "stopped by SIGTERM"),
        ("print('stopped by SIGTERM in epoch 3'); raise SystemExit(143)", "stopped by SIGTERM"),
        ("raise SystemExit(3)", "exit code 3, nothing printed"),
    ],
)
def test_failure_is_one_line(code: str, cause: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("error: of an earlier run\n")
    with pytest.raises(ProcessFailure, match=f"^{cause}$"):
        run_process(python(code), log=tmp_path / "log", environment={})


def test_a_long_log_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_LOG_BYTES", 10)
    for text in ("eleven bytes", "short", "more"):
        run_process(python(f"print({text!r})"), log=tmp_path / "job.log", environment={})
    assert (tmp_path / "job.log").read_text() == "short\nmore\n"
    assert (tmp_path / "job.log.1").read_text() == "eleven bytes\n"


def test_last_stated_error_counts() -> None:
    assert describe_exit(1, "error: one\nerror: two\nmonai.Error: three") == "two"


def test_stopping_ends_what_runs_and_lets_nothing_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_stopping", threading.Event())
    failures: list[str] = []

    def work() -> None:
        try:
            run_process(python("import time; print(1, flush=True); time.sleep(60)"), log=tmp_path / "a", environment={})
        except ProcessFailure as failure:
            failures.append(str(failure))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while not ((tmp_path / "a").is_file() and (tmp_path / "a").read_text()):
        time.sleep(0.01)
    processes.stop_processes()
    thread.join(timeout=30)
    assert failures == ["stopped by SIGTERM"]
    with pytest.raises(ProcessFailure, match="before it began"):
        run_process(python("pass"), log=tmp_path / "b", environment={})


def test_tasks_give_results_and_exceptions_and_never_more_at_once_than_allowed() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def task(payload: int, environment: dict[str, str]) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1
        if payload == 3:
            raise RuntimeError("three")
        return payload * int(environment["OMP_NUM_THREADS"])

    results = dict(run_tasks(task, range(8), resources=Resources(threads=1, gpu=False, at_once=2)))
    assert most <= min(2, len(os.sched_getaffinity(0)))
    assert isinstance(results.pop(3), RuntimeError)
    assert results == {index: index for index in range(8) if index != 3}


def test_threads_of_a_task_sleep_where_they_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert Resources(threads=2).environment() == {
        "OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE",
    }  # fmt: skip
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert Resources().environment()["OMP_WAIT_POLICY"] == "ACTIVE"


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"engine": "slurm"}, "engine must be one of local, ray, got 'slurm'"),
        ({"resources": Resources(threads=10_000, gpu=False)}, "threads and workers must be at most"),
        ({"address": "host:1"}, "add --engine ray"),
    ],
)
def test_what_cannot_be_run_is_named(how: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(run_tasks(lambda payload, environment: payload, [1], **{"resources": Resources(), **how}))


@pytest.mark.parametrize("numbers", [{"threads": 0}, {"at_once": 0}])
def test_resources_are_at_least_one(numbers: dict) -> None:
    with pytest.raises(InputError, match="must be 1 or more"):
        Resources(**numbers)


def test_workers_of_a_task_count_as_processors() -> None:
    here = len(os.sched_getaffinity(0))
    assert room_here(Resources(gpu=False)) == here
    assert room_here(Resources(workers=here - 1, gpu=False)) == 1
    with pytest.raises(InputError, match="lower them"):
        room_here(Resources(workers=here, gpu=False))
