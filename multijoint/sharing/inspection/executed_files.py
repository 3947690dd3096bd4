"""Files that some program executes by itself: for their name, their place or their kind, whatever they contain."""

from __future__ import annotations

from pathlib import PurePosixPath

EXECUTED = "code, or what makes a tool run code"
HIDDEN = "hidden file, which shells, editors and version control obey without showing it"

_ENDINGS = """
.a .apk .app .appimage .bash .bat .c .cab .cfg .cjs .class .cmake .cmd .code-workspace .com .command .cpp .csh .cu
.deb .desktop .dll .dmg .docm .dylib .egg .egg-link .exe .fish .gradle .hta .htm .html .iml .ini .ipy .ipynb .iqy
.iso .jar .jl .js .jse .jsx .ksh .lnk .lua .mht .mhtml .mjs .mk .msi .nix .o .php .pif .pl .plist .pptm .ps1 .psd1
.psm1 .pth .pxd .pyc .pyd .pyo .pyw .pyx .pyz .r .rb .reg .rpm .scpt .scr .service .sh .slk .so .sublime-project
.svg .svgz .tf .timer .toml .tsx .url .vbe .vbs .wasm .webloc .whl .workflow .ws .wsf .xhtml .xlam .xll .xlsm .xpi
.zsh
"""
_SUFFIXES = frozenset(_ENDINGS.split())
_WORDS = """
action.yaml action.yml appveyor.yml azure-pipelines.yml bitbucket-pipelines.yml brewfile build buildfile
cmakelists.txt cmakepresets.json compose.yaml compose.yml composer.json config conftest.py containerfile
devcontainer.json docker-bake.json docker-compose.yaml docker-compose.yml dockerfile entry_points.txt
environment.yaml environment.yml fabfile.py gemfile gnumakefile gruntfile guardfile gulpfile head jenkinsfile
justfile launch.json lefthook.yml makefile mkdocs.yaml mkdocs.yml noxfile.py package.json pipfile podfile postbuild
procfile rakefile requirements.txt sconscript sconstruct setup.py sitecustomize.py snakefile start taskfile.yaml
taskfile.yml tasks.json tox.ini usercustomize.py vagrantfile wscript
"""
_NAMES = frozenset(_WORDS.split())
_FOLDERS = frozenset({"hooks", "binder", "cron.d", "autostart", "__pycache__"})
_HARMLESS = frozenset({".gitattributes", ".gitignore", ".gitkeep", ".ds_store", ".cache"})


def executed_by_others(name: str) -> str:
    """Why a file of this path in a bundle is a danger by its name alone; "" if it is none.

    Example:
        >>> executed_by_others("docs/Makefile")
        'code, or what makes a tool run code'
        >>> executed_by_others("models/model.pt")
        ''
    """
    *folders, last = PurePosixPath(name.casefold()).parts or ("",)
    pure = PurePosixPath(last)
    stem = last.partition(".")[0]
    if pure.suffix in _SUFFIXES or last in _NAMES or not _FOLDERS.isdisjoint(folders):
        return EXECUTED
    if stem in ("dockerfile", "makefile", "jenkinsfile") or (stem.startswith("requirements") and pure.suffix == ".txt"):
        return EXECUTED
    return HIDDEN if any(part.startswith(".") and part not in _HARMLESS for part in (*folders, last)) else ""
