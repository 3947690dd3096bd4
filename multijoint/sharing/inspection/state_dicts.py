"""Contents of a file of `torch.save(state_dict)`, read from its instructions: names, types, shapes, storages.

`torch.load(weights_only=True)` executes no foreign code, but it trusts the sizes in the file. So the sizes are compared
with the bytes first, by a reader that knows only the instructions of a plain state dict.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from multijoint.sharing.inspection.pickles import PickleFault, list_globals, read_instructions

_KINDS = {8: ("Double", "Long"), 4: ("Float", "Int"), 2: ("Half", "BFloat16", "Short"), 1: ("Char", "Byte", "Bool")}
ITEM_SIZES = {f"{kind}Storage": size for size, kinds in _KINDS.items() for kind in kinds}
"""Storages of real numbers and the bytes of one number."""

_REBUILD = "torch._utils._rebuild_tensor_v2"
_ORDERED = "collections.OrderedDict"
PLAIN_GLOBALS = frozenset({_REBUILD, _ORDERED, *(f"torch.{name}" for name in ITEM_SIZES)})
"""All names that the pickle of a plain state dict may import."""

_SIZES_MOST = 2**40
_MOST_DIMENSIONS = 16
_PUSHED = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "NEWTRUE",
    "NEWFALSE", "NONE",
}  # fmt: skip
_OTHER_TENSORS = (
    "Storage", "sparse_tensor", "qtensor", "nested_tensor", "complex64", "complex128", "_sparse_coo", "_sparse_csr",
)  # fmt: skip
_CONSTANTS = {"NEWTRUE": True, "NEWFALSE": False, "NONE": None}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class StateFault(ValueError):
    """Reason why a file is no plain state dict; `kind` is "pickle", "weights" or "bomb"."""

    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class _Name:
    text: str


@dataclass(frozen=True)
class _Storage:
    kind: str
    key: str
    count: int


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as its file describes it: of a `kind` of `ITEM_SIZES`, in the record `storage` of `stored` numbers."""

    name: str
    storage: str
    kind: str
    shape: tuple[int, ...]
    stored: int


def read_state_dict(data: bytes) -> list[StoredTensor]:
    """List the tensors that the `data.pkl` of a state dict describes, executing nothing.

    Raises:
        StateFault: other calls, or anything but real tensors within their storages.
    """
    with _faults_of("is no state dict"):
        foreign = [name for name in list_globals(data) if name not in PLAIN_GLOBALS]
        if foreign:
            other_tensors = all(name.startswith("torch.") and name.endswith(_OTHER_TENSORS) for name in foreign)
            kind = "weights" if other_tensors else "pickle"
            raise StateFault(f"names {', '.join(foreign[:5])}; a plain state dict of real tensors has none", kind=kind)
        content = _Reader().read(data)
    if not isinstance(content, dict):
        raise StateFault("must hold a state dict, got another object", kind="weights")
    return [_check_entry(name, value) for name, value in content.items()]


def read_script_tensors(data: bytes) -> list[StoredTensor]:
    """List the tensors that a pickle in a TorchScript file describes, numbered; its objects are passed over.

    Raises:
        StateFault: damaged, or anything but real tensors within their storages.
    """
    reader = _ScriptReader()
    with _faults_of("no TorchScript file has"):
        reader.read(data)
    return [_check_entry(f"#{number}", value) for number, value in enumerate(reader.tensors)]


@contextlib.contextmanager
def _faults_of(what: str) -> Iterator[None]:
    """Within the block, whatever a damaged pickle raises is a `StateFault`."""
    try:
        yield
    except StateFault:
        raise
    except PickleFault as fault:
        raise StateFault(str(fault), kind="pickle") from fault
    except (IndexError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise StateFault(f"pickle that {what}: {type(error).__name__}", kind="pickle") from error


def _check_entry(name: Any, value: Any) -> StoredTensor:
    if not isinstance(name, str) or not isinstance(value, tuple) or len(value) != 4:
        raise StateFault(f"entry {name!r} must be a tensor", kind="weights")
    storage, offset, shape, strides = value
    numbers = [offset, *shape, *strides] if isinstance(shape, tuple) and isinstance(strides, tuple) else [None]
    if (
        not isinstance(storage, _Storage)
        or not _are_sizes(numbers)
        or not len(shape) == len(strides) <= _MOST_DIMENSIONS
    ):
        raise StateFault(f"tensor {name!r} has no proper sizes", kind="weights")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    count = math.prod(shape)
    if count > storage.count:
        raise StateFault(f"size bomb: tensor {name!r} has {count} numbers, its storage {storage.count}", kind="bomb")
    if count and last >= storage.count:
        raise StateFault(f"tensor {name!r} reaches beyond its storage", kind="bomb")
    return StoredTensor(name, storage.key, storage.kind, shape, storage.count)


def _are_sizes(values: Iterable[Any]) -> bool:
    return all(isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _SIZES_MOST for value in values)


class _Reader:
    """A stack machine for the few instructions of a state dict; a call makes a description, never an object.

    It mirrors the pickle machine: `stack` holds values, `marks` the places of MARK, `memory` the values of BINPUT.
    Storages become `_Storage`, tensors the first four arguments of `_rebuild_tensor_v2`: storage, offset, shape,
    strides.
    """

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memory: dict[int, Any] = {}

    def read(self, data: bytes) -> Any:
        for name, argument in read_instructions(data):
            if name == "STOP":
                return self.stack.pop()
            if name in _PUSHED:
                self.stack.append(_CONSTANTS.get(name, argument))
            elif name in _TUPLES:
                self._replace(_TUPLES[name])
            elif name in ("BINPUT", "LONG_BINPUT"):
                self.memory[argument] = self.stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                self.stack.append(self.memory[argument])
            elif name != "PROTO":
                self._step(name, argument)
        raise StateFault("pickle without an end", kind="pickle")

    def _step(self, name: str, argument: Any) -> None:
        if name == "MARK":
            self.marks.append(len(self.stack))
        elif name == "TUPLE":
            self._replace(len(self.stack) - self.marks.pop())
        elif name == "EMPTY_DICT":
            self.stack.append({})
        elif name == "GLOBAL":
            self.stack.append(_Name(argument.replace(" ", ".", 1)))
        elif name == "BINPERSID":
            word, kind, key, _, count = self.stack.pop()
            kind = kind.text.removeprefix("torch.")
            if word != "storage" or kind not in ITEM_SIZES or not isinstance(key, str) or not _are_sizes([count]):
                raise StateFault("storage without proper type and sizes", kind="weights")
            self.stack.append(_Storage(kind, key, count))
        elif name in ("SETITEM", "SETITEMS"):
            first = len(self.stack) - 2 if name == "SETITEM" else self.marks.pop()
            items = self.stack[first:]
            del self.stack[first:]
            for key, value in zip(items[::2], items[1::2], strict=True):
                if not isinstance(key, str) or key in self.stack[-1]:
                    raise StateFault("a key is no text or stands twice", kind="weights")  # its text may be the bomb
                self.stack[-1][key] = value
        elif name == "BUILD":  # the `_metadata` of an OrderedDict: versions of modules, not needed here
            self.stack.pop()
            if not isinstance(self.stack[-1], dict):  # PyTorch would lay a tensor out anew
                raise StateFault("instruction BUILD on what is no state dict", kind="pickle")
        elif name == "REDUCE":
            arguments, function = self.stack.pop(), self.stack.pop()
            if function == _Name(_ORDERED) and arguments == ():
                self.stack.append({})
            elif function == _Name(_REBUILD):
                self.stack.append(tuple(arguments[:4]))
            else:
                raise StateFault("call of what a state dict does not call", kind="pickle")
        else:
            raise StateFault(f"instruction {name} that a state dict has not", kind="pickle")

    def _replace(self, count: int) -> None:
        first = len(self.stack) - count
        self.stack[first:] = [tuple(self.stack[first:])]


class _ScriptReader(_Reader):
    """The same for the objects of a TorchScript file, of which only the tensors are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.tensors: list[Any] = []

    def _step(self, name: str, argument: Any) -> None:
        if name in ("EMPTY_LIST", "EMPTY_DICT"):
            self.stack.append(None)
        elif name in ("APPENDS", "SETITEMS"):
            del self.stack[self.marks.pop() :]
        elif name in ("NEWOBJ", "REDUCE"):
            arguments, function = self.stack.pop(), self.stack.pop()
            self.stack.append(None)
            if function == _Name(_REBUILD):
                self.tensors.append(tuple(arguments[:4]))
        elif name == "BUILD":
            self.stack.pop()
        else:
            super()._step(name, argument)
