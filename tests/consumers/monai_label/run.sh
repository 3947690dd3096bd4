#!/usr/bin/env bash
# Check a packaged bundle in MONAI Label: server, inference and training over REST. Ends with 0 and "green: ...".
# Usage: tests/consumers/monai_label/run.sh [--bundle FOLDER] [--venv FOLDER] [--multijoint COMMAND] [--work FOLDER]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../options.sh"

if ! cmp -s "$here/requirements.txt" "$venv/installed.txt"; then
  "${PYTHON:-python3.11}" -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet -r "$here/requirements.txt"
  "$venv/bin/pip" install --quiet --no-deps monailabel==0.8.5 pydicom-seg==0.4.1
  # torchvision does not load with a torch for CPUs. MONAI Label imports two functions of it, for pictures that the
  # monaibundle app never draws.
  if ! "$venv/bin/python" -c "import torchvision.utils" 2>/dev/null; then
    stub=$("$venv/bin/python" -c "import sysconfig; print(sysconfig.get_path('purelib'))")/torchvision
    mkdir -p "$stub"
    : > "$stub/__init__.py"
    echo "make_grid = save_image = None" > "$stub/utils.py"
  fi
  cp "$here/requirements.txt" "$venv/installed.txt"
fi
# The bundle's package is the only `custom_components` in this environment.
exec env -u PYTHONPATH "$venv/bin/python" "$here/check.py" --bundle "$bundle" --multijoint "$multijoint" "${more[@]}"
