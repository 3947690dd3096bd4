"""`multijoint view`, a server that runs until it is interrupted."""

from pathlib import Path

from multijoint.cli.commands import command, flag, number, path, text


@command(
    path(
        "scan",
        "SCAN",
        "a volume, or a folder of them; may be left out where the folder of results holds them in scans",
        nargs="?",
    ),
    path(
        "segmentation",
        "SEGMENTATION",
        "its label map, with its .json of names next to it; for a folder of scans, the folder that "
        "`multijoint segment` wrote",
    ),
    path("--mesh", "FILE", "surfaces to show in 3D: .ply, .stl or .glb", nargs="+", default=[]),
    path("--marks", "FILE", "CSV that marks go to (default review.csv next to the segmentations)"),
    text("--case", "NAME", "start with this case (default the first)"),
    number("--port", "N", "of the loopback address (default any free one)", default=0),
    flag("--no-browser", "only print the address"),
    example="multijoint view scan.nii.gz out/scan_seg.nii.gz",
)
def view(
    scan: Path | None,
    segmentation: Path,
    mesh: list[Path],
    marks: Path | None,
    case: str | None,
    port: int,
    no_browser: bool,
) -> None:
    """Look at segmentations in a browser, in three planes and 3D, and mark them good or in need of correction."""
    import webbrowser

    from custom_components.errors import InputError, list_first
    from custom_components.system.terminal import count

    from multijoint.clinic.viewer.cases import find_cases, pair_case
    from multijoint.clinic.viewer.review_marks import ReviewMarks
    from multijoint.clinic.viewer.viewer import Viewer

    if segmentation.is_dir() or (scan is not None and scan.is_dir()):
        if mesh:
            raise InputError("--mesh must go with one scan, got folders; meshes are looked for in OUT/meshes/CASE")
        folder, scans = segmentation, scan or segmentation / "scans"
        if scan is None and not scans.is_dir():
            rule = f"scans of {folder.name} must be given before it, or lie in its folder scans, got neither"
            raise InputError(f"{rule}; give SCANS {folder.name}")
        cases = find_cases(scans, folder)
    elif scan is None:
        raise InputError(f"scan of {segmentation.name} must be given before it, got none; give SCAN SEGMENTATION")
    else:
        cases, folder = [pair_case(scan, segmentation, meshes=mesh)], segmentation.parent
    with Viewer(cases, ReviewMarks(marks or folder / "review.csv"), port=port, report=folder / "report.html") as viewer:
        url = viewer.url if case is None else viewer.url_of(case)
        misfits = viewer.find_misfits()
        print(f"{count(len(cases), 'case')}, until Ctrl-C: {url}", flush=True)
        if misfits:
            print(f"{len(misfits)} of them cannot be shown: {list_first(misfits)}", flush=True)
        if not no_browser:
            webbrowser.open(url)
        try:
            viewer.serve_forever()
        except KeyboardInterrupt:
            print()
