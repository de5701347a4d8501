"""The reporting network's judgement of finished CIFAR-10 runs, one JSON object a snapshot.

    python runs/report_cifar10.py CIFAR10_FOLDER RUN [RUN ...]

10,000 samples of the best and of the last snapshot (seeds 0-9999, fp32) against the 10,000 test images: Fréchet
distance on the reporting network, which never steers. Neither training nor the choice of "best" saw a test image.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rggan import Generator
from rggan.data import load_images
from rggan.metrics import Score


def main(folder: Path, runs: list[Path]) -> None:
    score = Score(load_images(folder / "test", 32).images, "reporting")
    for run in runs:
        for snapshot in ("best", "last"):
            generator = Generator.from_pretrained(run / snapshot)
            trained = generator.config["trained"]
            row = {
                "run": run.name,
                "snapshot": snapshot,
                "kimg": trained["kimg"],
                "steering score": round(trained["score"], 4),
                f"reporting {score.kind} distance": round(score(generator.images(range(10_000))), 4),
                "density_g": round(trained["density_g"], 4),
                "density_d": round(trained["density_d"], 4),
                "phase": trained["phase"],
                "seed": trained["seed"],
            }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(run) for run in sys.argv[2:]])
