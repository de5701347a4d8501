#!/usr/bin/env bash
# A job list as a Slurm array: each task does one line of it. The folders must be the same on all nodes.
#
#   sbatch --array=1-$(wc -l < OUT/jobs.txt)%50 examples/jobs_slurm.sh OUT/jobs.txt    # at most 50 at a time
#
# The same command again does what failed or ran out of time: finished jobs end at once. A cluster takes so many tasks an
# array (`scontrol show config | grep MaxArraySize`): of a longer list give `--array=1001-2000` and so on as further arrays,
# or pieces of it (`split -l 1000`).
#SBATCH --job-name=study
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=study-%A-%a.log
set -euo pipefail
list=${1:?give the list of jobs}
number=${SLURM_ARRAY_TASK_ID:?start it with sbatch --array=1-LINES}
line=$(sed -n "${number}p" "$list")
[ -n "$line" ] || { echo "$list has no line $number" >&2 && exit 2; }
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}
bash -c "$line"
