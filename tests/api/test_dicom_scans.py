from pathlib import Path

import pytest
from custom_components.errors import InputError

from multijoint.api.dicom_scans import find_scans, list_series


def test_a_folder_without_scans_is_refused_and_an_archive_in_it_named(tmp_path: Path) -> None:
    for name, remedy in (("readme.txt", "give another folder"), ("exam.ZIP", "unpack exam.ZIP first")):
        (tmp_path / name).write_bytes(b"PK")
        with pytest.raises(InputError, match=f"must hold volumes or DICOM files, got none; {remedy}$"):
            find_scans([tmp_path])
        with pytest.raises(InputError, match=f"must hold DICOM files, got none; {remedy}$"):
            list(list_series([tmp_path]))
