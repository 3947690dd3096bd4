"""Foreign weights and TorchScript files, inspected as data."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import torch

from multijoint.sharing.inspection.archives import Limits, check_members, open_plain
from multijoint.sharing.inspection.pickles import PickleFault, list_globals
from multijoint.sharing.inspection.report import Concern
from multijoint.sharing.inspection.script_checks import check_script
from multijoint.sharing.inspection.state_dicts import (
    ITEM_SIZES,
    PLAIN_GLOBALS,
    StateFault,
    StoredTensor,
    read_script_tensors,
    read_state_dict,
)
from multijoint.sharing.inspection.zip_members import Member, ZipFault, read_data, read_members

_STATE_RECORD = re.compile(
    r"data\.pkl|\.format_version|\.storage_alignment|byteorder|version|\.data/serialization_id|data/\d+"
)
_SCRIPT_RECORD = re.compile(
    r"(data|constants|traced_inputs)(\.pkl|/\d+)|byteorder|version|\.format_version|\.storage_alignment"
    r"|\.data/serialization_id|code/__torch__(/\w+)*\.py(\.debug_pkl)?|extra/[\w.-]+"
)
_SCRIPT_GLOBAL = re.compile(r"__torch__\.(?!torch\.classes\.)[\w.]+|torch\.jit\._pickle\.\w+|torch\.device")
MOST_BYTES = 2 * 2**30
_MOST_TEXT = 4 * 2**20
_CHUNK = 2**22


def check_weights(path: Path, *, name: str) -> tuple[list[StoredTensor], list[Concern]]:
    """List the tensors of a `model.pt`, and concerns about the file; it is loaded once its sizes are proven."""
    try:
        with open_plain(path) as file:
            if file.seek(0, 2) > MOST_BYTES:
                raise StateFault(f"size bomb: over {MOST_BYTES} bytes", kind="bomb")
            records = _records(file)
            unknown = [record for record in records if not _STATE_RECORD.fullmatch(record)]
            if unknown:
                raise StateFault(f"unknown member {unknown[0]!r} in a file of weights", kind="pickle")
            if any(member.method for member in records.values()):
                raise StateFault("compressed members, which torch.save never writes", kind="pickle")
            if "data.pkl" not in records:
                raise StateFault("no data.pkl: not a file of weights", kind="pickle")
            tensors = read_state_dict(_content(file, records["data.pkl"]))
            if "byteorder" in records and _content(file, records["byteorder"]) != b"little":
                raise StateFault("numbers must be stored little-endian", kind="weights")
            _compare_sizes(tensors, records)
            for record in records.values():  # checksums
                for _ in read_data(file, record, most=MOST_BYTES):
                    pass
        _load(path, tensors)
    except StateFault as fault:
        return [], [Concern("unsafe", fault.kind, name, str(fault))]
    except ZipFault as fault:
        message = f"not a zip file of torch.save that can be read in one way only: {fault}"
        return [], [Concern("unsafe", "bomb" if "size" in str(fault) else "pickle", name, message)]
    return tensors, []


def check_torchscript(path: Path, *, name: str) -> Iterator[Concern]:
    """Concerns about a TorchScript file, read as a zip file; `torch.jit.load` is never called."""
    try:
        with open_plain(path) as file:
            records = _records(file)
            code: dict[str, bytes] = {}
            for record, member in records.items():
                if not _SCRIPT_RECORD.fullmatch(record):
                    yield Concern("unsafe", "torchscript", name, f"unknown member {record!r}")
                elif record.endswith(".py"):
                    code[record] = _content(file, member)
                elif record.endswith("pkl"):
                    yield from _check_script_pickle(_content(file, member), record, records, name)
                else:
                    for _ in read_data(file, member, most=MOST_BYTES):
                        pass
        for record, fault in check_script(code):
            kind = "bomb" if fault.startswith("size bomb") else "torchscript"
            yield Concern("unsafe", kind, name, f"{record} {fault}")
    except PickleFault as fault:
        yield Concern("unsafe", "pickle", name, str(fault))
    except StateFault as fault:
        yield Concern("unsafe", fault.kind, name, str(fault))
    except ZipFault as fault:
        yield Concern("unsafe", "torchscript", name, f"not a zip file that can be read in one way only: {fault}")
    message = "TorchScript is a program of listed operators: its results are whatever its maker chose"
    yield Concern("note", "torchscript", name, message)


def _check_script_pickle(data: bytes, record: str, records: dict[str, Member], name: str) -> Iterator[Concern]:
    foreign = [each for each in list_globals(data) if each not in PLAIN_GLOBALS and not _SCRIPT_GLOBAL.fullmatch(each)]
    if foreign:
        yield Concern("unsafe", "pickle", name, f"{record} names {', '.join(foreign[:5])}")
    elif record in ("data.pkl", "constants.pkl"):  # inputs of a trace are kept without their numbers
        _compare_sizes(read_script_tensors(data), records, folder=record.removesuffix(".pkl"))


def script_configs(path: Path) -> dict[str, bytes]:
    """Files inside a TorchScript file, by their names there; none if it cannot be read."""
    try:
        with open_plain(path) as file:
            found = {record: member for record, member in _records(file).items() if record.startswith("extra/")}
            return {record: _content(file, member) for record, member in found.items()}
    except ZipFault:
        return {}


def _records(file: BinaryIO) -> dict[str, Member]:
    """Members by their names below the root folder, under the rules for names of any archive."""
    found: dict[str, Member] = {}
    members = read_members(file)
    for name, problem in check_members(members, Limits()):
        raise ZipFault(f"{problem}: {name!r}")
    for member in members:
        root, _, record = member.name.partition("/")
        if root != members[0].name.partition("/")[0] or not record or member.is_folder:
            raise ZipFault(f"member outside the root folder: {member.name!r}")
        found[record] = member
    return found


def _content(file: BinaryIO, member: Member) -> bytes:
    return b"".join(read_data(file, member, most=_MOST_TEXT))


def _compare_sizes(tensors: list[StoredTensor], records: dict[str, Member], *, folder: str = "data") -> None:
    total = 0
    for tensor in tensors:
        member = records.get(f"{folder}/{tensor.storage}")
        needed = tensor.stored * ITEM_SIZES[tensor.kind]
        if member is None or member.size != needed:
            found = "none" if member is None else f"{member.size} bytes"
            message = f"size lie: tensor {tensor.name!r} needs a storage of {needed} bytes, got {found}"
            raise StateFault(message, kind="bomb")
        total += math.prod(tensor.shape) * ITEM_SIZES[tensor.kind]
    held = sum(member.size for record, member in records.items() if record.startswith(f"{folder}/"))
    if total > 2 * held:
        raise StateFault(f"size bomb: tensors of {total} bytes share storages of {held}", kind="bomb")


def _load(path: Path, tensors: list[StoredTensor]) -> None:
    """Load the weights as PyTorch will, and look at every number."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # errors of torch, pickle or the system
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StateFault(f"PyTorch cannot load it with weights_only: {reason}", kind="weights") from error
    for tensor in tensors:
        found = content.get(tensor.name)
        if not isinstance(found, torch.Tensor) or tuple(found.shape) != tensor.shape or found.is_sparse:
            raise StateFault(f"tensor {tensor.name!r} is not what the file describes", kind="weights")
        if find_infinite(found):
            raise StateFault(f"tensor {tensor.name!r} must be finite, got NaN or infinity", kind="weights")


def find_infinite(tensor: torch.Tensor) -> bool:
    """Whether a number of a tensor is NaN or infinite; takes memory for some millions of them at a time."""
    pieces = tensor.reshape(-1).split(_CHUNK) if tensor.is_floating_point() else ()
    return not all(bool(piece.isfinite().all()) for piece in pieces)
