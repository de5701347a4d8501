"""An evaluation in lines for people."""

from __future__ import annotations

from rggan.evaluation.measure import Evaluation, Number
from rggan.metrics.metric import METRICS


def lines(found: Evaluation) -> list[str]:
    """Subject, what it is compared with and by what, a line for each number, replays, and what else is to be said."""
    subject = found.subject
    told = [f"subject    {subject.name}{snapshot(found)}"]
    if found.numbers:
        numbers = list(found.numbers.values())
        number = next((one for one in numbers if one.metric.needs == "statistics"), numbers[0])  # those of all images
        by = number.provenance
        images = "an unknown number of" if by.reference_images is None else f"{by.reference_images:,}"
        channels = {1: "grey", 3: "RGB", 4: "RGBA"}.get(by.channels, "")
        size = f" {by.size} {channels}" if channels else ""
        told.append(f"reference  {by.reference}: {images}{size} images ({by.reference_split}; {by.reference_hash[:8]})")
        told.append(f"features   {by.extractor} ({by.extractor_hash[:8]}), resize: {by.resize}")
        told.append(f"samples    {sample_sets(number)}")
        fewer = {(n.provenance.samples, n.provenance.reference_images) for n in found.numbers.values()}
        for samples, real in fewer - {(by.samples, by.reference_images)}:
            told.append(f"subset     {of_subset(found)}: {samples:,} samples against {real:,} reference images")
        width = max(16, *map(len, found.numbers))
        told += ["", f"{'metric':<{width}} {'value':>9}   {'95 % interval':<20} {'standard error':<14}".rstrip()]
        told += [row(name, number, width) for name, number in found.numbers.items()]
    if found.memorisation is not None:
        told += ["", *found.memorisation.lines()]
        if found.sheet is not None:
            told.append(f"The nearest training images: {found.sheet}")
    if found.notes:
        told += ["", *(f"note: {note}" for note in found.notes)]
    return told


def of_subset(found: Evaluation) -> str:
    """Which metrics take no more images than --subset says: 'KID and neighbours', and others that were asked for."""
    metrics = [METRICS.get(name) for name in METRICS.builtin] + [number.metric for number in found.numbers.values()]
    names = list(dict.fromkeys(one.called or one.name for one in metrics if one.needs == "features"))
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def snapshot(found: Evaluation) -> str:
    """What is known of a generator: ' (kimg 120.0, rule threshold, density of G 0.64)'."""
    if found.subject.generator is None:
        return ""
    trained = found.subject.generator.config.get("trained", {})
    parts = []
    if "kimg" in trained:
        parts.append(f"kimg {trained['kimg']:.1f}")
    if "rule" in trained:
        parts.append(f"rule {trained['rule']}")
    if "density_g" in trained:
        parts.append(f"density of G {trained['density_g']:.2f}")
    return f" ({', '.join(parts)})" if parts else ""


def sample_sets(number: Number) -> str:
    by = number.provenance
    count = "an unknown number" if by.samples is None else f"{by.samples:,}"
    if not by.seeds:
        return f"{count} images, a fixed set: no interval"
    average = ", average of the generator (EMA)" if by.ema else ""
    average += {"data": ", classes as often as in its data", "even": ", all classes equally often"}.get(
        by.class_mix or "", ""
    )
    sets = f"{number.replicates} sets of {count}" if number.replicates > 1 else f"one set of {count}"
    return f"{sets}, seeds {by.seeds}{average}"


def row(name: str, number: Number, width: int) -> str:
    interval = "" if number.interval is None else f"{number.interval.low:.4g} to {number.interval.high:.4g}"
    error = "" if number.standard_error is None else f"{number.standard_error:.2g}"
    return f"{name:<{width}} {number.value:>9.4g}   {interval:<20} {error:<14}".rstrip()
