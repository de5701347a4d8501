#!/usr/bin/env bash
# A job list on the cores of this machine, with GNU parallel, or where that is missing with xargs. The same command again
# does what failed or was stopped: finished jobs end at once. It fails if any job failed.
#
#   bash examples/jobs_parallel.sh OUT/jobs.txt [JOBS_AT_A_TIME]
set -euo pipefail
list=${1:?give the list of jobs}
jobs=${2:-$(nproc)}
if command -v parallel >/dev/null; then
    parallel --jobs "$jobs" --joblog "$list.log" --retries 3 --line-buffer <"$list"
else
    xargs --no-run-if-empty --delimiter='\n' --max-args=1 --max-procs="$jobs" bash -c <"$list"
fi
