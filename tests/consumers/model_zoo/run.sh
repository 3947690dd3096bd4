#!/usr/bin/env bash
# The model zoo: a packaged bundle alone in an environment of its declared requirements, then by the zoo's public rules.
# Usage: run.sh dist/NAME ...; next to each folder lies NAME_v<version>.zip, which alone is used (but for weights elsewhere).
# VENV=FOLDER holds the environments (default .venv next to this file); SCHEMA=FILE or --schema FILE is the zoo's schema;
# PROJECT=PYTHON is the interpreter of the project's own environment, with multijoint next to it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=${VENV:-$here/.venv}
schema=${SCHEMA:-$here/schema.json}
project=${PROJECT:-$here/../../../.venv/bin/python}
bundles=() failed=() number=0
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
[ -x "$multijoint" ] || { echo "PROJECT must be a python with multijoint next to it, got $project" >&2; exit 2; }

export PYTHONNOUSERSITE=1 OMP_NUM_THREADS=1 CUDA_VISIBLE_DEVICES= PIP_DISABLE_PIP_VERSION_CHECK=1
export PYTHONDONTWRITEBYTECODE=1
unset PYTHONPATH PYTHONPYCACHEPREFIX
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for bundle in "${bundles[@]}"; do
    bundle=${bundle%/}
    name=$(basename "$bundle")
    place=$work/$((++number))
    started=$(date +%s)
    python3 "$here/unpack.py" "$bundle" --out "$place" # the folder NAME, and requirements.txt
    wanted=$place/requirements.txt
    # One fresh environment for all bundles of this call that declare the same.
    if ! cmp -s "$wanted" "$work/installed.txt"; then
        "${PYTHON:-python3}" -m venv --clear "$venv/declared"
        "$venv/declared/bin/pip" install -qq -r "$wanted"
        "${PYTHON:-python3}" -m venv --clear "$venv/zoo"
        "$venv/zoo/bin/pip" install -qq -r "$wanted" -r "$here/requirements.txt"
        cp "$wanted" "$work/installed.txt"
    fi
    echo "$name: environments of $(wc -l <"$wanted") declared requirements, $(($(date +%s) - started)) s"
    "$venv/declared/bin/python" "$here/alone.py" "$place/$name" --zip "$(echo "$bundle"_v*.zip)" \
        --multijoint "$multijoint" --work "$place"
    # MONAI says much: what counts are the lines from the verdict on.
    if "$venv/zoo/bin/python" "$here/verify.py" "$place/$name" --schema "$schema" \
        --phantoms "$place/phantoms" --work "$place/zoo" >"$work/log" 2>&1; then
        tail -n 1 "$work/log"
    else
        grep -q "^red:" "$work/log" && sed -n "/^red:/,\$p" "$work/log" || tail -n 40 "$work/log"
        failed+=("$name")
    fi
done
[ ${#failed[@]} -eq 0 ] || { echo "red: model zoo: ${failed[*]}"; exit 1; }
# The rules themselves: spoilt copies of the first bundle must be refused.
name=$(basename "${bundles[0]}")
"$venv/zoo/bin/python" "$here/spoilt.py" "$work/1/$name" --schema "$schema" --phantoms "$work/1/phantoms"
echo "green: model zoo: ${#bundles[@]} bundle(s) alone and by the rules of verify_bundle.py"
