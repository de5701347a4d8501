"""What an evaluation finds of a generator, and how D treats images that it was not trained on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rggan import ranks
from rggan.auto import score_network
from rggan.config import TrainConfig
from rggan.data import ImageSet
from rggan.data.pictures import to_uint8
from rggan.errors import UserError
from rggan.gan import Gan
from rggan.metrics import Memoriser, Score
from rggan.metrics.features import extract
from rggan.metrics.provenance import favour
from rggan.networks import FAMILIES
from rggan.networks.layers import layout_of

DIVERSITY_IMAGES = 256  # in which collapse is looked for
COPY_IMAGES = 500  # whose nearest training images are looked for
GAP_IMAGES = 500  # on which D's gap is taken

Context = Callable[[], contextlib.AbstractContextManager[None]]


class Evaluator:
    """The evaluation of a run: always the same latents, against always the same images.

    Args:
        reference: the images that the score compares with: held-out ones, or `data`, the training images themselves.

    Attributes:
        held_out: None where the reference is the training images.
        provenance: where the score comes from; it compares with no other.
    """

    def __init__(self, config: TrainConfig, gan: Gan, data: ImageSet, reference: ImageSet) -> None:
        device = str(gan.device)
        self.gan, self.data = gan, data
        self.held_out = None if reference is data else reference
        network: str = config.score
        if network == "auto":  # of a training without a run, which would have it settled
            network = score_network(config.network, min(data.shape[1:]))[0]
        self.score = Score(reference, network, device)
        self.provenance: dict[str, Any] = {
            "metric": self.score.kind,
            "extractor": self.score.network.name,
            "extractor_hash": self.score.network.hash,
            "resize": self.score.network.resize,
            "samples": config.score_samples,
            "reference": "the training images" if reference is data else "the held-out images",
            "reference_hash": reference.key,
            "reference_images": len(reference),
            "ema": True,
        }
        looked = {"looked_through": FAMILIES.get(config.network).looks_through}
        if favour({**self.provenance, **looked, "steered_by": ""}):  # else the score compares with those of other D
            self.provenance |= looked
        self.memoriser: Memoriser | None = None
        if reference is data:  # so few that none are held out: a good score may come from copying them
            try:
                self.memoriser = Memoriser(data, device=device)
            except UserError:
                raise
            except ValueError:  # fewer than three different ones
                self.memoriser = None
        self.real_diversity = real_diversity(data)
        self.latents = gan.sampler.fixed(config.score_samples, config.seed + 1, config.batch)

    def judge(self, network: nn.Module) -> Judgement:
        """Of a generator's images of the fixed latents; the network is in evaluation mode."""
        return judge(network, self.latents, self.score, self.real_diversity, self.memoriser, self.gan.autocast)

    def gap(self) -> dict[str, float]:
        """D's mean output on as many training images (d_train) as held-out ones (d_held_out), without augmentation;
        {} where none are held out."""
        if self.held_out is None:
            return {}
        gan, batch = self.gan, self.gan.batches.batch
        return gap_of(gan.d, self.data, self.held_out, batch, gan.conditional, gan.autocast)


class Judgement(NamedTuple):
    """What an evaluation finds of a generator; NaN throughout if not all of its images are finite.

    score: lower is better. diversity: as a share of the real images'. copies: the share of samples that are copies of
    training images, and replays: whether these are more than chance explains; None where images are held out.
    """

    score: float
    diversity: float
    copies: float | None = None
    replays: bool | None = None


NOT_FINITE = Judgement(float("nan"), float("nan"))


def diversity(images: Tensor) -> float:
    """Standard deviation over the images of uint8 [N, C, H, W], averaged over the pixels; 0 if all are the same."""
    return images.float().std(dim=0, correction=0).mean().item()


def real_diversity(data: ImageSet) -> float:
    """The diversity of images from all over the set."""
    rows = data.rows[:: max(1, len(data) // DIVERSITY_IMAGES)][:DIVERSITY_IMAGES]  # over all classes
    return diversity(data.stored(rows))


@torch.no_grad()
def judge(
    network: nn.Module,
    latents: Sequence[tuple[Tensor, ...]],
    score: Score,
    of_real: float,
    memoriser: Memoriser | None,
    autocast: Context,
) -> Judgement:
    """Of the images of these latents; `of_real` is the real images' diversity. Ranks draw them in turns."""
    parts = []
    for drawn in latents[ranks.rank() :: ranks.count()]:
        with autocast():
            images = network(*drawn)
        if not images.isfinite().all():
            break
        parts.append(to_uint8(images))
    if ranks.count() > 1:
        return judge_together(parts, latents, score, of_real, memoriser)
    if len(parts) < len(latents):
        return NOT_FINITE
    pictures = torch.cat(parts)
    return judgement(score(pictures), pictures, of_real, memoriser)


def judge_together(
    parts: Sequence[Tensor],
    latents: Sequence[tuple[Tensor, ...]],
    score: Score,
    of_real: float,
    memoriser: Memoriser | None,
) -> Judgement:
    """Of what all ranks drew, `parts` is this one's; rank 0 judges."""
    looked_at = -(-COPY_IMAGES // len(latents[0][0]))  # batches whose pictures rank 0 needs, of the others features
    features = [extract(score.network, part).cpu() for part in parts]
    turns = range(ranks.rank(), len(latents), ranks.count())
    pictures = [part.cpu() for part, turn in zip(parts, turns, strict=False) if turn < looked_at]
    told = ranks.of_all((features, pictures))
    if sum(len(own) for own, _ in told) < len(latents):
        return NOT_FINITE
    found = NOT_FINITE
    if ranks.first():
        rows = torch.cat([told[n % len(told)][0][n // len(told)] for n in range(len(latents))])
        first = [told[n % len(told)][1][n // len(told)] for n in range(min(looked_at, len(latents)))]
        found = judgement(score.of_features(rows.to(score.network.device)), torch.cat(first), of_real, memoriser)
    return ranks.of_first(found)


def judgement(score: float, pictures: Tensor, of_real: float, memoriser: Memoriser | None) -> Judgement:
    """Of the first pictures at least, uint8 [N, C, H, W]."""
    share = diversity(pictures[:DIVERSITY_IMAGES]) / max(1e-9, of_real)
    if memoriser is None:
        return Judgement(score, share)
    found = memoriser(pictures[:COPY_IMAGES])
    return Judgement(score, share, found.rate, found.replays)


@torch.no_grad()
def gap_of(
    d: nn.Module, trained_on: ImageSet, held_out: ImageSet, batch: int, conditional: bool, autocast: Context
) -> dict[str, float]:
    """D's mean output on as many training images (d_train) as held-out ones (d_held_out), as they are."""
    told = {}
    device, layout = next(d.parameters()).device, layout_of(d)
    d.eval()
    for name, data in (("d_train", trained_on), ("d_held_out", held_out)):
        outputs = []
        count = min(len(trained_on), len(held_out), GAP_IMAGES)
        evenly = torch.arange(count) * len(data) // count  # over all classes, which may lie one after the other
        for index in evenly.split(batch):
            x = data.at(index).to(device).float().div_(127.5).sub_(1).contiguous(memory_format=layout)
            labels = data.labels
            with autocast():
                both = () if not conditional or labels is None else (labels[index].to(x.device),)
                outputs.append(d(x, *both))
        told[name] = torch.cat(outputs).mean().item()
    d.train()
    return told
