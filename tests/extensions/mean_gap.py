"""A metric: how far the means of the features lie apart."""

from rggan.metrics import Features, Metric


def compute(reference: Features, found: Features) -> dict[str, float]:
    return {"mean_gap": (reference.statistics.mean - found.statistics.mean).norm().item()}


METRIC = Metric("mean_gap", {"mean_gap": "lower"}, "statistics", compute)
