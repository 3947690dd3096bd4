"""The front door: the names that `import multijoint` offers, and the modules that it reads only on use."""

import sys
from pathlib import Path

import pytest
from support.processes import run

import multijoint

HEAVY = ("torch", "monai", "numpy", "scipy", "nibabel", "skimage", "pandas", "matplotlib", "yaml", "pydicom", "mlflow")


def test_the_face_has_a_handful_of_names_and_each_is_there() -> None:
    assert len(multijoint.__all__) <= 15
    assert multijoint.__all__ == sorted(multijoint.__all__, key=lambda name: (name.startswith("_"), name))
    for name in multijoint.__all__:
        assert getattr(multijoint, name).__doc__, name


@pytest.mark.parametrize("code", ["import multijoint", "import multijoint; multijoint.__all__; dir(multijoint)"])
def test_the_import_reads_nothing_heavy(code: str) -> None:
    code += f"; import sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = run([sys.executable, "-c", code], check=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_paths_may_be_text(tmp_path: Path) -> None:
    [manifest] = multijoint.write_phantoms(str(tmp_path), domains=["ankle"], num_cases=2, size=32)
    assert manifest == tmp_path / "ankle" / "manifest.yaml"
    assert len(multijoint.check_manifests([str(manifest)], dataset_dir=str(manifest.parent)).cases) == 2
    scan, label = (str(tmp_path / "ankle" / folder / "ankle_000.nii.gz") for folder in ("images", "labels"))
    multijoint.draw_overlay(str(tmp_path / "out" / "a.png"), scan, label, reference=label)
    (tmp_path / "out" / "ankle_000_seg.nii.gz").write_bytes(Path(label).read_bytes())
    page = multijoint.write_report(str(tmp_path / "out"), output=str(tmp_path / "page.html"), scans=[scan])
    assert page == tmp_path / "page.html"
    with pytest.raises(multijoint.InputError, match="bundle must be a folder"):
        multijoint.package(str(tmp_path), checkpoint="model.pt", out=str(tmp_path))
