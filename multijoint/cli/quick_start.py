"""The imports of a command that segments, without the parts of PyTorch and MONAI that it never calls."""

from __future__ import annotations

import contextlib
import gc
import importlib
import pkgutil
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_OPTIONAL = ["PIL", "itk", "jsonschema", "matplotlib", "mlflow", "pandas", "pydicom", "requests", "scipy", "skimage"]
_OPTIONAL += ["sklearn", "tensorboard", "tifffile", "tqdm"]
"""Libraries that MONAI imports if they are installed, for functions that need them."""

_ZERO = "torch.distributed.optim"
_METAS = "torch._meta_registrations"


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Import PyTorch and MONAI in a third of their time, and then the imports of the block.

    Left out are

    - the garbage collector, which would search the new modules again and again and find nothing to free;
    - libraries that MONAI imports if they are installed, since the functions that need them are not called;
    - the modules of MONAI that nothing names: MONAI imports each of its modules, and executes it twice;
    - PyTorch's optimizer for sharded states, with which ignite compares what it saves, and shapes for compilers.

    Whatever imports them later gets them; where this fails, everything is imported. A process that has imported MONAI
    already changes nothing, and a process that runs configurations of others, which may name any component of MONAI,
    must not use this.
    """
    gc.disable()
    try:
        if "monai" not in sys.modules:
            try:
                _import_monai()
            except Exception:  # of another version of PyTorch or MONAI, say: all is imported as usual then
                for name in [name for name in sys.modules if name.partition(".")[0] in ("monai", "ignite")]:
                    del sys.modules[name]
        yield
    finally:
        gc.freeze()
        gc.enable()


def _import_monai() -> None:
    # `None` in `sys.modules` makes an import fail at once.
    stubs: dict[str, ModuleType | None] = {**dict.fromkeys(_OPTIONAL), _METAS: ModuleType(_METAS)}
    stubs[_ZERO] = zero = ModuleType(_ZERO)
    zero.ZeroRedundancyOptimizer = type("ZeroRedundancyOptimizer", (), {})  # type: ignore[attr-defined]
    stubs = {name: stub for name, stub in stubs.items() if name not in sys.modules}
    if _METAS in stubs:
        sys.meta_path.insert(0, _MetasFirst())
    sys.modules.update(stubs)  # type: ignore[arg-type]
    walk = pkgutil.walk_packages
    try:
        pkgutil.walk_packages = lambda *_, **__: iter(())  # by which MONAI finds its modules
        importlib.import_module("monai").utils.module.walk_packages = walk
        pkgutil.walk_packages = walk
        for name in ("apps", "bundle", "engines"):  # in this order: `apps` first, as MONAI does it, breaks a circle
            importlib.import_module(f"monai.{name}")
    finally:
        pkgutil.walk_packages = walk
        for name in stubs:
            sys.modules.pop(name, None)


class _MetasFirst:
    """Imports PyTorch's shapes for compilers before its decompositions, which begin a circle of imports otherwise."""

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        if name != "torch._decomp":
            return None
        sys.meta_path.remove(self)
        importlib.import_module(_METAS)
        loader: Any = self  # as importlib.abc.Loader, whose import would take a tenth of the time of `--help`
        return ModuleSpec(name, loader)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        pass  # the other import has done it
