#!/usr/bin/env bash
# The model zoo: a packaged bundle alone in an environment of its declared requirements, then by the zoo's public rules.
# Usage: run.sh dist/NAME ...; beside each folder lies NAME_v<version>.zip, which alone is used (but for weights elsewhere).
# VENV=FOLDER holds the environments (default .venv beside this file); SCHEMA=FILE or --schema FILE is the zoo's schema;
# PROJECT=PYTHON is the interpreter of the project's own environment, with multijoint beside it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=${VENV:-$here/.venv}
schema=${SCHEMA:-$here/schema.json}
project=${PROJECT:-$here/../../../.venv/bin/python}
bundles=()
while [ $# -gt 0 ]; do
    case $1 in
    --schema) schema=${2:?--schema must be followed by a file}; shift ;;
    -*) echo "usage: $0 [--schema FILE] dist/NAME ..." >&2; exit 2 ;;
    *) bundles+=("$1") ;;
    esac
    shift
done
[ ${#bundles[@]} -gt 0 ] || { echo "usage: $0 [--schema FILE] dist/NAME ..." >&2; exit 2; }
[ -f "$schema" ] || { echo "schema must be a file, got $schema" >&2; exit 2; }
multijoint=$(dirname "$project")/multijoint
[ -x "$multijoint" ] || { echo "PROJECT must be a python with multijoint beside it, got $project" >&2; exit 2; }

export PYTHONNOUSERSITE=1 OMP_NUM_THREADS=1 CUDA_VISIBLE_DEVICES= PIP_DISABLE_PIP_VERSION_CHECK=1
unset PYTHONPATH PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for bundle in "${bundles[@]}"; do
    bundle=${bundle%/}
    name=$(basename "$bundle")
    started=$(date +%s)
    python3 "$here/unpack.py" "$bundle" --out "$work/$name" # the folder NAME, and requirements.txt
    wanted=$work/$name/requirements.txt
    # One fresh environment for all bundles of this call that declare the same.
    if ! cmp -s "$wanted" "$work/installed.txt"; then
        "${PYTHON:-python3}" -m venv --clear "$venv/declared"
        "$venv/declared/bin/pip" install --quiet -r "$wanted"
        "${PYTHON:-python3}" -m venv --clear "$venv/zoo"
        "$venv/zoo/bin/pip" install --quiet -r "$wanted" -r "$here/requirements.txt"
        cp "$wanted" "$work/installed.txt"
    fi
    echo "$name: environments of $(wc -l <"$wanted") declared requirements, $(($(date +%s) - started)) s"
    "$venv/declared/bin/python" "$here/alone.py" "$work/$name/$name" --zip "$(echo "$bundle"_v*.zip)" \
        --multijoint "$multijoint" --work "$work/$name"
    "$venv/zoo/bin/python" "$here/verify.py" "$work/$name/$name" --schema "$schema" \
        --phantoms "$work/$name/phantoms" --work "$work/$name/zoo"
done
# The rules themselves: spoilt copies of the first bundle must be refused.
name=$(basename "${bundles[0]}")
"$venv/zoo/bin/python" "$here/spoilt.py" "$work/$name/$name" --schema "$schema" --phantoms "$work/$name/phantoms"
echo "green: model zoo: ${#bundles[@]} bundle(s) alone and by the rules of verify_bundle.py"
