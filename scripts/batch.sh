#!/usr/bin/env bash
# The whole job as one command that can be killed at any moment and run again: convert, fit,
# evaluate, predict. Each step's result is a JSON file in OUT, all of them together OUT/results.json.
#
#   scripts/batch.sh IMAGES LABELS OUT K [WHERE...]
#
# IMAGES and LABELS are IDX files. WHERE is any of --workers N, --scheduler ADDRESS,
# --scheduler-file FILE, ... as `daskcluster fit --help` lists them; without it, this machine's
# threads. FIT_OPTIONS in the environment are given to the fit, such as "--tol 0 --time-budget 50m".
#
# Exit code 75: stopped early (SIGTERM, time budget, no workers); the same command goes on.
#
# Example: scripts/batch.sh train-images-idx3-ubyte.gz train-labels-idx1-ubyte.gz out 10 --workers 2
set -euo pipefail

. "$(dirname "$0")/stoppable.sh"
[ $# -ge 4 ] || usage
images=$1 labels=$2 out=$3 k=$4
shift 4
where=("$@")
read -ra fit_options <<<"${FIT_OPTIONS:-}"
mkdir -p "$out"

step() {
  local name=$1 code=0
  shift
  echo "$name: daskcluster $*" >&2
  stoppable daskcluster "$@" --json ${where[@]+"${where[@]}"} >"$out/$name.json.part" || code=$?
  if [ "$code" -ne 0 ]; then
    rm -f "$out/$name.json.part"
    exit "$code"
  fi
  mv "$out/$name.json.part" "$out/$name.json"
}

step convert convert idx "$images" "$out/rows.zarr" --labels "$labels" --resume
step fit fit "$out/rows.zarr" "$out/model" --k "$k" --resume ${fit_options[@]+"${fit_options[@]}"}
step evaluate evaluate "$out/model" "$out/rows.zarr"
step predict predict "$out/model" "$out/rows.zarr" "$out/labels.zarr" --resume

{
  separator='{'
  for name in convert fit evaluate predict; do
    printf '%s"%s": ' "$separator" "$name"
    cat "$out/$name.json"
    separator=', '
  done
  echo '}'
} >"$out/results.json.part"
mv "$out/results.json.part" "$out/results.json"
echo "$out/results.json" >&2
