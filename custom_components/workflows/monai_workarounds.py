"""Workarounds for MONAI 1.6 and ignite 0.5: for each its behaviour, the reason to mind, and the upstream thread.

The rest of the project uses MONAI as documented. When a behaviour changes upstream, its function here goes.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import monai.utils
from custom_components.errors import InputError, find_cause
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle.utils import ID_SEP_KEY

if TYPE_CHECKING:
    from monai.handlers import MLFlowHandler

OWN_FOLDER = (
    "$next((str(frame.frame.f_locals['self'].config_root_path.resolve().parent) for frame in inspect.stack(0) "
    "if 'config_root_path' in getattr(frame.frame.f_locals.get('self'), '__dict__', ())), '.')"
)
"""Expression for the `bundle_root` of a packaged bundle: the folder in which the configuration lies.

Behaviour: `bundle_root` is never inferred, and `monai.bundle.load` cannot be given one. The workflow knows the path of
its configuration, so the expression looks for it on the stack. It cannot call a component: the bundle's own code is
importable only once `bundle_root` is known.
Upstream: https://github.com/Project-MONAI/model-zoo/issues/103 (paths are left to the user of a bundle).
"""


def active_parser() -> ConfigParser | None:
    """The parser of the configuration whose evaluation called us; None outside of one.

    Behaviour: a component has no way to ask for the parser that makes it. A run must record its settings and refuse
    those that nothing uses, so the parser is looked for on the stack.
    Upstream: https://github.com/Project-MONAI/MONAI/pull/3822 (design of `ConfigParser`).
    """
    return next((owner for owner in _callers() if isinstance(owner, ConfigParser)), None)


def active_config() -> dict[str, Any]:
    """The configuration, overrides included, of `active_parser`; empty outside of one."""
    parser = active_parser()
    return {} if parser is None else dict(parser.get())


def read_yaml_words() -> None:
    """Let `null`, `true` and `false` on the command line mean what they mean in a configuration.

    Behaviour: fire, by which MONAI reads the command line, knows Python's literals only. These three words stay text,
    and as text "false" counts as true.
    Upstream: https://github.com/google/python-fire/issues/461.
    """
    parser = active_parser()
    if parser is None:
        return
    words = {"null": None, "true": True, "false": False}
    for name, item in parser.ref_resolver.items.items():
        value = item.get_config()
        if isinstance(value, str) and value in words:
            # Not `parser[name] = ...`, which would forget what has been evaluated already, ourselves among it.
            item.update_config(words[value])
            parser.ref_resolver.resolved_content.pop(name, None)
            *parents, last = name.split(ID_SEP_KEY)
            owner = parser.get(ID_SEP_KEY.join(parents)) if parents else parser.get()
            owner[int(last) if isinstance(owner, list) else last] = words[value]


def name_empty_run() -> None:
    """Let a workflow that is asked for the run "" do `run`.

    Behaviour: MONAI takes an empty run id for the whole configuration, and evaluates all of it. 3D Slicer and MONAI
    Label ask for trainings so.
    Upstream: https://github.com/Project-MONAI/MONAI/pull/5822 (`run_id` of `ConfigWorkflow`).
    """
    for owner in _callers():
        if isinstance(owner, ConfigWorkflow) and owner.run_id == "":
            owner.run_id = "run"


def _callers() -> Iterator[Any]:
    """Objects whose methods called us, nearest first."""
    frame = inspect.currentframe()
    while frame is not None:
        yield frame.f_locals.get("self")
        frame = frame.f_back


@contextlib.contextmanager
def raise_own_errors() -> Iterator[None]:
    """Within the block, raise the `InputError` or `OSError` that is behind a `RuntimeError` of MONAI's.

    Behaviour: whatever a component or an expression raises comes out wrapped, once for each level of the configuration.
    Upstream: https://github.com/Project-MONAI/MONAI/issues/6976.
    """
    try:
        yield
    except RuntimeError as error:
        raise (find_cause(error, InputError, OSError) or error) from None


def hide_settings() -> None:
    """Keep MONAI from logging the settings of a run.

    Behaviour: `monai.bundle run` logs all overrides, among them paths of scans, which may hold names of patients.
    Upstream: https://github.com/Project-MONAI/MONAI/issues/7513.
    """
    logging.getLogger("monai.bundle.scripts").setLevel(logging.WARNING)


def keep_tracking_in_its_folder() -> None:
    """Let `--tracking mlflow` write `mlruns.db` into the run's folder, whatever its name.

    Behaviour: MONAI percent-encodes the path of the database, and SQLAlchemy takes it as it is: for `a run` or `Müller`
    MLflow fills a new folder called `a%20run` or `M%C3%BCller`. A path with `?` or `#` is left to MONAI.
    Upstream: https://github.com/Project-MONAI/MONAI/pull/9032 (which began to encode).
    """
    encode = inspect.unwrap(monai.utils.path_to_sqlite_uri)

    @functools.wraps(encode)
    def plain(path: Any) -> str:
        return encode(path) if set("?#") & set(str(path)) else f"sqlite:///{Path(path).absolute().as_posix()}"

    monai.utils.path_to_sqlite_uri = plain


def hide_missing_log_file() -> None:
    """Keep MONAI from warning about a workflow without a logging file.

    Behaviour: `logging_file=False` is the documented way to leave logging to the caller, and still warns.
    Upstream: https://github.com/Project-MONAI/MONAI/pull/7745.
    """
    logging.getLogger("monai.bundle.workflows").addFilter(_has_log_file)


def hide_engine_errors() -> None:
    """Keep engines from logging the error that ends them.

    Behaviour: ignite logs the error, twice and with its paths, and raises it as well.
    Upstream: https://github.com/pytorch/ignite/issues/3476 (what an engine does on an exception).
    """
    for name in ("SupervisedTrainer", "SupervisedEvaluator", "VolumeEvaluator", "Trainer", "Evaluator", "Engine"):
        logging.getLogger(f"ignite.engine.engine.{name}").addFilter(_is_no_exception)


def hide_engine_progress() -> None:
    """Keep engines from logging where they are.

    Behaviour: ignite calls every run of MONAI's engines resumed ("resuming from iteration 0"), since MONAI tells them
    the epochs beforehand, and notes the end of each epoch of trainer and evaluator beside our own line.
    Upstream: https://github.com/pytorch/ignite/issues/2669 (what counts as resuming).
    """
    logging.getLogger("ignite").setLevel(logging.WARNING)


def _has_log_file(record: logging.LogRecord) -> bool:
    return "skipping logging" not in record.getMessage()


def _is_no_exception(record: logging.LogRecord) -> bool:
    return "is terminating due to exception" not in str(record.msg)


def as_list(engine: Engine) -> None:
    """Handler of an iteration: put its output into a list, unless it is one.

    Behaviour: MONAI's handlers take the first item of a list, but with `decollate: false` the output is a dictionary.
    Decollating would cut each batch of a training into items that nothing needs.
    Upstream: https://github.com/Project-MONAI/MONAI/issues/2571.
    """
    if not isinstance(engine.state.output, list):
        engine.state.output = [engine.state.output]


def find_mlflow_handlers(engine: Engine) -> list[MLFlowHandler]:
    """The MLflow handlers of an engine that have begun a run.

    Behaviour: `--tracking mlflow` adds a handler to the configuration, and neither MONAI nor ignite has a public way to
    find it; pictures of a training go where its curves go.
    Upstream: https://github.com/Project-MONAI/MONAI/pull/5822 (`tracking` of `ConfigWorkflow`).
    """
    from monai.handlers import MLFlowHandler  # here: it imports MLflow, which takes seconds

    functions = [entry[0] for entry in engine._event_handlers[Events.STARTED]]
    owners = [getattr(function, "__self__", None) for function in functions]
    return [owner for owner in owners if isinstance(owner, MLFlowHandler) and owner.cur_run is not None]
