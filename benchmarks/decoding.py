"""What it takes to decode pictures in processes with limits, against decoding them in threads of this process.

python -m benchmarks decoding pictures photos.zip --resolution 64 --json decoding.json
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rggan.data.parallel import in_order
from rggan.data.picture import Picture
from rggan.data.pixels import pixels_from
from rggan.data.source import list_pictures
from rggan.data.workers import Told, worker_count


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", nargs="+", help="folders or zips of pictures")
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3, help="of both, in turns; the shortest counts")
    parser.add_argument("--json", type=Path, help="write the figures here")


def seconds(pictures: list[Picture], how: dict[str, Any]) -> float:
    def finish(picture: Picture, content: bytes | None, found: Told | str) -> object:
        return pixels_from(found, how)

    started = time.perf_counter()
    for _ in in_order(pictures, "pixels", finish, **how):
        pass
    return time.perf_counter() - started


def main(arguments: argparse.Namespace) -> None:
    size = (arguments.resolution, arguments.resolution)
    how = {"size": size, "channels": "auto", "resize": "crop", "background": (255, 255, 255)}
    rows = []
    for data in arguments.data:
        pictures = list_pictures(data)
        own = [replace(picture, own=True) for picture in pictures]
        seconds(pictures[:64], how)  # processes start, files are in the system's cache
        times = [(seconds(own, how), seconds(pictures, how)) for _ in range(arguments.repeats)]
        threads, processes = (min(each) for each in zip(*times, strict=True))
        rows.append({"data": Path(data).name, "pictures": len(pictures), "workers": worker_count()})
        rows[-1] |= {"threads_s": round(threads, 3), "processes_s": round(processes, 3)}
        rows[-1]["ratio"] = round(processes / threads, 3)
        print(f"{data}: {len(pictures)} pictures, processes / threads {processes / threads:.2f}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")
