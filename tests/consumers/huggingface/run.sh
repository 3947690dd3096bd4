#!/usr/bin/env bash
# Hugging Face: push packaged bundles to a hub on this machine. Usage: run.sh [FOLDER ...]; without one, a small sample.
# VENV=FOLDER puts the environment elsewhere than .venv next to this file.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
venv=${VENV:-$here/.venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"
export PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=1
[ $# -gt 0 ] || set -- ""
for bundle in "$@"; do
    "$venv/bin/python" "$here/dry_run.py" ${bundle:+"$bundle"}
done
