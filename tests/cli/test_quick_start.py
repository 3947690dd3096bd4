"""A command that imports less writes the same bytes, and hides nothing from later imports."""

import os
import sys
from pathlib import Path

from support.commands import scan_of
from support.processes import run

QUICK = """
import pkgutil, sys
from multijoint.cli.quick_start import quick_imports
with quick_imports():
    from custom_components.inference import engine
left_out = {"matplotlib", "mlflow", "pandas", "scipy.ndimage", "skimage.measure", "torch._meta_registrations"}
left_out |= {"monai.apps.pathology", "monai.handlers", "torch.distributed.optim"}
assert not left_out & sys.modules.keys(), left_out & sys.modules.keys()
import monai
import monai.handlers, pandas, scipy.ndimage, skimage.measure, torch
assert monai.utils.module.walk_packages is pkgutil.walk_packages
assert len(list(pkgutil.walk_packages(monai.__path__))) > 9
from torch.distributed.optim import ZeroRedundancyOptimizer
assert issubclass(ZeroRedundancyOptimizer, torch.optim.Optimizer)
import torch._meta_registrations
assert torch._meta_registrations.meta_fft_c2c
with quick_imports():  # MONAI is there: nothing changes
    import monai.apps.pathology
print("complete")
"""


def test_imports_that_were_left_out_can_follow() -> None:
    assert run([sys.executable, "-c", QUICK]).stdout == "complete\n"


def test_where_it_fails_everything_is_imported() -> None:
    code = """
import sys
from multijoint.cli import quick_start
quick_start._OPTIONAL.append("monai.utils.misc")  # which MONAI needs
with quick_start.quick_imports():
    from custom_components.inference import engine
assert "monai.apps.pathology" in sys.modules
print("complete")
"""
    done = run([sys.executable, "-c", code])
    assert done.stdout == "complete\n", done.stderr


def test_the_files_are_those_of_complete_imports(trained: Path, manifests: dict[str, str], tmp_path: Path) -> None:
    options = ["segment", scan_of(manifests, "ankle"), "--checkpoint", trained / "model.pt", "--domain", "ankle"]
    options += ["--device", "cpu", "--mesh", "ply", "--out"]
    complete = "import monai.handlers; from multijoint.cli import main; raise SystemExit(main())"
    for name, how in (("quick", ["-m", "multijoint.cli"]), ("complete", ["-c", complete])):
        done = run([sys.executable, *how, *options, tmp_path / name])
        assert done.returncode == 0, done.stderr
    names = {path.relative_to(tmp_path / "quick") for path in (tmp_path / "quick").rglob("*") if path.is_file()}
    names.remove(Path("segment_report.csv"))  # has the seconds that each scan took
    assert len(names) >= 4
    for name in names:
        assert (tmp_path / "quick" / name).read_bytes() == (tmp_path / "complete" / name).read_bytes(), name


def test_threads_wait_asleep_unless_the_environment_says_otherwise() -> None:
    code = "import os, sys; from multijoint.cli import main; main(['models']); assert 'torch' not in sys.modules"
    code += "; sys.stderr.write(os.environ['OMP_WAIT_POLICY'])"
    bare = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    assert run([sys.executable, "-c", code], env=bare).stderr == "PASSIVE"
    assert run([sys.executable, "-c", code], env=bare | {"OMP_WAIT_POLICY": "ACTIVE"}).stderr == "ACTIVE"
