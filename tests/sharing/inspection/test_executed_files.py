"""Files that run without being asked for."""

import pytest

from multijoint.sharing.inspection.executed_files import executed_by_others

RUN = """
.git/config .git/hooks/post-checkout .envrc .env .vscode/tasks.json .vscode/settings.json .idea/workspace.xml .bashrc
docs/.profile .github/workflows/ci.yml .gitlab-ci.yml .pre-commit-config.yaml .devcontainer/devcontainer.json .netrc
Makefile docs/makefile GNUmakefile rules.mk CMakeLists.txt Dockerfile Dockerfile.gpu docker-compose.yml setup.py
setup.cfg pyproject.toml tox.ini conftest.py sitecustomize.py usercustomize.py x.pth noxfile.py requirements.txt
requirements-dev.txt environment.yml package.json Jenkinsfile demo.ipynb run.sh run.bat x.ps1 index.html logo.svg
x.desktop a.lnk x.so hooks/pre-commit HEAD config x.egg-link a.dist-info/entry_points.txt app.code-workspace
.mypy_cache/x.json binder/start
"""
PLAIN = """
LICENSE README.md configs/inference.json configs/train.yaml configs/logging.conf docs/README.md docs/data_license.txt
docs/picture.png models/model.pt models/model.ts models/ankle.onnx models/ankle.int8.onnx models/model.pt.sha256
large_files.yml checksums.sha256 custom_components/networks/unet.py .gitattributes docs/.gitignore
"""


def test_what_other_programs_execute_is_named() -> None:
    names = RUN.split()
    assert [name for name in (*names, *map(str.upper, names)) if not executed_by_others(name)] == []


@pytest.mark.parametrize("name", PLAIN.split())
def test_what_bundles_hold_is_not(name: str) -> None:
    assert executed_by_others(name) == ""
