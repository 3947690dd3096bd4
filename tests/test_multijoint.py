"""The front door: what `import multijoint` offers, and what it leaves unread until it is used."""

import sys

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
