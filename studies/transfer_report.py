"""The table of the transfer study in docs/results.md, from studies/results/transfer.jsonl.

    python -m studies.transfer_report       # prints the table

The KID is of the reporting network, at the best snapshot; the validation score that of the steering network. Ratios
are over paired seeds, with their 95 % t interval on the logarithm.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from studies.paired import by_seed, copies, mean_sd, ratio
from studies.projected import EVALUATIONS
from studies.queue import Row, done_rows
from studies.transfer import ARMS, FROM_SCRATCH, KIMG, ROWS

STAGE = "faces"
LOOKED_AT = (0, EVALUATIONS // 2 - 1, EVALUATIONS - 1)  # evaluations


def table(rows: Sequence[Row]) -> list[str]:
    """A line for each arm that has rows."""
    at = [f"{(place + 1) * KIMG[STAGE] / EVALUATIONS:g} kimg" for place in LOOKED_AT]
    lines = [
        f"| arm | seeds | validation score at {' / '.join(at)} (means) | KID (mean ± sd) | ratio to from scratch | "
        "copies in 1,000 samples (mean; expected) |",
        "|---|---|---|---|---|---|",
    ]
    scratch = by_seed(rows, STAGE, FROM_SCRATCH)
    for arm in ARMS:
        found = by_seed(rows, STAGE, arm)
        if not found:
            continue
        scores = [f"{statistics.mean(row['scores'][place] for row in found.values()):.2f}" for place in LOOKED_AT]
        against = ratio(found, scratch, "kid", arm == FROM_SCRATCH)
        cells = [arm, len(found), " / ".join(scores), mean_sd(found, "kid"), against, copies(found)]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


if __name__ == "__main__":
    print("\n".join(table(done_rows(ROWS))))
