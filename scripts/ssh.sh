#!/usr/bin/env bash
# scripts/batch.sh on hosts that are reached by SSH: a scheduler here, a worker on each.
#
#   HOSTS="a b c" scripts/ssh.sh IMAGES LABELS OUT K
#
# The hosts need the same environment at the same path as this one, and must see the same files;
# ADDRESS is what they call this machine (default: its host name), NTHREADS the threads of each
# worker (default: all of its cores). Run it again after exit code 75.
#
# Example: HOSTS="node1 node2" scripts/ssh.sh /shared/images.idx.gz /shared/labels.idx.gz /shared/out 10
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
. "$here/stoppable.sh"
[ $# -eq 4 ] && [ -n "${HOSTS:-}" ] || usage
out=$3
mkdir -p "$out"
file=$(cd "$out" && pwd)/scheduler.json
rm -f "$file"
dask=$(command -v dask)

trap 'kill $(jobs -p) 2>/dev/null; rm -f "$file"' EXIT

dask scheduler --host "${ADDRESS:-$(hostname -f)}" --port 0 --scheduler-file "$file" \
  --no-dashboard &
for host in $HOSTS; do
  # With a terminal (-tt) the worker ends when the connection does.
  ${SSH:-ssh -tt} "$host" "$dask" worker --scheduler-file "$file" --nthreads "${NTHREADS:-0}" \
    --no-dashboard --death-timeout 60 </dev/null >"$out/worker-$host.log" 2>&1 &
done

stoppable bash "$here/batch.sh" "$@" --scheduler-file "$file"
