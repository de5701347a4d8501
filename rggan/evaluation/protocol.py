"""How papers take their FID: how many samples, against which pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rggan.errors import UserError
from rggan.evaluation.features import Precision
from rggan.evaluation.reference import TRAINING, Reference
from rggan.evaluation.subject import Subject
from rggan.metrics.features import Extractor
from rggan.run.naming import FID, distance_name

ProtocolName = Literal["fid50k_train", "fid10k_test", "fid5k_fewshot"]


@dataclass(frozen=True)
class Protocol:
    """samples: that are generated, once. training: whether the reference is the training images, or others."""

    name: ProtocolName
    samples: int
    training: bool

    def check(self, reference: str | None) -> None:
        """Raises UserError where `reference` names what the protocol does not compare with."""
        if not self.training and reference is None:
            raise UserError(f"`protocol` {self.name} compares with test images: name them with `reference`.")

    def told(self, subject: Subject, reference: Reference, extractor: Extractor, precision: Precision) -> str:
        """The sentence beside the number: comparable with papers, or why not."""
        against = reference.split if reference.split == TRAINING else reference.name
        count = "an unknown number of" if reference.count is None else f"{reference.count:,}"
        what = f"protocol {self.name} ({self.samples:,} samples against {count} images: {against})"
        if distance_name(extractor.name, extractor.hash) != FID:
            why = f"{extractor.name} is not the published Inception network (`features` inception)"
        elif subject.generator is None:
            why = f"{subject.name} is no generator"
        elif reference.channels not in (1, 3):
            why = "papers have pictures without transparency"
        elif precision != "fp32":
            why = f"theirs are not in {precision}"
        elif self.training and reference.split != TRAINING:
            why = f"nothing tells that {reference.name} are the training images, which it takes without `reference`"
        elif subject.options is not None and reference.name == subject.options.data and not self.training:
            why = f"{reference.name} are the training images"
        else:
            return f"comparable with papers: {what}."
        return f"not comparable with papers, {what}: {why}."


# Karras et al. 2020 ("Limited Data"), fid50k_full; Zhao et al. 2020 (DiffAugment), CIFAR-10; the same, low-shot.
PROTOCOLS = {
    one.name: one
    for one in (
        Protocol("fid50k_train", 50_000, training=True),
        Protocol("fid10k_test", 10_000, training=False),
        Protocol("fid5k_fewshot", 5_000, training=True),
    )
}
