"""The viewer: requests that its server refuses, and its page in a real browser."""

import base64
import csv
import hashlib
import http.client
import io
import json
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from custom_components.domains import COLORS
from custom_components.errors import InputError
from custom_components.system import pages
from custom_components.system.pages import render_page
from PIL import Image, ImageColor
from support.chromium import Chromium, Page

from multijoint.cli import main
from multijoint.clinic import ReviewMarks, ViewedCase, Viewer, find_cases, pair_case


@pytest.fixture(scope="module")
def folder(manifests: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two phantoms with their references as results, the first with surfaces."""
    folder = tmp_path_factory.mktemp("viewed")
    (folder / "scans").mkdir()
    (folder / "out").mkdir()
    for case in ("ankle_000", "ankle_001"):
        root = Path(manifests["ankle"]).parent
        (folder / "scans" / f"{case}.nii.gz").write_bytes((root / "images" / f"{case}.nii.gz").read_bytes())
        (folder / "out" / f"{case}_seg.nii.gz").write_bytes((root / "labels" / f"{case}.nii.gz").read_bytes())
        names = {"0": "background", "1": "calcaneus", "2": "talus", "3": "tibia"}
        (folder / "out" / f"{case}_seg.json").write_text(json.dumps({"labels": names}))
    (folder / "out" / "quality.csv").write_text(
        "case,label,confidence,cut,flags,expected_dice\n"
        "ankle_000,1,0.914,no,,0.97\nankle_000,2,,no,low-confidence,0.6\nankle_000,3,0.9,yes,,0.9\n"
    )
    (folder / "out" / "report.html").write_text("<script>alert(1)</script>")
    first = folder / "out" / "ankle_000_seg.nii.gz"
    assert main(["mesh", str(first), "--format", "ply", "--out", str(folder / "out")]) == 0
    return folder


@contextmanager
def serving(cases: list[ViewedCase], marks: Path, report: Path | None = None) -> Iterator[Viewer]:
    with Viewer(cases, ReviewMarks(marks), report=report) as viewer:
        thread = threading.Thread(target=viewer.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield viewer
        finally:
            viewer.shutdown()
            thread.join(timeout=30)


@pytest.fixture
def viewer(folder: Path, tmp_path: Path) -> Iterator[Viewer]:
    cases, out = find_cases(folder / "scans", folder / "out"), folder / "out"
    with serving(cases, tmp_path / "review.csv", out / "report.html") as viewer:
        yield viewer


def ask(
    viewer: Viewer, path: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, bytes, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", viewer.server_address[1], timeout=20)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, named)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content, dict(answer.headers)


def test_cases_are_served_and_nothing_may_be_loaded_from_elsewhere(viewer: Viewer) -> None:
    base = f"/{viewer.secret}/"
    assert viewer.server_address[0] == "127.0.0.1"
    status, page, headers = ask(viewer, base)
    assert status == 200
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
    assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")
    assert b"http" not in page.replace(b"http-equiv", b"")
    cases = json.loads(ask(viewer, base + "cases.json")[1])["cases"]
    assert [case["name"] for case in cases] == ["ankle_000", "ankle_001"]
    assert ask(viewer, base + "cases/0/scan.nii")[1][344:348] == b"n+1\0"  # an uncompressed NIfTI-1
    assert ask(viewer, base + "cases/0/mesh0.ply")[1].startswith(b"ply")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:80", "0.0.0.0", ""])
def test_a_foreign_host_is_refused(viewer: Viewer, host: str) -> None:
    assert ask(viewer, f"/{viewer.secret}/", Host=host)[0] == 403
    assert ask(viewer, f"/{viewer.secret}/", Host=f"localhost:{viewer.server_address[1]}")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "../scans/ankle_000.nii.gz",
        "..%2f..%2fetc/passwd",
        "/etc/passwd",
        "cases/2.json",
        "cases/-1.json",
        "cases/0/mesh9.ply",
        "NIIVUE_LICENSE.txt",
        "viewer.py",
        "cases/0/../../viewer.js",
    ],
)
def test_what_was_not_given_is_not_served(viewer: Viewer, path: str) -> None:
    assert ask(viewer, f"/{viewer.secret}/{path}")[0] == 404
    assert ask(viewer, "/" + path.lstrip("/"))[0] == 404  # without the secret


def test_other_pages_and_methods_are_refused(viewer: Viewer) -> None:
    base, port = f"/{viewer.secret}/", viewer.server_address[1]
    mark = json.dumps({"mark": "good", "comment": ""}).encode()
    own = {"Host": f"127.0.0.1:{port}", "Origin": f"http://127.0.0.1:{port}"}
    assert ask(viewer, base, Sec_Fetch_Site="cross-site")[0] == 403
    for origin in ("http://evil.example", "null", f"http://127.0.0.1:{port + 1}"):
        assert ask(viewer, base + "cases/0/mark", "POST", mark, **own | {"Origin": origin})[0] == 403
    assert not viewer.marks.path.exists()
    for method in ("PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"):
        status, _, headers = ask(viewer, base, method)
        assert (status, headers["Allow"]) == (405, "GET, POST")
    assert ask(viewer, base + "cases/0/mark", "POST", b"x" * 70000, **own)[0] == 413
    for bad in (b"[]", b"{", b'{"mark": 1, "comment": ""}'):
        assert ask(viewer, base + "cases/0/mark", "POST", bad, **own)[0] == 400
    assert ask(viewer, base + "cases/0/mark", "POST", b'{"mark": "fine", "comment": ""}', **own)[0] == 422
    assert ask(viewer, base + "cases/0/mark", "POST", mark, **own)[0] == 200
    assert viewer.marks.read()["ankle_000"]["mark"] == "good"


def test_a_load_that_the_browser_aborts_leaves_no_trace(viewer: Viewer, capsys: pytest.CaptureFixture[str]) -> None:
    path = f"/{viewer.secret}/cases/0/scan.nii"
    for unread in range(3):
        with socket.create_connection(viewer.server_address[:2], timeout=20) as browser:
            browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closes by a reset
            browser.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"[: -2 * unread or None].encode())
            browser.recv(10 * (not unread))
    assert ask(viewer, path)[0] == 200
    printed = capsys.readouterr()
    assert printed.out + printed.err == ""


def test_marks_nested_too_deep_are_refused_and_odd_comments_kept(viewer: Viewer) -> None:
    path, origin = f"/{viewer.secret}/cases/0/mark", f"http://127.0.0.1:{viewer.server_address[1]}"
    assert ask(viewer, path, "POST", b"[" * 60_000, Origin=origin)[0] == 400
    for comment in ("\ud800", "=1+1", "\x1b[2J"):
        body = json.dumps({"mark": "good", "comment": comment}).encode()
        assert ask(viewer, path, "POST", body, Origin=origin)[0] == 200
    assert ask(viewer, path, "POST", json.dumps({"mark": "good", "comment": "=1+1"}).encode(), Origin=origin)[0] == 200
    assert "'=1+1" in viewer.marks.path.read_text()
    assert viewer.marks.read()["ankle_000"]["comment"] == "=1+1"


def test_a_port_in_use_is_one_line(viewer: Viewer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"port must be free, got \d+ .*; choose another with --port"):
        Viewer([], ReviewMarks(tmp_path / "x.csv"), port=viewer.server_address[1])


def test_the_command_refuses_meshes_of_folders(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(folder / "scans"), str(folder / "out"), "--mesh", "a.ply", "--no-browser"]) == 1
    assert "--mesh must go with one scan, got folders" in capsys.readouterr().err
    assert main(["view", str(folder / "none.nii"), str(folder / "out" / "ankle_000_seg.nii.gz"), "--no-browser"]) == 1
    assert "none.nii" in capsys.readouterr().err
    assert pair_case(folder / "scans" / "ankle_000.nii.gz", folder / "out" / "ankle_000_seg.nii.gz").name == "ankle_000"


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with Chromium() as browser:
        yield browser


def picture(page: Page) -> np.ndarray:
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)


def colored(image: np.ndarray, color: str) -> np.ndarray:
    """Whether pixels are of about the hue of a colour, over grey."""
    wanted = np.array(ImageColor.getrgb(color), float)
    tint = image - image.mean(axis=-1, keepdims=True)
    hue = wanted - wanted.mean()
    strong = np.linalg.norm(tint, axis=-1) > 25
    along = tint @ hue / (np.linalg.norm(hue) * np.maximum(np.linalg.norm(tint, axis=-1), 1))
    return strong & (along > 0.95)


def amount(image: np.ndarray, color: str) -> int:
    return int(colored(image, color).sum())


@pytest.mark.parametrize("width", [1280, 400])
def test_it_renders_and_takes_marks(viewer: Viewer, browser: Chromium, width: int) -> None:
    page = browser.open(viewer.url, width=width, height=800)
    page.wait_for("document.body.dataset.state === 'shown'")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # nothing sticks out
    found = page.evaluate("[...document.querySelectorAll('#bones .found')].map(e => e.textContent)")
    assert found == [
        "confidence 0.91",
        "expected Dice (not calibrated) 0.60 · low-confidence",
        "confidence 0.90 · cut-by-field-of-view",
    ]
    marks = page.evaluate("[...document.querySelectorAll('#marks-layer > div')].map(e => e.innerText.split(/\\s+/))")
    assert [(*each[:4], each[4]) for each in marks] == [
        ("R", "L", "S", "I", "coronal"),
        ("A", "P", "S", "I", "sagittal"),
        ("R", "L", "A", "P", "axial"),
    ]
    lines = page.evaluate("[...document.querySelectorAll('#marks-layer i')].map(e => [e.clientWidth, e.clientHeight])")
    assert [min(line) for line in lines] == [1] * 6  # a thin crosshair
    shown = picture(page)
    box = "document.getElementById('canvas').getBoundingClientRect()"
    canvas = page.evaluate(f"(e => [e.x, e.y, e.right, e.bottom])({box})")
    left, top, right, bottom = (max(0, round(edge)) for edge in canvas)
    shown = shown[top:bottom, left:right]
    grey = np.ptp(shown, axis=-1) < 12
    assert (grey & (shown.mean(axis=-1) > 60)).sum() > 2000  # the scan
    amounts = [amount(shown, color) for color in COLORS[:3]]
    assert min(amounts) > 50, amounts  # each bone
    page.evaluate("(e => { e.value = 0; e.dispatchEvent(new Event('input')); })(document.getElementById('opacity'))")
    without = picture(page)[top:bottom, left:right]
    # The remaining colours are the surfaces in 3D.
    assert sum(amount(without, color) for color in COLORS[:3]) < 0.6 * sum(amounts)

    page.evaluate("(e => { e.value = 50; e.dispatchEvent(new Event('input')); })(document.getElementById('opacity'))")
    before = picture(page)[top:bottom, left:right]
    page.press("1")
    assert (picture(page)[top:bottom, left:right] != before).any()  # jumped to the calcaneus
    page.press("x")
    page.wait_for("document.title === 'ankle_001' && document.body.dataset.state === 'shown'")
    saved = page.evaluate("document.getElementById('saved').textContent")
    assert saved == "ankle_000: needs correction, saved in review.csv"
    assert page.evaluate("location.search") == "?case=ankle_001"
    with viewer.marks.path.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["case"], row["mark"]) == ("ankle_000", "needs correction")
    assert page.evaluate("document.getElementById('progress').textContent") == "2 of 2, 1 reviewed"
    page.press("g")  # of the last case
    page.wait_for("document.getElementById('progress').textContent === '2 of 2, 2 reviewed'")
    assert page.evaluate("document.title") == "ankle_001"
    assert page.errors == []
    assert all(url.startswith((viewer.url, "data:", "blob:")) for url in page.requests), page.requests


def test_what_cannot_be_shown_is_said(folder: Path, tmp_path: Path, browser: Chromium) -> None:
    bad = tmp_path / "bad_seg.nii.gz"
    bad.write_bytes(b"nothing")
    cases = [pair_case(folder / "scans" / "ankle_000.nii.gz", bad)]
    with serving(cases, tmp_path / "review.csv") as viewer:
        page = browser.open(viewer.url)
        page.wait_for("document.body.dataset.state === 'failed'")
        assert "bad_seg.nii.gz" in page.evaluate("document.getElementById('message').textContent")


def cone(folder: Path) -> ViewedCase:
    """A tall scan of thick slices, 40 x 40 x 304 mm, with a cone that is 3 mm narrower a slice."""
    x, y, z = np.ogrid[:80, :80, :38]
    labels = (np.hypot(x - 40, y - 40) < 36 - 3 * np.abs(z - 18)).astype(np.uint8)
    scan = np.random.default_rng(0).uniform(0, 50, labels.shape).astype(np.float32)
    scan[20, 60, 30] = 987.6
    affine = np.diag([-0.5, 0.5, 8.0, 1.0])
    nib.save(nib.Nifti1Image(scan, affine), folder / "größe &c.nii.gz")
    nib.save(nib.Nifti1Image(labels, affine), folder / "größe &c_seg.nii.gz")
    (folder / "größe &c_seg.json").write_text(json.dumps({"labels": {"1": "<b>Wadenbein</b> größer"}}))
    return pair_case(folder / "größe &c.nii.gz", folder / "größe &c_seg.nii.gz")


def test_tall_scans_fill_the_canvas_with_smooth_outlines_and_true_positions(tmp_path: Path, browser: Chromium) -> None:
    with serving([cone(tmp_path)], tmp_path / "review.csv") as viewer:
        page = browser.open(viewer.url_of("größe &c"), width=1000, height=700)
        page.wait_for("document.body.dataset.state === 'shown'")
        assert page.evaluate("document.querySelector('#bones .name').textContent") == "<b>Wadenbein</b> größer"
        frame, *planes = page.evaluate(
            "[...document.querySelectorAll('#frame, #marks-layer > div')].map(e => [e.clientWidth, e.clientHeight])"
        )
        coronal, sagittal, axial = planes
        assert min(coronal[1], sagittal[1]) > 0.97 * frame[1]
        assert min(axial) > 0.45 * frame[0]

        page.evaluate("viewer.goTo([-10, 30, 240])")  # voxel 20, 60, 30 of the file, whose x goes to the left
        assert page.evaluate("document.getElementById('place').textContent").startswith("crosshair ")
        place = page.evaluate("[...document.querySelectorAll('#place b')].map(e => e.textContent)")
        assert place == ["", "sagittal 21, coronal 61, axial 31", "L 10.0 A 30.0 S 240.0", "987.6", "no bone"]
        box = "document.getElementById('canvas').getBoundingClientRect()"
        where = "viewer.frac2canvasPosWithTile(viewer.scene.crosshairPos, 0).pos"
        x, y = page.evaluate(f"(([x, y], box) => [box.x + x + 10, box.y + y])({where}, {box})")
        page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        assert page.evaluate("document.getElementById('place').textContent").startswith("pointer in the axial plane")

        page.evaluate("document.getElementById('outline').click(); viewer.show([1])")
        page.evaluate("document.getElementById('marks-layer').hidden = true; viewer.goTo([-20, 20, 0])")
        shown = picture(page)[60:640, :700]
        edges = [np.flatnonzero(row)[0] for row in colored(shown, COLORS[0]) if row.any()]
        assert len(edges) > 250
        # Stairs of the voxels would be 3.6 pixels wide; where the cone ends and begins, its edge runs across.
        assert np.abs(np.diff(edges[20:-20])).max() <= 2
        assert page.errors == []


def test_a_report_runs_no_script_but_our_own(viewer: Viewer) -> None:
    status, content, headers = ask(viewer, f"/{viewer.secret}/report.html")
    assert (status, content) == (200, b"<script>alert(1)</script>")
    policy = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    page = render_page(Path(pages.__file__).parent / "page" / "base.html.j2", title="x")
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy["script-src"] == f"'sha256-{digest}'"
    assert json.loads(ask(viewer, f"/{viewer.secret}/cases.json")[1])["has_report"]
    assert viewer.report is not None
    viewer.report = viewer.report.with_name("none.html")
    assert ask(viewer, f"/{viewer.secret}/report.html")[0] == 404
    assert not json.loads(ask(viewer, f"/{viewer.secret}/cases.json")[1])["has_report"]


def test_a_case_has_an_address(viewer: Viewer) -> None:
    assert viewer.url_of("ankle_001") == f"{viewer.url}?case=ankle_001"
    with pytest.raises(InputError, match=r"case must be one of 2 viewed cases, got 'ankle_01'; did you mean ankle_001"):
        viewer.url_of("ankle_01")


def test_cases_that_do_not_fit_are_named(folder: Path, tmp_path: Path) -> None:
    scans, out = folder / "scans", folder / "out"
    good, bad = (
        ViewedCase(name, scans / f"{name}.nii.gz", out / "ankle_000_seg.nii.gz") for name in ("ankle_000", "ankle_001")
    )
    lost = ViewedCase("lost", None, out / "ankle_000_seg.nii.gz")
    with Viewer([good, bad, lost], ReviewMarks(tmp_path / "review.csv")) as viewer:
        first, second = viewer.find_misfits()
        assert re.match(r"label map ankle_000_seg.nii.gz must have the \w+ of ankle_001.nii.gz, ", first)
        assert second.startswith("scan of lost must be among the scans, got none")
        viewer.cases = [bad]
        with pytest.raises(InputError, match=r"label map ankle_000_seg.nii.gz must have the \w+ of ankle_001.nii.gz, "):
            viewer.find_misfits()
        viewer.cases = [bad, lost]
        with pytest.raises(InputError, match="one of the 2 cases must be fit to be shown, got none; label map"):
            viewer.find_misfits()
