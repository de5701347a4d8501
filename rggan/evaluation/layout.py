"""A comparison as tables: for the terminal, Markdown, LaTeX, CSV, and JSON."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rggan.evaluation.compare import Compared, Comparison, Mean, Pair
from rggan.files import json_text
from rggan.metrics.uncertainty import Interval

SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
SPECIAL |= {letter: f"\\{letter}" for letter in "&%$#_{}"}
SPECIAL |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}


@dataclass(frozen=True)
class Table:
    """caption: one sentence. rows: of texts, each as long as the header."""

    caption: str
    header: list[str]
    rows: list[list[str]]


def tables(found: Comparison) -> list[Table]:
    """Those of each number, one after another."""
    return [table for by in found.metrics for table in tables_of(by)]


def tables_of(by: Compared) -> list[Table]:
    """The means of the arms, the values of each seed where they are paired, and how the arms do against each other."""
    rows = [[m.arm, str(m.runs), number(m.value), number(m.sd), interval(m.interval)] for m in by.means]
    told = [Table(about(by), ["arm", "runs", f"mean {by.metric}", "sd", "95 % interval"], rows)]
    if by.paired:
        seeds = sorted({seed for values in by.values.values() for seed in values})
        rows = [[str(s), *(number(values[s]) if s in values else "" for values in by.values.values())] for s in seeds]
        told.append(Table(f"{by.metric} of each seed", ["seed", *by.values], rows))
    kind = by.pairs[0].effect.kind
    header = ["arm", "against", f"{kind} of {by.metric}", "95 % interval", "p", "p (Holm)", "verdict"]
    return [*told, Table(method(by), header, [row(pair) for pair in by.pairs])]


def row(pair: Pair) -> list[str]:
    told = [number(pair.effect.value), interval(pair.effect.interval), p_value(pair.effect.p), p_value(pair.p)]
    return [pair.arm, pair.against, *told, pair.verdict]


def about(by: Compared) -> str:
    """What the number is and where it comes from."""
    where = by.provenance
    digest = f" ({where['extractor_hash'][:8]})" if where["extractor_hash"] else ""
    return (
        f"{by.metric} ({'lower' if by.lower_is_better else 'higher'} is better) by {where['extractor']}{digest}, "
        f"{where['samples']} samples, against {where['reference']} ({where['reference_split']})"
    )


def method(by: Compared) -> str:
    """How the arms were compared."""
    if by.paired:
        counts = sorted({pair.effect.pairs for pair in by.pairs if pair.effect.pairs is not None})
        how = f"paired by seed ({' or '.join(map(str, counts))} pairs)"
    else:
        how = "not paired (Welch)"
    scale = "ratio arm / against" if by.pairs[0].effect.kind == "ratio" else "difference arm - against"
    pairs = "1 pair" if len(by.pairs) == 1 else f"{len(by.pairs)} pairs"
    return f"{scale}, t test {how}; verdict at 5 % after Holm over {pairs}"


def text(found: Comparison) -> list[str]:
    """Lines for people: the tables, and a sentence for each pair."""
    lines: list[str] = []
    for by in found.metrics:
        for table in tables_of(by):
            lines += [table.caption, "", *columns([table.header, *table.rows]), ""]
        lines += [sentence(by, pair) for pair in by.pairs] + [""]
    return [*lines[:-1], *(["", *(f"note: {note}" for note in found.notes)] if found.notes else [])]


def sentence(by: Compared, pair: Pair) -> str:
    """
    >>> from rggan.metrics.uncertainty import effect
    >>> found = effect([1.0, 2.0], [2.0, 4.1])
    >>> pair = Pair("rule none", "rule threshold", found, found.p, found.verdict())
    >>> sentence(Compared("kid", True, {}, True, {}, [], []), pair)
    'rule none is better than rule threshold by kid.'
    """
    if pair.verdict == "not told apart":
        return f"{pair.arm} and {pair.against} are not told apart by {by.metric}."
    return f"{pair.arm} is {pair.verdict} than {pair.against} by {by.metric}."


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned texts: those that are numbers in all rows but the first to the right.

    >>> columns([["arm", "runs"], ["a", "3"], ["long", "12"]])
    ['arm   runs', 'a        3', 'long    12']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = [all(one_number(each) for each in column[1:]) for column in zip(*rows, strict=True)]
    return [
        "  ".join(t.rjust(w) if r else t.ljust(w) for t, w, r in zip(row, widths, right, strict=True)).rstrip()
        for row in rows
    ]


def one_number(word: str) -> bool:
    try:
        float(word.removeprefix("<") or 0)
    except ValueError:
        return False
    return True


def markdown(found: Comparison) -> str:
    lines = []
    for table in tables(found):
        align = ["---:" if all(one_number(row[i]) for row in table.rows) else "---" for i in range(len(table.header))]
        rows = [table.header, align, *table.rows]
        lines += [plain(table.caption), "", *("| " + " | ".join(map(plain, row)) + " |" for row in rows), ""]
    return "\n".join([*lines, *(f"- {plain(note)}" for note in found.notes)]).rstrip() + "\n"


def plain(cell: str) -> str:
    """As Markdown shows it as it is.

    >>> plain("a|b*c_d")
    'a\\\\|b\\\\*c\\\\_d'
    """
    for letter in "\\|*_<`[":
        cell = cell.replace(letter, f"\\{letter}")
    return cell


def latex(found: Comparison) -> str:
    """A table environment for each table; needs \\usepackage{booktabs}."""
    lines = [r"% \usepackage{booktabs}"]
    for table in tables(found):
        align = "".join("r" if all(one_number(row[i]) for row in table.rows) else "l" for i in range(len(table.header)))
        lines += [r"\begin{table}", r"\centering", f"\\caption{{{escaped(table.caption)}.}}"]
        lines += [f"\\begin{{tabular}}{{{align}}}", r"\toprule", cells(table.header), r"\midrule"]
        lines += [*map(cells, table.rows), r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join([*lines, *(f"% {note}" for note in found.notes)]) + "\n"


def cells(row: Sequence[str]) -> str:
    """A row. `\\\\` before it would take a '[' that it begins with as its own argument."""
    text = " & ".join(map(escaped, row)) + r" \\"
    return "{}" + text if text.lstrip().startswith(("[", "*")) else text


def escaped(cell: str) -> str:
    """As LaTeX prints it.

    >>> escaped("target_g 50 % & {x}")
    'target\\\\_g 50 \\\\% \\\\& \\\\{x\\\\}'
    """
    return "".join(SPECIAL.get(letter, letter) for letter in cell)


def comma_separated(found: Comparison) -> str:
    """One row for the mean of each arm (against nothing), and one for each pair."""
    stream = io.StringIO()
    names = ("metric", "arm", "against", "kind", "n", "value", "sd", "low", "high", "p", "p_holm", "verdict")
    rows = csv.DictWriter(stream, names, lineterminator="\n")
    rows.writeheader()
    for by in found.metrics:
        for mean in by.means:
            rows.writerow({"metric": by.metric, "kind": "mean", "n": mean.runs, **flat(mean)})
        for pair in by.pairs:
            told = flat(pair) | {"kind": pair.effect.kind, "n": pair.effect.pairs}
            rows.writerow({"metric": by.metric, **told})
    return stream.getvalue()


def flat(one: Mean | Pair) -> dict[str, Any]:
    if isinstance(one, Mean):
        return {"arm": one.arm, "value": one.value, "sd": one.sd, **one.interval._asdict()}
    told: dict[str, Any] = {"arm": one.arm, "against": one.against, "value": one.effect.value}
    told |= {name: end if math.isfinite(end) else None for name, end in one.effect.interval._asdict().items()}
    return told | {"p": one.effect.p, "p_holm": one.p, "verdict": one.verdict}


def as_json(found: Comparison) -> str:
    arms = [{"name": arm.name, "runs": list(map(str, arm.runs))} for arm in found.arms]
    metrics = [
        {
            "metric": by.metric,
            "lower_is_better": by.lower_is_better,
            "paired": by.paired,
            "values": {
                name: {str(seed): value for seed, value in values.items()} for name, values in by.values.items()
            },
            "means": [{"runs": mean.runs, **flat(mean)} for mean in by.means],
            "pairs": [{"kind": pair.effect.kind, "n": pair.effect.pairs, **flat(pair)} for pair in by.pairs],
            "provenance": by.provenance,
        }
        for by in found.metrics
    ]
    return json_text({"arms": arms, "metrics": metrics, "notes": found.notes}, indent=2) + "\n"


def number(value: float) -> str:
    return f"{value:.4g}"


def interval(found: Interval) -> str:
    return f"{found.low:.4g} to {found.high:.4g}"


def p_value(p: float) -> str:
    """
    >>> p_value(0.0004), p_value(0.0213)
    ('<0.001', '0.021')
    """
    return "<0.001" if p < 0.001 else f"{p:.3f}"
