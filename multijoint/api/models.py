"""Trained models in memory, and the segmentations that they make."""

from __future__ import annotations

import base64
import contextlib
import gzip
import html
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from custom_components.errors import InputError
from custom_components.inference.domain_fit import asks_for_choice, channels_of
from custom_components.inference.networks import build_inference_network
from custom_components.io.label_names import label_extension, write_label_names
from custom_components.io.records import label_map_path, read_record, write_record
from custom_components.io.volumes import Volume, read_frame, write_label_map
from custom_components.models.ensembles import load_ensemble
from custom_components.networks.forwards import answer_for
from custom_components.quality.flags import FlagRules
from custom_components.quality.tables import quality_rows, shorten_flags
from custom_components.system.files import write_atomically
from custom_components.workflows.begin import select_device

from multijoint.api.opening import open_model
from multijoint.api.scans_in_memory import item_of, scan_bytes
from multijoint.api.segmenting import run_inference
from multijoint.api.zipped_scans import unpacked


@dataclass(frozen=True, repr=False)
class Segmentation:
    """A scan's label map with the names of its bones and how far it may be trusted.

    In a notebook it shows three planes with contours and the table.

    Args:
        case: name of the scan.
        names: label value -> bone.
        quality: a row a bone: `bone`, `volume_ml`, `confidence`, `flags` and more, as in `quality.csv`.
        record: what the label map was made from and how, as in `<case>_seg.json`.
        label_map: the file `<case>_seg.nii.gz`, the bytes that `multijoint segment` writes.
        scan: the volume that was segmented, bytes of a NIfTI file.
        source: its geometry.
        maps: with the setting `probabilities`, file name -> the file of a bone's probabilities.
    """

    case: str
    names: Mapping[int, str]
    quality: Sequence[Mapping[str, Any]]
    record: Mapping[str, Any]
    label_map: bytes
    scan: bytes
    source: Volume
    maps: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def labels(self) -> nib.Nifti1Image:
        """Label values on the scan's grid, uint8."""
        return nib.Nifti1Image.from_bytes(gzip.decompress(self.label_map))

    def probability(self, bone: str) -> nib.Nifti1Image:
        """Probability of a bone on the scan's grid, 0..1, before post-processing.

        Raises:
            InputError: the scan was segmented without the setting `probabilities`, or has no such bone.
        """
        known = self.record.get("probabilities", {})
        if bone not in known:
            listed = ", ".join(known) or "none; segment with probabilities=True"
            raise InputError(f"bone must have a map of probabilities, got {bone!r}; there are {listed}")
        return nib.Nifti1Image.from_bytes(gzip.decompress(self.maps[known[bone]["file"]]))

    def save(self, path: str | Path, *, label_names: bool = False) -> Path:
        """Write the label map, and its record and maps of probabilities next to it, each whole or not at all.

        Args:
            path: a folder, for `<case>_seg.nii.gz` in it, or a file `.nii.gz`, `.nii`, `.nrrd`, `.seg.nrrd` or `.mha`.
            label_names: also give other programs names and colours, as `multijoint segment --label-names` does.

        Returns:
            The file of the label map.

        Raises:
            InputError: another kind of file.
        """
        path = Path(path)
        if path.is_dir() or not path.suffix:
            path = label_map_path(path, self.case, ending=".nii.gz")

        def finish(digest: str) -> None:
            named = {"label_names": True} if label_names else {}
            write_record(path, {**self.record, **named, "label_map": path.name, "label_map_sha256": digest})
            if label_names:
                write_label_names(path, self.names)

        for name_of_map, content in self.maps.items():
            write_atomically(path.with_name(name_of_map), content)
        labels, extension = np.asarray(self.labels.dataobj), label_extension(self.names) if label_names else b""
        write_label_map(path, labels, like=self.source, names=self.names, before=finish, extension=extension)
        return path

    def surfaces(self) -> dict[str, Any]:
        """A closed, smooth surface a bone, by its name; see `surfaces.BoneSurface`. Missing bones have none."""
        from multijoint.clinic.meshes.bone_masks import bone_masks
        from multijoint.clinic.meshes.surfaces import bone_surface

        image = self.labels
        masks = bone_masks(np.asarray(image.dataobj), image.affine)
        return {self.names[mask.value]: bone_surface(mask) for mask in masks}

    def __repr__(self) -> str:
        """The case, its bones and its flags."""
        flags = shorten_flags(self.quality) or "none"
        return f"Segmentation({self.case}: {', '.join(self.names.values())}; flags: {flags})"

    def _repr_html_(self) -> str:
        columns = ("bone", "volume_ml", "confidence", "flags")
        head = "".join(f"<th>{column}</th>" for column in columns)
        cells = [[html.escape(str(row[column])) for column in columns] for row in self.quality]
        rows = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in cells)
        picture = base64.b64encode(self._picture()).decode()
        return (
            f'<img alt="{html.escape(self.case)}, three planes" src="data:image/png;base64,{picture}">'
            f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        )

    def _picture(self) -> bytes:
        from multijoint.clinic.pictures.overlays import draw_overlay

        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            ending = ".nii.gz" if self.scan[:2] == b"\x1f\x8b" else ".nii"
            scan, picture = folder / f"scan{ending}", folder / "picture.png"
            scan.write_bytes(self.scan)
            draw_overlay(picture, scan, self.save(folder))
            return picture.read_bytes()


class Model:
    """A trained model that is loaded once and segments scan after scan.

    Use `multijoint.load`. As a context, or by `close`, it frees its memory and the files that it unpacked.

    Args:
        path: `model.pt` of a run, a packaged bundle, folder or zip, or the name of a shipped model; see `open_model`.
            The probabilities of several are averaged.
        device: "auto", "cpu", "cuda", ...
        trust: also take a bundle that the inspection calls unsafe.

    Raises:
        InputError: the model cannot be used.
    """

    def __init__(self, path: str | Path | Sequence[str | Path], *, device: str = "auto", trust: bool = False) -> None:
        opened = contextlib.ExitStack()
        with opened:
            self._checkpoint = opened.enter_context(open_model(path, trust=trust))
            self._model = load_ensemble(self._checkpoint)
            self._device = select_device(device)
            network = build_inference_network(self._model, checkpoint=self._checkpoint, device=self._device)
            self._network: torch.nn.Module | None = network
            self._opened = opened.pop_all()
        self._finalizer = weakref.finalize(self, self._opened.close)

    @property
    def domains(self) -> dict[str, dict[int, str]]:
        """Domain -> label value -> name of the bone."""
        return {domain.name: dict(domain.labels) for domain in self._model.data_sets}

    def segment(
        self,
        scan: Any,
        *,
        domain: str | None = None,
        series: str | None = None,
        flag_rules: FlagRules | None = None,
        **settings: Any,
    ) -> Segmentation:
        """Segment one scan.

        Args:
            scan: a file, a folder or zip file of DICOM, a nibabel image, or an array (X, Y, Z) with its affine in a
                tuple; of several channels a mapping of their names to such, or a list of them.
            domain: of the scan, or "auto" to choose; not needed if the model knows one.
            series: the DICOM series to take; by default the one that a rule chooses.
            flag_rules: when a bone is flagged.
            settings: of `inference.yaml`, such as `test_time_augmentation` or `closing_radius`.

        Raises:
            InputError: the scan, the domain or a setting cannot be used, or the model is closed.
        """
        if self._network is None:
            raise InputError("model must be open to segment, got one that was closed; load it again")
        if not asks_for_choice(self._model, domain):
            answer_for(self._network, self._model.domain(domain).name)
        with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
            folder = Path(name)
            if isinstance(scan, str | Path):
                [scan] = stack.enter_context(unpacked([Path(scan)]))
            item = item_of(scan, folder, series=series, channels=channels_of(self._model, domain))
            run_inference(
                [item],
                checkpoint=self._checkpoint,
                flag_rules=flag_rules,
                output_dir=folder / "out",
                domain=domain,
                device=self._device,
                model=self._model,
                network=self._network,
                num_workers=0,
                **settings,
            )
            path = label_map_path(folder / "out", item["name"])
            record = read_record(path)
            return Segmentation(
                case=item["name"],
                names={int(value): bone for value, bone in record["labels"].items() if int(value)},
                quality=quality_rows(record, case=item["name"], rules=flag_rules or FlagRules()),
                record=record,
                label_map=path.read_bytes(),
                scan=scan_bytes(Path(item["image"])),
                source=read_frame(item["image"]),
                maps={
                    each["file"]: path.with_name(each["file"]).read_bytes()
                    for each in record.get("probabilities", {}).values()
                },
            )

    def close(self) -> None:
        """Free the network and what was unpacked; closing twice is allowed."""
        self._network = None
        self._finalizer()

    def __enter__(self) -> Model:
        """The model itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()


def load(path: str | Path | Sequence[str | Path], *, device: str = "auto", trust: bool = False) -> Model:
    """Load a trained model, or several as an ensemble, to segment scans with; the arguments are those of `Model`."""
    return Model(path, device=device, trust=trust)
