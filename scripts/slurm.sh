#!/usr/bin/env bash
# scripts/batch.sh on the nodes of a Slurm job: a scheduler on the first, a worker on each.
#
#   sbatch [--nodes N ...] scripts/slurm.sh IMAGES LABELS OUT K
#
# All paths must be on a file system that every node sees. Two minutes before its time is over, and
# when it is preempted, the job stops with a checkpoint and puts itself back into the queue.
#
#SBATCH --job-name=daskcluster
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --mem-per-cpu=2G
#SBATCH --time=04:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#
# Example: sbatch --nodes 8 scripts/slurm.sh /project/images.idx.gz /project/labels.idx.gz /project/out 100
set -euo pipefail

# Slurm runs a copy of this script: the others lie where the job was submitted.
here=${DASKCLUSTER_SCRIPTS:-${SLURM_SUBMIT_DIR:-.}/scripts}
. "$here/stoppable.sh"
[ $# -eq 4 ] || usage
out=$3
mkdir -p "$out"
file=$out/scheduler-$SLURM_JOB_ID.json
rm -f "$file"
trap 'kill $(jobs -p) 2>/dev/null; rm -f "$file"' EXIT

# INTERFACE, such as ib0, chooses the network where nodes have several.
network=(${INTERFACE:+--interface "$INTERFACE"})
# Dask pauses a worker before Slurm would kill it.
memory=${SLURM_MEM_PER_NODE:-$((SLURM_CPUS_PER_TASK * SLURM_MEM_PER_CPU))}

dask scheduler ${network[@]+"${network[@]}"} --port 0 --scheduler-file "$file" \
  --no-dashboard &
srun --kill-on-bad-exit=0 dask worker --scheduler-file "$file" ${network[@]+"${network[@]}"} \
  --nthreads "$SLURM_CPUS_PER_TASK" --memory-limit "${memory}MiB" \
  --local-directory "${TMPDIR:-.}" --no-dashboard &

code=0
stoppable bash "$here/batch.sh" "$@" --scheduler-file "$file" || code=$?
if [ "$code" -eq 75 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
