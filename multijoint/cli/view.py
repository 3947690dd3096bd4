"""`multijoint view`, a server that runs until it is interrupted."""

from pathlib import Path

from multijoint.cli.commands import command, flag, number, path


@command(
    path("scan", "SCAN", "NIfTI file, or a folder of them"),
    path(
        "segmentation",
        "SEGMENTATION",
        "its label map, with its .json of names beside it; for a folder of scans, the folder that "
        "`multijoint segment` wrote",
    ),
    path("--mesh", "FILE", "surfaces to show in 3D: .ply, .stl or .glb", nargs="+", default=[]),
    path("--marks", "FILE", "CSV that marks go to (default review.csv beside the segmentations)"),
    number("--port", "N", "of the loopback address (default any free one)", default=0),
    flag("--no-browser", "only print the address"),
    example="multijoint view scan.nii.gz out/scan_seg.nii.gz",
)
def view(scan: Path, segmentation: Path, mesh: list[Path], marks: Path | None, port: int, no_browser: bool) -> None:
    """Look at segmentations in a browser, in three planes and 3D, and mark them good or in need of correction."""
    import webbrowser

    from custom_components.errors import InputError

    from multijoint.clinic.viewer.cases import find_cases, pair_case
    from multijoint.clinic.viewer.review_marks import ReviewMarks
    from multijoint.clinic.viewer.viewer import Viewer

    if scan.is_dir() or segmentation.is_dir():
        if mesh:
            raise InputError("--mesh must go with one scan, got folders; meshes are looked for in OUT/meshes/CASE")
        cases, folder = find_cases(scan, segmentation), segmentation
    else:
        cases, folder = [pair_case(scan, segmentation, meshes=mesh)], segmentation.parent
    with Viewer(cases, ReviewMarks(marks or folder / "review.csv"), port=port) as viewer:
        print(f"{len(cases)} case{'s' if len(cases) > 1 else ''}, until Ctrl-C: {viewer.url}", flush=True)
        if not no_browser:
            webbrowser.open(viewer.url)
        try:
            viewer.serve_forever()
        except KeyboardInterrupt:
            print()
