"""The pages build as a site without a warning, and the API reference has every public name."""

import os
import sys
from pathlib import Path

import pytest
from support.documented import PAGES, ROOT
from support.processes import run


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    run(command, check=True, cwd=ROOT, env=environment)
    return folder


def test_every_page_is_on_the_site(site: Path) -> None:
    built = {path.parent.relative_to(site).as_posix() for path in site.rglob("index.html")}
    docs = ROOT / "docs"
    pages = {path.relative_to(docs).with_suffix("").as_posix() for path in PAGES if path.is_relative_to(docs)}
    assert {page.removesuffix("/index") for page in pages} <= built
    assert {".", "changelog", "contributing", "data_manifests"} <= built


@pytest.mark.parametrize("name", ["networks.unet.MultiDomainUNet", "losses.MultiDomainSegmentationLoss"])
def test_reference_has_the_docstrings_of_public_names(site: Path, name: str) -> None:
    page = f"custom_components.{name.partition('.')[0]}"
    text = (site / "reference" / "api" / page / "index.html").read_text(encoding="utf-8")
    assert f'id="custom_components.{name}"' in text
    assert "Boutillon et al. 2021" in text  # the docstring's source


def test_the_site_asks_no_other_server(site: Path) -> None:
    text = (site / "index.html").read_text(encoding="utf-8")
    assert "fonts.googleapis" not in text
    assert 'src="http' not in text
