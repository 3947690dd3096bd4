# Sourced by the run.sh of a consumer, which has set `here`: reads its options into bundle, venv, multijoint and more.
root=$(cd "$here/../../.." && pwd)
bundle=$root/dist/multijoint_mr_bone_segmentation
venv=$here/.venv
multijoint=$root/.venv/bin/multijoint
more=()
while [ $# -gt 0 ]; do
  case $1 in
    --bundle) bundle=$2 ;;
    --venv) venv=$2 ;;
    --multijoint) multijoint=$2 ;;
    --work) more=(--work "$2") ;;
    *) echo "usage: $0 [--bundle FOLDER] [--venv FOLDER] [--multijoint COMMAND] [--work FOLDER]" >&2; exit 2 ;;
  esac
  shift 2
done
if [ ! -d "$bundle/configs" ]; then
  echo "bundle must be the folder of a packaged bundle, got $bundle; make one with multijoint package" >&2
  exit 1
fi
