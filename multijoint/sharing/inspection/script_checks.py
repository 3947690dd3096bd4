"""Code of a foreign TorchScript file: all that it names must be its own or on the list of `script_names`.

TorchScript writes its code in a small part of Python's grammar, so Python's parser reads it; nothing of it is compiled
or run. PyTorch takes `torch.save`, `ops.aten.save`, `x.save` and `getattr(x, "save")` for the same operator, called at
once or under another name, so every dotted name is held against the list, wherever it stands.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator, Mapping

import torch

from multijoint.sharing.inspection.script_names import ASKED, NAMES, OPERATORS, PRIMITIVES

_MOST_NUMBERS = 2**32  # of one tensor
_END = 2**63 - 1  # of a slice that has none
_TEXT = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_AROUND_TEXT = re.compile(r"[\w \n.,:=()\[\]{}<>!+*/%&|^~@-]*", re.ASCII)
_NODES = (
    ast.Module, ast.ClassDef, ast.FunctionDef, ast.arguments, ast.arg, ast.keyword, ast.AnnAssign, ast.Assign,
    ast.AugAssign, ast.Expr, ast.Return, ast.Pass, ast.For, ast.While, ast.With, ast.withitem, ast.If, ast.IfExp,
    ast.Break, ast.Continue, ast.Assert, ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.Slice, ast.Constant,
    ast.List, ast.Tuple, ast.Dict, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.operator, ast.unaryop,
    ast.boolop, ast.cmpop, ast.expr_context,
)  # fmt: skip
_ROOTS = ("torch", "ops", "CONSTANTS", "__torch__")
_REFUSED = {"print", "fork", "awaitable"}  # functions of TorchScript, whatever else is called so


def check_script(files: Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
    r"""List the faults of the code of a TorchScript file, each with the name of the member that has it.

    Args:
        files: content of its members `code/*.py`, by name.

    Example:
        >>> code = b'def f(x: Tensor) -> NoneType:\n  return torch.save(x, "a")\n'
        >>> list(check_script({"code/__torch__.py": code}))
        [('code/__torch__.py', 'names torch.save, which is not on the list of tensor arithmetic')]
    """
    trees: dict[str, ast.Module] = {}
    for name, data in files.items():
        try:
            trees[name] = _parse(data)
        except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
            yield name, f"is not code as TorchScript writes it: {type(error).__name__} {error}"
    code = _Code(trees)
    for name, tree in trees.items():
        for fault in dict.fromkeys(code.check(tree)):
            yield name, fault


def _parse(data: bytes) -> ast.Module:
    """Read a file that both parsers read alike: ASCII, one kind of quotes, and no comments, which may hold types."""
    text = data.decode("ascii")
    if not text.replace("\n", "").isprintable() or not _AROUND_TEXT.fullmatch(_TEXT.sub("0", text)):
        raise ValueError("comments, other quotes or control characters")
    return ast.parse(text)


class _Code:
    """All files of a script, because each may use what another defines."""

    def __init__(self, trees: Mapping[str, ast.Module]) -> None:
        self.modules = {
            name.removeprefix("code/").removesuffix(".py").replace("/", "."): {
                each.name for each in tree.body if isinstance(each, ast.ClassDef | ast.FunctionDef)
            }
            for name, tree in trees.items()
        }
        classes = [each for tree in trees.values() for each in ast.walk(tree) if isinstance(each, ast.ClassDef)]
        self.attributes = {name for each in classes for name in _attributes(each)}

    def check(self, tree: ast.Module) -> Iterator[str]:
        """Faults of one file."""
        bound = {name for node in ast.walk(tree) for name in _bound(node)}
        part_of_another: set[int] = set()
        for node in ast.walk(tree):  # each before its parts
            if not isinstance(node, _NODES) or getattr(node, "decorator_list", None):
                yield f"has {type(node).__name__}, which TorchScript never writes"
            elif isinstance(node, ast.Call | ast.Attribute):
                called = node.func if isinstance(node, ast.Call) else node
                if not isinstance(called, ast.Name | ast.Attribute) and not _is_getattr(called):
                    yield "calls what has no name"
                if id(node) not in part_of_another and (isinstance(node, ast.Attribute) or _is_getattr(node)):
                    root, names, parts = _dotted(node)
                    part_of_another.update(map(id, parts))
                    yield from self._check_dotted(root, names)
            elif isinstance(node, ast.Name) and id(node) not in part_of_another and not self._is_word(node, bound):
                yield f"names {node.id}, which is not on the list of tensor arithmetic"
            yield from _check_numbers(node)

    def _check_dotted(self, root: str, names: list[str]) -> Iterator[str]:
        shown = ".".join([root, *names])
        known = True
        if root == "torch":
            known = len(names) == 1 and names[0] in OPERATORS | ASKED
        elif root == "ops":
            known = len(names) == 2 and names[1] in {"aten": OPERATORS | ASKED, "prim": PRIMITIVES}.get(names[0], ())
        elif root == "CONSTANTS":
            known = len(names) == 1 and re.fullmatch(r"c\d+", names[0]) is not None
        elif root == "__torch__":
            if names[:2] == ["torch", "classes"]:
                yield f"names {shown}, an object of PyTorch's C++"
                return
            places = [end for end in range(len(names)) if names[end] in self.modules.get(_join(names[:end]), ())]
            known = bool(places) and all(map(self._is_attribute, names[places[0] + 1 :]))
        else:
            known = all(map(self._is_attribute, names))
        if not known:
            yield f"names {shown.lstrip('.')}, which is not on the list of tensor arithmetic"

    def _is_word(self, node: ast.Name, bound: set[str]) -> bool:
        if isinstance(node.ctx, ast.Store):
            return True
        return node.id not in (*_ROOTS, *_REFUSED, "getattr") and node.id in NAMES | bound

    def _is_attribute(self, name: str) -> bool:
        if name in OPERATORS | ASKED or name == "__new__":  # as TorchScript makes an object of its own class
            return True
        return name in self.attributes and not torch._C._jit_get_schemas_for_operator(f"aten::{name}")


def _join(names: list[str]) -> str:
    return ".".join(["__torch__", *names])


def _is_getattr(node: ast.AST) -> bool:
    """Whether a call is `getattr(value, "name")`, as TorchScript writes attributes such as "0"."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "getattr"
        and len(node.args) == 2
        and not node.keywords
        and isinstance(node.args[1], ast.Constant)
        and isinstance(node.args[1].value, str)
    )


def _dotted(node: ast.AST) -> tuple[str, list[str], list[ast.AST]]:
    """First word of a dotted name, "" if it begins with another expression; the words behind it; and its nodes."""
    names: list[str] = []
    parts: list[ast.AST] = []
    while True:
        parts.append(node)
        if isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        elif isinstance(node, ast.Call) and _is_getattr(node):
            parts.append(node.func)
            names.append(node.args[1].value)  # type: ignore[attr-defined]
            node = node.args[0]
        elif isinstance(node, ast.Name) and node.id in _ROOTS:
            return node.id, names[::-1], parts
        else:  # of which `ast.walk` sees to the rest
            return "", names[::-1], parts[:-1]


def _attributes(of: ast.ClassDef) -> Iterator[str]:
    """Names of the attributes and methods that a class declares."""
    for each in of.body:
        if isinstance(each, ast.FunctionDef):
            yield each.name
        for target in getattr(each, "targets", [getattr(each, "target", None)]):
            if isinstance(target, ast.Name):
                yield target.id
            elif isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):  # __annotations__["0"]
                yield str(target.slice.value)


def _bound(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.ClassDef | ast.FunctionDef):
        yield node.name


def _check_numbers(node: ast.AST) -> Iterator[str]:
    """Sizes of tensors that no computer of a user has; a script can still work out others while it runs."""
    if isinstance(node, ast.List | ast.Tuple):
        values = [each.value if isinstance(each, ast.Constant) else 1 for each in node.elts]
    else:
        values = [node.value] if isinstance(node, ast.Constant) else []
    sizes = [value for value in values if type(value) is int and 1 < value != _END]
    if math.prod(sizes) > _MOST_NUMBERS:
        yield f"size bomb: a tensor of {' x '.join(map(str, sizes))} numbers"
