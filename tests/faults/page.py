"""docs/reliability.md, from the figures of a drill."""

from __future__ import annotations

from typing import Any

from tests.faults.drill import TOO_LATE

PAGE = """# Reliability

Made by `make drill` (the raw figures: [reliability.json](reliability.json)); a short version of it runs in `make test`.
Seed {seed}; {versions}; {minutes} minutes.

## Stopped anywhere, continued exactly
**{tried} instants tried, {exact} resumes exact.** Each is a training of its own, ended at that instant: SNGAN with 8
channels on 60 of scikit-learn's digits, conditional, with flips, DiffAugment and pruning, 5 evaluations, in fp32 and in
bf16. Then every visible file must be whole, the same command runs to the end, and weights, `stats.jsonl`, `data.jsonl`,
pictures and the whole training state are compared, bit for bit, with those of a run that nothing happened to.

Half-written: the file is cut to half its length when it is about to be flushed, and the process dies by SIGKILL. Those
places, the renames, the evaluations and the steps of a run were all tried; random moments are drawn by the seed{late}.

| instant | tried | exact |
|---|---|---|
{instants}

SIGKILL does not empty the system's write cache: what a power cut does was not tried. Files and folders are flushed
(`fsync`) before and after each rename.

## Disks
{disks}

## Two at once
The same command while it is running was refused, and the first run ended exactly: {two} of {precisions}.

## Ranks
{ranks}

## Hostile input
**{inputs:,} inputs tried, {failed} failures.** Every input is a damaged or malicious file. It must be read, be
refused with one clear sentence, or be left out by name; nothing may be executed, nothing written outside the folder it
was given (an audit hook watches), and no input may take over 20 seconds or 1 GB. A damaged checkpoint counts as
refused: it is named, and the one before is used.

| input | tried | read | refused | left out | failed |
|---|---|---|---|---|---|
{kinds}

Slowest input {slowest:.1f} s; memory grew by at most {growth:,.0f} MB.
"""

RANKS = """One rank of a run over several processes ([ranks.md](ranks.md)) is killed at a random instant: the same
training, with batches of 12. The others must end within 15 seconds with code 1, the first of them naming the one that
is gone; then all are started again to the end, and what is left is compared, bit for bit, with an undisturbed run of as
many ranks. Seed {seed}, torch {torch}, {minutes} minutes.

| instant | tried | exact |
|---|---|---|
"""

DISKS = """A run on a disk that holds 2 % to 95 % of what it needs (a tmpfs of that size), then with room again; and a
disk that becomes read-only in the middle. The run must end with code 1 or 2 and a sentence, leave no part of a file,
and be continued to the same bits.

| fault | tried | exact |
|---|---|---|
"""


def failures(told: dict[str, Any]) -> list[str]:
    """Everything that did not come out as it should."""
    found = list(map(str, told["inputs"]["failures"] + told["ranks"]["failures"]))
    for precision, part in told["precisions"].items():
        found += [f"{precision}: {text}" for text in part["instants"]["failures"]]
        found += [f"{precision}: {text}" for text in (part["disks"] or {"failures": []})["failures"]]
        if part["two at once"] != "refused, exact":
            found.append(f"{precision}, two at once: {part['two at once']}")
    return found


def page(told: dict[str, Any]) -> str:
    """The page, with what failed at its end."""
    parts = told["precisions"].values()
    instants = added([part["instants"] for part in parts])
    late, _ = instants.pop(TOO_LATE, (0, 0))
    starved = added([part["disks"] for part in parts if part["disks"]])
    killed = added([told["ranks"]])
    inputs = told["inputs"]
    kinds = []
    for kind, counts in sorted(inputs["counts"].items()):
        row = [sum(counts.values()), *(counts.get(name, 0) for name in ("read", "refused", "left out", "failed"))]
        kinds.append(f"| {kind} | {' | '.join(f'{value:,}' for value in row)} |")
    text = PAGE.format(
        seed=told["seed"],
        versions=", ".join(f"{name} {version}" for name, version in told["versions"].items()),
        minutes=told["minutes"],
        tried=sum(row[0] for row in instants.values()),
        exact=sum(row[1] for row in instants.values()),
        late=f" ({late} signals came after the end and do not count)" if late else "",
        instants=table(instants),
        disks=DISKS + table(starved) if starved else "Not tried: this machine lets nobody mount a disk (`unshare`).",
        ranks=RANKS.format(**told["ranks"]) + table(killed),
        two=sum(part["two at once"] == "refused, exact" for part in parts),
        precisions=len(parts),
        inputs=inputs["inputs"],
        failed=len(inputs["failures"]),
        kinds="\n".join(kinds),
        slowest=inputs["slowest"],
        growth=inputs["growth"],
    )
    failed = failures(told)
    return text + ("\n## Failures\n" + "\n".join(f"- {line}" for line in failed) + "\n" if failed else "")


def added(outcomes: list[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    """{where: (tried, exact)} over all outcomes."""
    found: dict[str, tuple[int, int]] = {}
    for outcome in outcomes:
        for where, tried in outcome["tried"].items():
            before = found.get(where, (0, 0))
            found[where] = (before[0] + tried, before[1] + outcome["exact"].get(where, 0))
    return found


def table(rows: dict[str, tuple[int, int]]) -> str:
    return "\n".join(f"| {where} | {tried} | {exact} |" for where, (tried, exact) in sorted(rows.items()))
