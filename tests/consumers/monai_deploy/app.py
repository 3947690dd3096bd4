"""A MONAI Deploy application: a DICOM MR series in, a DICOM segmentation out, by a packaged bundle.

`python app.py --input STUDY --output FOLDER` takes `--bundle BUNDLE`, the bundle's folder, or `--model MODEL.ts`, its
TorchScript file. That brings its own configuration but not the package `custom_components`: have it on `PYTHONPATH`.
"""

from __future__ import annotations

import argparse
import json
import logging
import zipfile
from pathlib import Path
from typing import Any

from monai.deploy.conditions import CountCondition
from monai.deploy.core import AppContext, Application
from monai.deploy.core.domain import Image
from monai.deploy.core.io_type import IOType
from monai.deploy.operators.dicom_data_loader_operator import DICOMDataLoaderOperator
from monai.deploy.operators.dicom_seg_writer_operator import DICOMSegmentationWriterOperator, SegmentDescription
from monai.deploy.operators.dicom_series_selector_operator import DICOMSeriesSelectorOperator
from monai.deploy.operators.dicom_series_to_volume_operator import DICOMSeriesToVolumeOperator
from monai.deploy.operators.monai_bundle_inference_operator import IOMapping, MonaiBundleInferenceOperator
from pydicom.sr.codedict import codes

MR_SERIES = '{"selections": [{"name": "MR", "conditions": {"Modality": "MR"}}]}'


class BoneSegmentation(Application):
    """Load, select, convert, segment, write."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.choices = options
        super().__init__([])

    def compose(self) -> None:
        """Connect the operators."""
        options = self.choices
        if options.bundle:
            metadata = json.loads((options.bundle / "configs" / "metadata.json").read_text())
            context = AppContext({"input": str(options.input), "output": str(options.output)})
        else:
            metadata = metadata_of(options.model)
            context = AppContext(
                {"input": str(options.input), "output": str(options.output), "model": str(options.model)}
            )
        load = DICOMDataLoaderOperator(self, CountCondition(self, 1), input_folder=options.input, name="load")
        select = DICOMSeriesSelectorOperator(self, rules=MR_SERIES, name="select")
        convert = DICOMSeriesToVolumeOperator(self, name="convert")
        infer = MonaiBundleInferenceOperator(
            self,
            input_mapping=[IOMapping("image", Image, IOType.IN_MEMORY)],
            output_mapping=[IOMapping("pred", Image, IOType.IN_MEMORY)],
            app_context=context,
            bundle_path=options.bundle,
            name="infer",
        )
        write = DICOMSegmentationWriterOperator(
            self, segment_descriptions=segments_of(metadata), output_folder=options.output, name="write"
        )
        self.add_flow(load, select, {("dicom_study_list", "dicom_study_list")})
        self.add_flow(select, convert, {("study_selected_series_list", "study_selected_series_list")})
        self.add_flow(convert, infer, {("image", "image")})
        self.add_flow(select, write, {("study_selected_series_list", "study_selected_series_list")})
        self.add_flow(infer, write, {("pred", "seg_image")})


def metadata_of(model: Path) -> dict[str, Any]:
    """The bundle's metadata in a TorchScript file."""
    with zipfile.ZipFile(model) as archive:
        [name] = [each for each in archive.namelist() if each.endswith("/extra/metadata.json")]
        return json.loads(archive.read(name))


def segments_of(metadata: dict[str, Any]) -> list[SegmentDescription]:
    """One DICOM segment a bone, in the order of the network's channels."""
    channels = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    return [
        SegmentDescription(
            segment_label=channels[str(channel)],
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=codes.SCT.Bone,
            algorithm_name=metadata["name"],
            algorithm_version=metadata["version"],
        )
        for channel in range(1, len(channels))
    ]


def main() -> None:
    """Run the application once."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--input", type=Path, required=True, help="folder of a DICOM study")
    parser.add_argument("--output", type=Path, required=True, help="folder for the DICOM segmentation")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--bundle", type=Path, help="folder of a packaged bundle")
    source.add_argument("--model", type=Path, help="a bundle's models/model.ts")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    BoneSegmentation(options).run()


if __name__ == "__main__":
    main()
