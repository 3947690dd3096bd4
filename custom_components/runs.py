"""A run: its settings checked, and everything that made it written down before it starts."""

from __future__ import annotations

import difflib
import inspect
import json
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
import yaml
from monai.bundle import ConfigParser
from monai.bundle.properties import InferProperties, TrainProperties
from monai.utils import set_determinism

from custom_components.checkpoints import TrainedModel
from custom_components.distributed import check_joined, first_rank_only, num_ranks, own_gpu, wait_to_report
from custom_components.domains import Domain
from custom_components.errors import InputError, find_cause
from custom_components.files import write_atomically
from custom_components.networks import MultiDomainUNet, count_parameters
from custom_components.preprocessing import Preprocessing
from custom_components.splits import Split, describe

__all__ = ["TrainingRun", "begin", "check_settings", "select_device"]

_logger = logging.getLogger(__name__)

_PACKAGES = ("monai", "torch", "numpy", "scipy", "nibabel", "pytorch-ignite", "scikit-image")
_WORKFLOW_KEYS = {"imports", "initialize", "run", "finalize", "_meta_"}
_WORKFLOW_KEYS |= {"training", "evaluating", "inference", "embedding_slices"}


def begin(*, seed: int | None = None) -> None:
    """First step of every workflow, named in a configuration's `initialize`.

    Refuses settings that nothing uses (a misspelt override), prints an `InputError` or `OSError` as one line instead of
    a traceback (unless MULTIJOINT_DEBUG is set), and makes the run deterministic.

    Args:
        seed: for the weights' initial values and everything random; `None` leaves the generators alone.
    """
    if not os.environ.get("MULTIJOINT_DEBUG"):
        _print_errors_plainly()
    check_settings(_active_config())
    if seed is not None:
        set_determinism(seed=seed)


def check_settings(config: Mapping[str, Any]) -> None:
    """Refuse a top-level setting that nothing in the configuration refers to.

    MONAI accepts any name on the command line, so a misspelt one would silently change nothing.

    Raises:
        InputError: naming the setting and the nearest known ones.

    Example:
        >>> try:
        ...     check_settings({"max_epochs": 3, "max_epoch": 5, "run": "$print(@max_epochs)"})
        ... except InputError as error:
        ...     print(error)
        setting max_epoch must be one that the configuration uses; did you mean max_epochs?
    """
    used = {name for text in _strings(config) for name in re.findall(r"[@%]([A-Za-z_]\w*)", text)}
    # What MONAI itself asks a bundle for by name ("train::trainer": the part before the separator).
    asked = {
        str(entry["id"]).split("::")[0] for table in (TrainProperties, InferProperties) for entry in table.values()
    }
    known = used | asked | _WORKFLOW_KEYS
    for name in config:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known & set(config)), n=2)
            hint = (
                f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(sorted(used & set(config)))}"
            )
            raise InputError(f"setting {name} must be one that the configuration uses; {hint}")


def select_device(name: str | torch.device = "auto") -> torch.device:
    """The device called `name`; "auto" is the first GPU, or the CPU where there is none.

    A process that trains with others has a GPU of its own, for "auto" and "cuda".

    Raises:
        InputError: no such device here.
    """
    own = own_gpu()
    if own is not None and str(name) in ("auto", "cuda"):
        return own
    if str(name) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device must be one of this machine's, got {name} ({reason}); use auto or cpu") from error
    return device


class TrainingRun:
    """Everything that made a run, in its folder: `config.yaml`, `split.json`, `run.json`.

    Args:
        output_dir: the run's folder.
        domains: the domains trained on, in the order of the network.
        split: who trains, validates and tests.
        network: the network to train.
        preprocessing: settings shared with inference.
        device: where it trains.
        seed: of the run.
        resume: continue the run that is in the folder instead of refusing to overwrite it.
    """

    def __init__(
        self,
        output_dir: str | Path,
        *,
        domains: Sequence[Domain],
        split: Split,
        network: MultiDomainUNet,
        preprocessing: Preprocessing,
        device: str | torch.device = "cpu",
        seed: int = 0,
        resume: bool = False,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.domains = tuple(domains)
        self.split = split
        self.network = network
        self.preprocessing = preprocessing
        self.device = select_device(device)
        self.seed = seed
        self.resume = resume

    @first_rank_only
    def start(self) -> None:
        """Write the run's record and print its split; of several processes only the first does.

        Raises:
            InputError: the image size does not suit the network, the folder holds a run already and `resume` is false,
                or there is nothing to resume.
        """
        check_joined()
        rows, columns = self.preprocessing.image_size
        factor = self.network.size_factor
        if rows % factor or columns % factor:
            raise InputError(
                f"image_size must be multiples of {factor} for {len(self.network.settings()['widths'])} widths, "
                f"got {[rows, columns]}; round it"
            )
        last, best = self.output_dir / "last.pt", self.output_dir / "model.pt"
        if self.resume and not last.is_file():
            raise InputError(f"resume needs {last}, got no such file; start without it")
        if not self.resume and (last.exists() or best.exists()):
            raise InputError(
                f"output_dir must not hold another run, got {self.output_dir} with a model in it; "
                "choose another folder, or continue with --resume true"
            )
        self.output_dir.mkdir(parents=True, exist_ok=True)
        total, own = count_parameters(self.network)
        config = {key: value for key, value in _active_config().items() if key != "_meta_"}
        self._write("config.yaml", yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True))
        self._write("split.json", json.dumps(self.split.to_dict(), indent=2))
        self._write("run.json", json.dumps(self._record() | {"weights": total, "weights_per_domain": own}, indent=2))
        _logger.info("split (fold %s):\n%s", self.split.fold, describe(self.split))
        _logger.info(
            "%.2f M weights, %d of them (%.2f %%) for each domain alone; %s",
            total / 1e6,
            own,
            100 * own / total,
            self.device,
        )

    def model(self, *, epoch: int, validation_dice: float | None) -> TrainedModel:
        """The network as it is now, with all that must travel with it."""
        training = self._record() | {"epoch": epoch, "validation_dice": validation_dice, "split": self.split.to_dict()}
        weights = {name: tensor.detach().cpu() for name, tensor in self.network.state_dict().items()}
        return TrainedModel(self.domains, self.preprocessing, self.network.settings(), weights, training)

    def _record(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "device": _describe(self.device),
            "processes": num_ranks(),
            "domains": [domain.to_dict() for domain in self.domains],
            "versions": {"python": sys.version.split()[0], **{name: version(name) for name in _PACKAGES}},
        }

    def _write(self, name: str, text: str) -> None:
        write_atomically(self.output_dir / name, (text.rstrip() + "\n").encode())


def _describe(device: torch.device) -> str:
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def _active_config() -> dict[str, Any]:
    """The configuration, overrides included, whose evaluation called us.

    MONAI 1.6 gives components no handle to their parser, so ask the call stack for it.
    """
    frame = inspect.currentframe()
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, ConfigParser):
            return dict(owner.get())
        frame = frame.f_back
    return {}


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for child in value.values():
            yield from _strings(child)
    elif isinstance(value, Sequence):
        for child in value:
            yield from _strings(child)


def _plain(value: Any) -> Any:
    """What YAML can hold: other objects as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(child) for child in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _print_errors_plainly() -> None:
    if sys.excepthook is not sys.__excepthook__:
        return

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        cause = find_cause(error, InputError, OSError)
        wait_to_report(explained=cause is not None)
        if cause is None:
            sys.__excepthook__(kind, error, trace)
        else:
            sys.stderr.write(f"error: {cause}\n")

    sys.excepthook = hook
