from pathlib import Path

import pytest
from custom_components.errors import InputError

from multijoint.api.dicom_scans import find_scans, list_series


def test_what_lies_beside_or_below_the_volumes_of_a_folder_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("top.nii.gz", "p1/anat/t1.nii.gz", "p2/IM.dcm", "IM0", "notes/x.txt", ".git/a.nii", "out/x.nii.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "out" / "segment_report.csv").touch()
    assert find_scans([tmp_path]) == ([tmp_path], [])
    assert f"passed over in {tmp_path.name}" in caplog.text
    assert "are taken: IM0; p1; p2; name them as well" in caplog.text
    caplog.clear()
    assert find_scans([tmp_path, tmp_path / "p1" / "anat"])[1] == []
    assert "are taken: IM0; p2; name them as well" in caplog.text
    with pytest.raises(InputError, match=r"must hold volumes or DICOM files, got none; name anat in it$"):
        find_scans([tmp_path / "p1"])


def test_a_folder_without_scans_is_refused_and_an_archive_in_it_named(tmp_path: Path) -> None:
    for name, remedy in (("readme.txt", "give another folder"), ("exam.ZIP", "unpack exam.ZIP first")):
        (tmp_path / name).write_bytes(b"PK")
        with pytest.raises(InputError, match=f"must hold volumes or DICOM files, got none; {remedy}$"):
            find_scans([tmp_path])
        with pytest.raises(InputError, match=f"must hold DICOM files, got none; {remedy}$"):
            list(list_series([tmp_path]))
