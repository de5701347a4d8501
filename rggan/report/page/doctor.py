"""What is wrong with the pictures of a run: kept in its folder, so that it is still known when they are gone."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rggan.bounded import read_json
from rggan.data.audit.doctor import Health, advice, inspect, shown
from rggan.data.depth import with_limits
from rggan.data.forms.hub import PREFIX
from rggan.data.named import named
from rggan.data.picture import Picture
from rggan.data.source import list_pictures
from rggan.data.streams.address import is_stream
from rggan.errors import UserError, listed
from rggan.files import write_whole
from rggan.generation.discreet import shown as discreet
from rggan.report.health import counts, lines
from rggan.run.folder import Run
from rggan.run.places import HEALTH

PATIENCE = 20.0  # seconds that a look may take
FIRST = 16  # pictures from which that is estimated


@dataclass(frozen=True)
class Findings:
    """lines: (what, how much), as `rggan check` prints them. missing: why there are not more."""

    lines: Sequence[tuple[str, str]] = ()
    advice: Sequence[str] = ()
    missing: str = ""


def findings(run: Run, look: bool = True) -> Findings:
    """What was found before, or what is found now, or else what the run noted of its pictures.

    Args:
        look: look over the pictures if nobody did; where that takes long, or they are gone or were never named
            (`rggan.data.named`), it is left out.
    """
    if (kept := read_findings(run)) is not None:
        return kept
    reason = "`rggan show` and `rggan check` look over the pictures themselves."
    config = run.config() if look else None
    if config is not None and not named(config.data):
        reason = f"They are {discreet(config.data)}, and nothing here tells that you named them: use `rggan check`."
    elif config is not None and not config.data.startswith(PREFIX) and not is_stream(config.data):
        try:
            listing = list_pictures(config.data, config.pattern, config.formats)
            if quick(listing):
                pictures, white = with_limits(listing, config.white_level, config.max_pixels)
                return keep(inspect(pictures), run, white)
            reason = "Looking over so many pictures takes longer: `rggan check` does."
        except (UserError, OSError):  # the sentence may name places, and the page goes to others
            reason = "The pictures themselves cannot be looked over any more; `rggan check` says why."
    return Findings(noted(run), missing=reason)


def noted(run: Run) -> list[tuple[str, str]]:
    """What data.jsonl tells."""
    head, pictures = run.data_head(), run.pictures()
    told = []
    if pictures:
        apart = sum(bool(line.get("held_out")) for line in pictures)
        told.append(("data", f"{len(pictures)} pictures{f', {apart} of them held out' if apart else ''}"))
    if skipped := head.get("skipped"):
        told.append(("unreadable", f"{len(skipped)}: {listed(list(map(str, skipped)))}"))
    same: dict[str, list[str]] = {}
    for line in pictures:
        same.setdefault(str(line.get("sha256")), []).append(str(line["name"]))
    copies = [f"{first} = {listed(others, 2)}" for first, *others in same.values() if others]
    if copies:
        told.append(("copies", f"{len(copies)}: {listed(copies)}"))
    if classes := Counter(str(line["class"]) for line in pictures if "class" in line):
        told.append(("classes", f"{len(classes)}: {counts(dict(sorted(classes.items())))}"))
    return [(name, shown(text)) for name, text in told]


def keep(health: Health, run: Run, white: float | None) -> Findings:
    """As findings, which are written into the run's folder if there is room for them."""
    told = [(name.strip(), text) for name, text in ((line[:11], line[11:]) for line in lines(health))]
    found = Findings(told, advice(health, white=white))
    with contextlib.suppress(OSError):
        content = json.dumps({"lines": told, "advice": list(found.advice)}, indent=1)
        write_whole(run.path / HEALTH, f"{content}\n".encode())
    return found


def quick(pictures: Sequence[Picture]) -> bool:
    """Whether a look over all of them is a matter of seconds, by what the first ones take."""
    started = time.perf_counter()
    inspect(pictures[:FIRST])
    return (time.perf_counter() - started) * len(pictures) / FIRST < PATIENCE


def read_findings(run: Run) -> Findings | None:
    """None if nothing was kept, or nothing that can be read."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        found = read_json(run.path / HEALTH)
        return Findings([(str(a), str(b)) for a, b in found["lines"]], [str(each) for each in found["advice"]])
    return None
