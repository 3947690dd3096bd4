#!/usr/bin/env bash
# Check a packaged bundle in the MONAI Deploy App SDK: a DICOM MR series in, DICOM SEG out. Ends with 0 and "green: ...".
# Usage: tests/consumers/monai_deploy/run.sh [--bundle FOLDER] [--venv FOLDER] [--multijoint COMMAND] [--work FOLDER]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../options.sh"

if ! cmp -s "$here/requirements.txt" "$venv/installed.txt"; then
  "${PYTHON:-python3.11}" -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet -r "$here/requirements.txt"
  "$venv/bin/pip" install --quiet --no-deps monai-deploy-app-sdk==3.5.0
  cp "$here/requirements.txt" "$venv/installed.txt"
fi
# holoscan asks for both, on a machine without a GPU too.
ulimit -s 32768
site=$("$venv/bin/python" -c "import sysconfig; print(sysconfig.get_path('purelib'))")
export LD_LIBRARY_PATH=$site/nvidia/cuda_runtime/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
# The bundle's package is the only `custom_components` in this environment.
exec env -u PYTHONPATH "$venv/bin/python" "$here/check.py" --bundle "$bundle" --multijoint "$multijoint" "${more[@]}"
