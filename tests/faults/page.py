"""docs/reliability.md, from the figures of a drill."""

from __future__ import annotations

from typing import Any

from tests.faults.drill import TOO_LATE

PAGE = """# Reliability

Made by `python -m tests.faults --page docs/reliability.md`, whole (`make drill`) or in parts (`--only` drill, disks,
ranks or inputs), each with the versions that it names; the raw figures are in [reliability.json](reliability.json). A
short version runs in `make test`.{failed}

## What is promised
Bad input is answered with one sentence that says what to do next and exit code 2. Nothing is executed, nothing
half-written stays, and what is not ours stays as it is. A generator of each kind of input below is in
`tests/faults/`.

- **A run continues to the same bits** on a CPU wherever it was stopped: Ctrl-C, SIGTERM and a closed terminal
  (SIGHUP) save first, and what SIGKILL or a full disk ends goes on from the state before.
- **A state knows its run**, its options and how it was made. One of another run, or options that a run cannot change,
  are refused by name; another precision, PyTorch, device, number of threads or of ranks is told in a line.
- **A hostile state** is looked through before PyTorch loads it, and refused by `--init` as by `--resume`: tensors
  without content, numbers out of any range, pipes and devices. Nothing is written before all is checked.
- **A cache is never trusted half.** Decoded images and features lie beside their hash, which is looked at when they
  are opened; what does not fit is made anew, with a line. What the machine lacked for a moment is not remembered of a
  picture.
- **Statistics of others** are a mean and a symmetric, finite, positive semi-definite covariance, or refused.
- **Pictures are decoded by processes** with limits of time, memory and output. A file that exceeds them, or brings a
  decoder down, is unreadable and no more. Unusual formats are read where `--formats` names them.
- **Archives, JSON and headers** have limits that hold before they are parsed.
- **Numbers have ranges**, and what needs more memory than is free is refused before it is taken, by the limits of the
  process and the container too. Memory that is used up all the same is one sentence, and the state is kept.
- **Only what carries our mark** is removed or written over.
- **Code runs where you name it**: `package.module:OBJECT`, TorchScript or .pt2 given to `--features`, and `pipe:`
  alone. The data of a run folder that others made are read with `--trust-data` only.

{parts}"""

DRILL = """## Stopped anywhere, continued exactly
**{tried:,} instants tried, {exact:,} resumes exact.** Each is a training of its own, ended at that instant: {count}
configurations of networks of 2 or 8 channels on 48 pictures, those of the second table. Then every visible file must be
whole and no process that the run had started may be left; the same command runs to the end, and weights, `stats.jsonl`,
`data.jsonl`, pictures and the whole training state are compared, bit for bit, with those of a run that nothing happened
to. {made}

Half-written: the file is cut to half its length when it is about to be flushed, and the process dies by SIGKILL. Which
of those places, of the renames, the evaluations and the steps, and which random moments, the seed decides{late}. After
a signal that asks a run to stop, no step is made again.

| instant | tried | exact |
|---|---|---|
{instants}

| configuration | tried | exact | a run takes |
|---|---|---|---|
{configurations}

The same command while it is running was refused, and the first run ended exactly: {two} of {count}.

SIGKILL does not empty the system's write cache: what a power cut does was not tried. Files and folders are flushed
(`fsync`) before and after each rename, where the disk can.
"""

DISKS = """## Disks
A run on a disk that holds 2 % to 95 % of what it needs (a tmpfs of that size), then with room again; and a
disk that becomes read-only in the middle. The run must end with code 1 or 2 and a sentence, leave no part of a file,
and be continued to the same bits (but for `page.html`, where a run began with `go-on`: it says so). {made}

| fault | tried | exact |
|---|---|---|
{rows}
"""
NO_DISKS = "## Disks\nNot tried: this machine lets nobody mount a disk (`unshare`).\n"

RANKS = """## Ranks
One rank of a run over several processes ([ranks.md](ranks.md)) is killed at a random instant: SNGAN with batches of 12.
The others must end within 15 seconds with code 1, the first of them naming the one that is gone; then all are started
again to the end, and what is left is compared, bit for bit, with an undisturbed run of as many ranks. {made}

| instant | tried | exact |
|---|---|---|
{rows}
"""

INPUTS = """## Hostile input
**{inputs:,} inputs tried, {failed} failures.** Every input is a damaged or malicious file. It must be read, be
refused with one clear sentence, or be left out by name; nothing may be executed, nothing written outside the folder it
was given (an audit hook watches), and no input may take over 20 seconds of processor time, or 1 GB of memory in this
process and the largest of those that decode. A damaged checkpoint counts as refused: it is named, and the one before is
used. {made}

| input | tried | read | refused | left out | failed |
|---|---|---|---|---|---|
{rows}

Slowest input {slowest:.1f} s; memory grew by at most {growth:,.0f} MB.
"""


def failures(told: dict[str, Any]) -> list[str]:
    """Everything that did not come out as it should."""
    found = []
    for name, part in told.get("drill", {}).get("configurations", {}).items():
        found += [f"{name}: {text}" for text in part["failures"]]
        if part["two at once"] != "refused, exact":
            found.append(f"{name}, two at once: {part['two at once']}")
    return found + [
        str(text) for name in ("disks", "ranks", "inputs") for text in told.get(name, {"failures": []})["failures"]
    ]


def page(told: dict[str, Any]) -> str:
    """The page of the parts that there are, with what failed at its end."""
    writers = {"drill": drill, "disks": disks, "ranks": ranks, "inputs": inputs}
    failed = failures(told)
    first = f" **{len(failed)} things came out otherwise than promised: they stand at the end.**" if failed else ""
    parts = "\n".join(write(told[name]) for name, write in writers.items() if name in told)
    text = PAGE.format(parts=parts, failed=first)
    return text + ("\n## Failures\n" + "\n".join(f"- {line}" for line in failed) + "\n" if failed else "")


def made(part: dict[str, Any]) -> str:
    """With what a part was made."""
    versions = ", ".join(f"{name} {version}" for name, version in part["versions"].items())
    minutes = f"; {part['minutes']:g} minutes" if "minutes" in part else ""
    return f"(Seed {part['seed']}; {versions}{minutes}.)"


def drill(part: dict[str, Any]) -> str:
    parts = part["configurations"]
    instants = added(list(parts.values()))
    late, _ = instants.pop(TOO_LATE, (0, 0))
    rows = []
    for name, one in parts.items():
        tried, exact = (sum(one[key].values()) - one[key].get(TOO_LATE, 0) for key in ("tried", "exact"))
        rows.append(f"| {name} | {tried} | {exact} | {one['seconds']:.1f} s |")
    return DRILL.format(
        made=made(part),
        count=len(parts),
        tried=sum(row[0] for row in instants.values()),
        exact=sum(row[1] for row in instants.values()),
        late=f" ({late} signals came after the end and do not count)" if late else "",
        instants=table(instants),
        configurations="\n".join(rows),
        two=sum(one["two at once"] == "refused, exact" for one in parts.values()),
    )


def disks(part: dict[str, Any]) -> str:
    return DISKS.format(made=made(part), rows=table(added([part]))) if part["tried"] else NO_DISKS


def ranks(part: dict[str, Any]) -> str:
    return RANKS.format(made=made(part), rows=table(added([part])))


def inputs(part: dict[str, Any]) -> str:
    rows = []
    for kind, counts in sorted(part["counts"].items()):
        row = [sum(counts.values()), *(counts.get(name, 0) for name in ("read", "refused", "left out", "failed"))]
        rows.append(f"| {kind} | {' | '.join(f'{value:,}' for value in row)} |")
    return INPUTS.format(
        made=made(part),
        inputs=part["inputs"],
        failed=len(part["failures"]),
        rows="\n".join(rows),
        slowest=part["slowest"],
        growth=part["growth"],
    )


def added(outcomes: list[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    """{where: (tried, exact)} over all outcomes."""
    found: dict[str, tuple[int, int]] = {}
    for outcome in outcomes:
        for where, tried in outcome["tried"].items():
            before = found.get(where, (0, 0))
            found[where] = (before[0] + tried, before[1] + outcome["exact"].get(where, 0))
    return found


def table(rows: dict[str, tuple[int, int]]) -> str:
    return "\n".join(f"| {where} | {tried:,} | {exact:,} |" for where, (tried, exact) in sorted(rows.items()))
