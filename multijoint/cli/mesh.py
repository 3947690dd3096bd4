"""`multijoint mesh`."""

from pathlib import Path

from multijoint.cli.commands import MESH_FORMATS, command, log_paths, out_path, path, text


@command(
    path("segmentations", "SEG", "label maps, or folders: of their *_seg.* if there are any", nargs="+"),
    text("--format", None, "of the files (default ply)", choices=MESH_FORMATS, default="ply"),
    path("--scans", "SCAN", "the scans, for the intensities of bones", nargs="+", default=[]),
    out_path("FOLDER", "where meshes/ and bones.csv go", dest="output", required=True),
    log_paths("files"),
    example="multijoint mesh out/scan_seg.nii.gz --format ply --out out",
    extra="clinic",
)
def mesh(segmentations: list[Path], format: str, scans: list[Path], output: Path) -> None:
    """Make a closed surface of each bone of a label map, and measure it: meshes/ and bones.csv."""
    from multijoint.api.meshing import format_meshed, mesh_cases, scans_of
    from multijoint.clinic.meshes.meshing import check_meshing, find_label_maps

    check_meshing(output, format=format)
    cases = find_label_maps(segmentations)
    for meshed in mesh_cases(cases, format=format, output_dir=output, scans=scans_of(cases, scans)):
        print(format_meshed(meshed))
