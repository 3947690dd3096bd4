#!/usr/bin/env bash
# NVFlare: two hospitals train together in the simulator. Usage: run.sh [options of federate.py].
# VENV=FOLDER puts the environment elsewhere than .venv next to this file; --work FOLDER what it writes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
venv=${VENV:-$here/.venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "$here/../../.."
export PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=1
exec "$venv/bin/python" "$here/federate.py" "$@"
