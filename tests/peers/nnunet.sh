#!/usr/bin/env bash
# nnU-Net v2 beside multijoint on one data set and this machine's processor: training, prediction, memory, accuracy.
# Usage: tests/peers/nnunet.sh DATA [options of compare.py], DATA being a folder with a dataset.json; or, for equally long
# trainings in place of equally many slices, tests/peers/nnunet.sh --minutes M DATA [options of equal_time.py].
# VENV=FOLDER puts nnU-Net's environment elsewhere than .venv beside this file; --work FOLDER what is written.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
venv=${VENV:-$here/.venv}
[ -x "$venv/bin/python" ] || "${PYTHON:-python3.11}" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c "$root/constraints.txt" torch nnunetv2==2.8.1
script=compare.py
[ "${1:-}" = --minutes ] && script=equal_time.py
exec env -u PYTHONPATH CUDA_VISIBLE_DEVICES= "$root/.venv/bin/python" "$here/$script" --nnunet "$venv" "$@"
