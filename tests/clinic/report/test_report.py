"""The report: everything in one file, nothing hidden, nothing loaded; looked at as HTML and in a browser."""

import csv
import io
import json
import os
import re
import sys
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import nibabel
import numpy as np
import pytest
import yaml
from custom_components.io.pictures import draw_panels
from custom_components.system import terminal
from PIL import Image
from support.chromium import Chromium
from support.commands import error_line
from support.processes import run

from multijoint.cli import main
from multijoint.clinic.report.cases import encode_small
from multijoint.clinic.report.glossary import explain_flag
from multijoint.clinic.report.results import find_references
from multijoint.clinic.report.run import read_run

HOSTILE = "<img src=x onerror=alert(1)>&\"'"


class Parsed(HTMLParser):
    """Checks that tags are closed in order, and collects them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "input", "br", "link", "hr"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def out(manifests: dict[str, str], tmp_path: Path) -> Path:
    """Results: a good one, one that lacks a bone, one that failed, one with a hostile name for a bone."""
    root, folder = Path(manifests["ankle"]).parent, tmp_path / "out"
    folder.mkdir()
    rows = []
    for number in range(3):
        case = f"ankle_00{number}"
        label = nibabel.load(root / "labels" / f"{case}.nii.gz")
        voxels = np.asarray(label.dataobj).copy()
        if number == 1:
            voxels[voxels == 2] = 0
        nibabel.save(nibabel.Nifti1Image(voxels, label.affine, label.header), folder / f"{case}_seg.nii.gz")
        names = {"0": "background", "1": HOSTILE if number == 2 else "calcaneus", "2": "talus", "3": "tibia"}
        record = {"image": f"{case}.nii.gz", "labels": names, "domain": "ankle", "label_map_sha256": None}
        (folder / f"{case}_seg.json").write_text(json.dumps(record))
        rows.append({"file": f"{case}.nii.gz", "status": "written", "cause": "", "output": f"{case}_seg.nii.gz"})
    rows.append({"file": "x.nii.gz", "status": "failed", "cause": f"no NIfTI {HOSTILE}", "output": ""})
    with (folder / "segment_report.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["file", "status", "cause", "seconds", "output"], restval="")
        writer.writeheader()
        writer.writerows(rows)
    return folder


def write(out: Path, *more: str) -> str:
    assert main(["report", str(out), *more]) == 0
    return (out / "report.html").read_text()


def test_one_file_that_asks_for_nothing(out: Path, manifests: dict[str, str]) -> None:
    root = Path(manifests["ankle"]).parent
    text = write(out, "--scans", str(root / "images"), "--references", manifests["ankle"])
    page = Parsed(text)
    [policy] = [each["content"] for each in page.all("meta") if each.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert not page.all("link")
    assert not page.all("iframe")
    assert all(str(image["src"]).startswith("data:image/webp;base64,") for image in page.all("img"))
    assert len(page.all("img")) == 9  # three planes a case
    assert all(image["alt"] for image in page.all("img"))
    assert str(root) not in text
    assert str(out) not in text
    assert page.all("html")[0]["lang"] == "en"
    assert len({each["id"] for _, each in page.tags if "id" in each}) == sum("id" in each for _, each in page.tags)


def test_what_failed_and_what_is_missing_comes_first_and_looks_bad(out: Path, manifests: dict[str, str]) -> None:
    text = write(out, "--references", manifests["ankle"])
    page = Parsed(text)
    names = re.findall(r'<th scope="row" data-sort="[^"]*"><a href="#case-\d+">([^<]*)</a></th>', text)
    assert names[:2] == ["x", "ankle_001"]
    assert sorted(names[2:]) == ["ankle_000", "ankle_002"]
    assert "missing" in page.text
    assert "0 missed" in page.text  # Dice of the talus, not left out
    assert "1.000" in page.text  # and of the others
    assert f"no NIfTI {HOSTILE}" in page.text
    assert HOSTILE in page.text
    assert not [each for each in page.all("img") if "onerror" in each]


def test_each_flag_is_explained_where_it_stands(out: Path, manifests: dict[str, str]) -> None:
    row = dict.fromkeys(("case", "label", "flags", "components", "confidence"), "")
    rows = [row | {"case": "ankle_000", "label": "1", "flags": "several-components;low-confidence", "components": "3"}]
    rows += [row | {"case": "ankle_002", "label": "2", "flags": "own-flag", "confidence": "0.7"}]
    with (out / "quality.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerows(rows)
    text = write(out, "--references", manifests["ankle"])
    shown = dict.fromkeys(["missing", "missed", "several-components", "low-confidence", "own-flag"])
    for flag in shown:
        stands = re.findall(rf'class="flag(?: grave)?">(?:[^<>]*: )?{flag}<', text)
        assert len(stands) == 3, flag  # in the glossary, in the table of cases and in the card
        assert text.count(explain_flag(flag)) == 3, flag
    assert "</span> <b>3 parts.</b> The network found" in text


def test_a_flag_of_the_scan_stands_once_however_many_bones_have_it(out: Path) -> None:
    rows = [f"ankle_000,{label},unlike-domain" for label in (1, 2, 3)]
    (out / "quality.csv").write_text("\n".join(["case,label,flags", *rows]))
    text = write(out)
    assert re.findall(r'class="flag">([^<]*unlike-domain)<', text) == ["unlike-domain"] * 3  # glossary, table, card


def test_a_name_that_is_no_text_costs_the_report_nothing(out: Path) -> None:
    for path in out.glob("ankle_000_seg.*"):
        path.rename(path.with_name(path.name.replace("ankle_000", os.fsdecode(b"caf\xe9"))))
    (out / "segment_report.csv").unlink()
    assert "caf?" in write(out)


def test_one_case_has_no_ranges_and_no_plural(out: Path, manifests: dict[str, str]) -> None:
    for path in [*out.glob("ankle_001*"), *out.glob("ankle_002*"), out / "segment_report.csv"]:
        path.unlink()
    words = " ".join(Parsed(write(out, "--references", manifests["ankle"])).text.split())
    assert words.startswith("Report of 1 case")
    assert "1 case in all." in words
    assert "1 cases" not in words
    overview = words[words.index("Overview 1 case") : words.index("Cases Search")]
    assert "calcaneus ankle 1 0" in overview
    for word in ("median", "mean", "least", "(SD", " to ", "(1)", "; 1"):
        assert word not in overview, word


def test_references_of_several_manifests_score_each_its_own(
    out: Path, manifests: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in (Path(manifests["ankle"]).parent, Path(manifests["shoulder"]).parent):
        (tmp_path / folder.name).symlink_to(folder)
    both = [str(tmp_path / name / "manifest.yaml") for name in ("shoulder", "ankle")]
    label = nibabel.load(tmp_path / "shoulder" / "labels" / "shoulder_000.nii.gz")
    nibabel.save(label, out / "shoulder_000_seg.nii.gz")
    record = {"labels": {"1": "humerus", "2": "scapula"}, "domain": "shoulder"}
    (out / "shoulder_000_seg.json").write_text(json.dumps(record))
    text = write(out, "--references", *both)
    assert text.count("no reference was found") == 0
    overview = text[: text.index('<h2 id="cases">')]
    assert [
        name for name in ("calcaneus", "tibia", "humerus", "scapula") if f"{name}</span></th>" not in overview
    ] == []
    assert overview.count("1.000") >= 3
    assert (
        main(["report", str(out), "--references", both[1], str(tmp_path / "ankle" / "labels")]) == 0
    )  # the same files
    other = tmp_path / "other"
    other.mkdir()
    nibabel.save(nibabel.load(tmp_path / "ankle" / "labels" / "ankle_000.nii.gz"), other / "ankle_000.nii.gz")
    capsys.readouterr()
    assert main(["report", str(out), "--references", both[1], str(other)]) == 1
    assert "reference of case ankle_000 must be one label map, got another in other" in error_line(capsys)


def test_a_name_in_two_data_sets_needs_its_domain(manifests: dict[str, str], tmp_path: Path) -> None:
    given = []
    for domain in ("ankle", "shoulder"):
        root = Path(manifests[domain]).parent
        for kind in ("images", "labels"):
            (tmp_path / domain / kind).mkdir(parents=True)
            (tmp_path / domain / kind / "p01.nii.gz").symlink_to(root / kind / f"{domain}_000.nii.gz")
        case = {"name": "p01", "image": "images/p01.nii.gz", "label": "labels/p01.nii.gz"}
        given.append(tmp_path / domain / "manifest.yaml")
        given[-1].write_text(yaml.safe_dump(yaml.safe_load(Path(manifests[domain]).read_text()) | {"cases": [case]}))
    labels = {domain: tmp_path / domain / "labels" / "p01.nii.gz" for domain in ("ankle", "shoulder")}
    assert find_references(given) == {f"{domain}/p01": path for domain, path in labels.items()}
    assert find_references(given[:1])["p01"] == labels["ankle"]


def test_nothing_to_report_on_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path / "none")]) == 1
    assert "folder to report on must exist, got none" in error_line(capsys)
    assert main(["report", str(tmp_path)]) == 1
    assert "must hold results of multijoint segment or a training's run, got neither" in error_line(capsys)


def test_references_and_scans_that_fit_nothing_are_one_line(
    out: Path, manifests: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(out), "--references", manifests["shoulder"]]) == 1
    assert "references must have the names of the cases, got none that fits" in error_line(capsys)
    assert not (out / "report.html").exists()


def test_a_training_has_its_curves_split_and_settings(trained: Path, tmp_path: Path) -> None:
    page = tmp_path / "run.html"
    assert main(["report", str(trained), "--out", str(page)]) == 0
    text = page.read_text()
    parsed = Parsed(text)
    assert parsed.all("svg")
    assert all(word in parsed.text for word in ("Trained on", "Validated on", "image_size", "torch", "ankle_00"))
    assert str(trained) not in text


def test_what_was_auto_is_shown_as_planned(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("epoch,loss\n1,0.5\n")
    (tmp_path / "config.yaml").write_text("max_epochs: auto\nwidths: auto\nseed: 3\n")
    (tmp_path / "plan.json").write_text(json.dumps({"max_epochs": 7, "widths": [4, 8], "lines": ["why"]}))
    assert read_run(tmp_path).settings == {"max_epochs": 7, "widths": [4, 8], "seed": 3}


def test_a_result_changed_since_is_said(out: Path) -> None:
    record = out / "ankle_000_seg.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"label_map_sha256": "0" * 64}))
    assert "the label map has been changed since it was written" in write(out)


@pytest.mark.parametrize("more", [[], ["--quiet"]])
def test_a_bar_counts_the_cases_unless_quiet(
    out: Path, more: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "_DELAY_S", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    write(out, *more)
    assert ("/4 [" in capsys.readouterr().err) == (not more)


def test_importing_the_clinic_leaves_matplotlib_alone() -> None:
    code = "import sys, multijoint.clinic as clinic; [getattr(clinic, name) for name in clinic.__all__]; "
    code += "import multijoint.clinic.report.report; sys.exit('matplotlib' in sys.modules)"
    run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})


def test_noise_does_not_make_a_picture_heavy() -> None:
    voxels = np.random.default_rng(0).uniform(0, 1, (128, 128, 128)).astype(np.float32)
    empty = np.zeros(voxels.shape, np.uint8)
    [panel] = draw_panels(empty, {"axial": (640, 640)}, names={}, voxels=voxels).values()
    data = encode_small(panel)
    assert len(data) <= 13_000
    assert Image.open(io.BytesIO(data)).format == "WEBP"


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with Chromium() as browser:
        yield browser


SCROLLING = """[...document.querySelectorAll("body *")].filter(e => e.id !== "large" &&
  /auto|scroll/.test(getComputedStyle(e).overflowX + getComputedStyle(e).overflowY)).length"""
OUTSIDE = """[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().width &&
  (e.getBoundingClientRect().right > innerWidth + 1 || e.getBoundingClientRect().left < -1) && e.className !== "skip")
  .map(e => e.outerHTML.slice(0, 80))"""


@pytest.mark.parametrize("width", [1280, 1000, 400])
def test_every_cell_is_in_view_at_any_width_and_no_box_scrolls(
    out: Path, manifests: dict[str, str], trained: Path, browser: Chromium, width: int
) -> None:
    root = Path(manifests["ankle"]).parent
    long = "tuberositas_ossis_metatarsalis_quinti_of_the_left_foot"
    record = json.loads((out / "ankle_000_seg.json").read_text())
    record["labels"]["1"] = long
    (out / "ankle_000_seg.json").write_text(json.dumps(record))
    rows = [f"ankle_00{number},{label},0.7" for number in range(3) for label in (1, 2, 3)]
    (out / "quality.csv").write_text("\n".join(["case,label,confidence", *rows]))
    write(out, "--scans", str(root / "images"), "--references", manifests["ankle"], "--run", str(trained))
    page = browser.open((out / "report.html").resolve().as_uri(), width=width, height=800)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)") is None
    assert page.evaluate(SCROLLING) == 0
    assert page.evaluate(OUTSIDE) == []
    cells = "[...document.querySelectorAll('#cohort td')].filter(e => !e.getBoundingClientRect().height).length"
    assert page.evaluate(cells) == 0
    assert page.evaluate("document.querySelectorAll('#cohort th').length") >= 9
    shown = "getComputedStyle(document.querySelector('#cohort td'), '::before').content"
    assert (page.evaluate(shown) == '"Domain"' or "attr(data-label)" in page.evaluate(shown)) == (width < 1280)
    assert page.errors == []


def test_pictures_open_large(out: Path, manifests: dict[str, str], browser: Chromium) -> None:
    root = Path(manifests["ankle"]).parent
    write(out, "--scans", str(root / "images"))
    page = browser.open((out / "report.html").resolve().as_uri())
    small = page.evaluate("document.querySelector('button.picture img').getBoundingClientRect().width")
    page.click("button.picture")
    page.wait_for("document.querySelector('#large[open] img').complete")
    assert page.evaluate("document.querySelector('#large img').getBoundingClientRect().width") > 2 * small
    assert page.evaluate("document.querySelector('#large img').naturalWidth") > 400
    title = "document.querySelector('#large p').textContent"
    assert "axial" in page.evaluate(title)
    page.press("ArrowRight")
    assert "coronal" in page.evaluate(title)
    page.press("Escape")
    assert not page.evaluate("document.getElementById('large').open")
    assert page.errors == []


def test_a_case_names_its_command_and_in_the_viewer_links_there(out: Path, browser: Chromium) -> None:
    for path in out.glob("ankle_000_seg.*"):
        path.rename(path.with_name(path.name.replace("ankle_000", "it's & 1")))
    (out / "segment_report.csv").unlink()
    text = write(out)
    assert "multijoint view SCANS OUT --case &#39;it&#39;&#34;&#39;&#34;&#39;s &amp; 1&#39;" in text
    shown = "[...document.querySelectorAll('.card .view-%s')].filter(e => e.getBoundingClientRect().height).length"
    page = browser.open((out / "report.html").resolve().as_uri())
    assert (page.evaluate(shown % "command"), page.evaluate(shown % "link")) == (3, 0)
    handler = partial(SimpleHTTPRequestHandler, directory=str(out))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        page = browser.open(f"http://127.0.0.1:{server.server_port}/secret/../report.html")
        assert (page.evaluate(shown % "command"), page.evaluate(shown % "link")) == (0, 3)
        links = page.evaluate("[...document.querySelectorAll('.view-link')].map(e => new URL(e.href))"
                              ".map(e => [e.pathname, e.searchParams.get('case')])")  # fmt: skip
        server.shutdown()
    assert ["/", "it's & 1"] in links


@pytest.mark.parametrize("width", [1280, 400])
def test_sorted_and_filtered_in_a_browser(out: Path, browser: Chromium, width: int) -> None:
    write(out)
    url = (out / "report.html").resolve().as_uri()
    page = browser.open(url, width=width, height=800)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shown = "[...document.querySelectorAll('#cohort tbody tr')].filter(e => !e.hidden).map(e => e.cells[0].textContent)"
    assert page.evaluate(shown)[0] == "x"
    header = "#cohort th:first-child button"
    page.click(header)
    assert page.evaluate(shown) == ["ankle_000", "ankle_001", "ankle_002", "x"]
    assert page.evaluate("document.querySelector('#cohort th').getAttribute('aria-sort')") == "ascending"
    page.evaluate(f"document.querySelector({header!r}).focus()")
    page.press("Enter")  # the keyboard works like the mouse
    assert page.evaluate(shown)[0] == "x"
    change = "e.dispatchEvent(new Event('input', {bubbles: true}))"
    choose = f"(e => {{ e.value = %r; {change}; }})(document.forms.controls.%s)"
    page.evaluate(choose % ("is:missing", "flag"))
    assert page.evaluate(shown) == ["ankle_001"]
    assert page.evaluate("[...document.querySelectorAll('.card')].filter(e => !e.hidden).length") == 1
    assert page.evaluate("document.getElementById('count').textContent") == "1 of 4 cases are shown."
    page.evaluate(choose % ("", "flag"))
    page.evaluate(choose % ("no nifti", "text"))
    assert page.evaluate(shown) == ["x"]
    page.press("Tab")
    assert page.evaluate("document.activeElement !== document.body")
    assert page.errors == []
    assert [each for each in page.requests if not each.startswith(("data:", url))] == []
