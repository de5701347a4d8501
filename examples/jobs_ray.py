"""A job list on a Ray cluster: each line is a task, tried again when it fails or its machine is lost.

    python examples/jobs_ray.py OUT/jobs.txt [--retries 3] [--cpus N]

It joins the cluster that RAY_ADDRESS names; without one it starts Ray on this machine, with N CPUs. The folders of the
list must be the same on all machines. It fails if a job failed to the end; the same command again does only those.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import ray


def do(line: str) -> None:
    """One job. A failure is an exception, so that Ray tries it again."""
    subprocess.run(["bash", "-c", line], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("list", type=Path)
    parser.add_argument("--retries", type=int, default=3)
    parser.add_argument("--cpus", type=int, help="of a Ray that is started here (all)")
    arguments = parser.parse_args()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray sends nothing unasked
    ray.init(num_cpus=arguments.cpus, include_dashboard=False if arguments.cpus else None)
    task = ray.remote(num_cpus=1, max_retries=arguments.retries, retry_exceptions=True)(do)
    lines = arguments.list.read_text().splitlines()
    waiting = {task.remote(line): line for line in lines}
    failed = []
    while waiting:
        (done,), _ = ray.wait(list(waiting))
        line = waiting.pop(done)
        try:
            ray.get(done)
        except ray.exceptions.RayError as error:
            failed.append(line)
            print(f"failed: {line}\n{error}", file=sys.stderr)
    print(f"{len(failed)} of {len(lines)} jobs failed" if failed else "all jobs are done")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
