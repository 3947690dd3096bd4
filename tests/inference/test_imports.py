"""Inference reads few files, and none of the trainer's."""

import sys

from support.processes import run

_MOST_FILES = 48


def test_the_whole_face_of_inference_reads_at_most_48_files() -> None:
    code = (
        "import sys, custom_components.inference as face; [getattr(face, name) for name in face.__all__]; "
        "print(*(name for name in sys.modules if name.partition('.')[0] == 'custom_components'))"
    )
    done = run([sys.executable, "-c", code], check=True)
    names = done.stdout.split()
    assert len(names) <= _MOST_FILES, sorted(names)
    assert not [name for name in names if name.startswith(("custom_components.training", "custom_components.losses"))]
