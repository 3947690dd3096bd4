"""A packaged bundle in a MONAI Deploy application: DICOM MR series in, DICOM SEG out, by folder and by `model.ts`.

Run by `run.sh` in the environment that it makes; `multijoint`, which makes the phantom and the reference label map,
lives in another one and is called as a command. The same voxels go to `multijoint segment` as NIfTI.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

APP = Path(__file__).with_name("app.py")
TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
MAX_POSITION_ERROR_MM, MAX_COSINE_ERROR = 1e-3, 1e-5


def main() -> None:
    """Check one bundle; the last line says "green", or the process ends with the reason."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle", type=Path, required=True, help="folder of a packaged bundle")
    parser.add_argument("--multijoint", default="multijoint", help="command of the environment that has this project")
    parser.add_argument("--work", type=Path, help="folder to work in and to leave behind; default: a temporary one")
    options = parser.parse_args()
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        work = options.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work.mkdir(parents=True, exist_ok=True)
        found = check(options.bundle.resolve(), options.multijoint, work.resolve())
    print(f"green: MONAI Deploy App SDK: {found}; {(time.monotonic() - started) / 60:.1f} min")


def check(bundle: Path, multijoint: str, work: Path) -> str:
    """Run everything; returns the findings."""
    config = json.loads((bundle / "configs" / "inference.json").read_text())
    domains = {each["name"]: dict(map(tuple, each["labels"])) for each in config["model"]["domains"]}
    name = config.get("displayable_configs", config)["domain"] or next(iter(domains))
    labels = domains[name]
    run_command([multijoint, "phantoms", work / "phantoms", "--cases", 1, "--size", 64, "--domains", name])
    voxels, affine = hard_geometry(nibabel.load(work / "phantoms" / name / "images" / f"{name}_000.nii.gz"))
    scan, series = work / f"{name}.nii.gz", work / "dicom"
    nibabel.Nifti1Image(voxels, affine).to_filename(scan)
    write_series(series, voxels, affine)
    reference = work / "reference"
    run_command([multijoint, "segment", scan, "--checkpoint", bundle, "--domain", name, "--output", reference])
    wanted = np.asarray(nibabel.load(reference / f"{name}_seg.nii.gz").dataobj)
    if not wanted.any():
        raise SystemExit("reference label map must hold a bone, got none; take a trained bundle")

    sources = {"folder": ["--bundle", bundle], "model.ts": ["--model", bundle / "models" / "model.ts"]}
    for kind, source in sources.items():
        output = work / f"output of {kind}"
        # The folder brings the package; a TorchScript file needs it importable.
        extra = {} if kind == "folder" else {"PYTHONPATH": str(bundle)}
        elsewhere = work / f"run of {kind}"
        elsewhere.mkdir()
        run_command([sys.executable, APP, "--input", series, "--output", output, *source], cwd=elsewhere, **extra)
        [path] = output.glob("*.dcm")
        compare(pydicom.dcmread(path), wanted, affine, labels, kind)
        left = sorted(each.name for each in elsewhere.iterdir())
        if left:
            raise SystemExit(f"inference ({kind}) must write the DICOM segmentation alone, got {left}")
    return (
        f"{bundle.name} segmented a DICOM MR series of {wanted.shape[2]} slices from its folder and from model.ts, "
        f"{len(labels)} segments as `multijoint segment` gives them, voxel for voxel"
    )


def hard_geometry(volume: Any) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (X, Y, Z), int16, and affine of an oblique volume, stacked against its slices' normal, pixels not square.

    The SDK sorts slices along the normal, and exchanges the two in-plane spacings in the affine that it hands on.
    """
    voxels, affine = np.asarray(volume.dataobj).astype(np.int16)[:, :, ::-1], volume.affine.copy()
    affine[:, 3] = affine @ [0, 0, voxels.shape[2] - 1, 1]
    affine[:, 2] *= -1
    affine[:, 0] *= 1.25
    return voxels, affine


def run_command(command: Sequence[object], *, cwd: Path | None = None, **environment: str) -> None:
    """Run a command to its end, or end with its output."""
    words = [str(part) for part in command]
    done = subprocess.run(words, capture_output=True, text=True, cwd=cwd, env=os.environ | environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-6000:]}")


def write_series(folder: Path, voxels: np.ndarray, affine: np.ndarray) -> None:
    """Write a volume (X, Y, Z), int16, as a classic MR series of Z oblique slices of Y rows and X columns."""
    folder.mkdir()
    lps = TO_LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    row, column = (lps[:3, axis] / spacing[axis] for axis in (0, 1))  # to the next column, to the next row
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for index in range(voxels.shape[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
        image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
        image.PatientName, image.PatientID, image.PatientBirthDate, image.PatientSex = "Phantom", "phantom", "", ""
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, frame
        image.StudyID, image.StudyDate, image.StudyTime, image.AccessionNumber = "1", "20200101", "000000", ""
        image.SeriesDate, image.SeriesTime, image.ReferringPhysicianName = "20200101", "000000", ""
        image.Modality, image.SeriesNumber, image.InstanceNumber = "MR", 1, index + 1
        image.SeriesDescription, image.StudyDescription, image.Manufacturer = "phantom", "phantom", "phantom"
        image.PositionReferenceIndicator, image.ImageType = "", ["DERIVED", "PRIMARY", "OTHER"]
        image.ScanningSequence, image.SequenceVariant, image.ScanOptions, image.MRAcquisitionType = (
            "GR",
            "NONE",
            "",
            "3D",
        )
        image.EchoTime, image.EchoTrainLength, image.RepetitionTime = 1, 1, 10
        image.ImageOrientationPatient = [decimal(number) for number in (*row, *column)]
        image.ImagePositionPatient = [decimal(number) for number in (lps @ [0, 0, index, 1])[:3]]
        image.PixelSpacing = [decimal(spacing[1]), decimal(spacing[0])]
        image.SliceThickness = decimal(spacing[2])
        image.Rows, image.Columns = voxels.shape[1], voxels.shape[0]
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
        image.PixelData = np.ascontiguousarray(voxels[:, :, index].T).astype("<i2").tobytes()
        # Names in an order of their own: a reader must sort by position.
        image.save_as(folder / f"{(index * 7) % voxels.shape[2]:03d}_{index:03d}.dcm", enforce_file_format=True)


def decimal(number: float) -> str:
    """At most 16 characters, what DICOM keeps of a decimal number."""
    return f"{number:.10f}"[:16]


def compare(found: pydicom.Dataset, wanted: np.ndarray, affine: np.ndarray, labels: dict[int, str], kind: str) -> None:
    """The frames of the segmentation, put where their positions say, hold the same label in every voxel."""
    names = {segment.SegmentNumber: segment.SegmentLabel for segment in found.SegmentSequence}
    if names != labels:
        raise SystemExit(f"segments ({kind}) must be {labels}, got {names}")
    lps = TO_LPS @ affine
    shared = found.SharedFunctionalGroupsSequence[0]
    cosines = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3)).astype(float)
    if np.abs(cosines.T - lps[:3, :2] / np.linalg.norm(lps[:3, :2], axis=0)).max() > MAX_COSINE_ERROR:
        raise SystemExit(f"orientation ({kind}) must be that of the series, got {cosines.tolist()}")
    result = np.zeros_like(wanted)
    frames = found.pixel_array.reshape(-1, found.Rows, found.Columns)
    for pixels, groups in zip(frames, found.PerFrameFunctionalGroupsSequence, strict=True):
        position = np.array([*groups.PlanePositionSequence[0].ImagePositionPatient, 1], dtype=float)
        index = round((np.linalg.inv(lps) @ position)[2])
        off_mm = np.abs(lps @ [0, 0, index, 1] - position).max()
        if off_mm > MAX_POSITION_ERROR_MM:
            raise SystemExit(f"frames ({kind}) must lie on slices of the series, got one {off_mm:.3g} mm off")
        value = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        result[:, :, index][pixels.T > 0] = value
    different = int((result != wanted).sum())
    if different:
        raise SystemExit(f"labels ({kind}) must be those of `multijoint segment`, got {different} other voxels")
    print(f"{kind}: {len(frames)} frames, segments {names}, no voxel differs")


if __name__ == "__main__":
    main()
