#!/usr/bin/env bash
# A model zoo: packaged bundles alone in a fresh environment, then the zoo's public rules. Usage: run.sh dist/NAME_vX.zip ...
# VENV=FOLDER puts the environments elsewhere than .venv beside this file; PYTHON=FILE is the python of this project's own
# environment, which makes phantoms and segments them for comparison; SCHEMA=FILE is a schema of metadata.json.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
venv=${VENV:-$here/.venv}
python=${PYTHON:-$here/../../../.venv/bin/python}
[ $# -gt 0 ] || { echo "usage: run.sh dist/NAME_vX.zip ..." >&2; exit 2; }
export PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=1
for bundle in "$@"; do
    "$python" "$here/check.py" "$bundle" --venv "$venv" --schema "${SCHEMA:-$here/schema.json}"
done
