"""A trained generator: saving, loading, sampling. The same seed gives the same picture.

Alone or in any batch, each value of a picture (0 to 255) is the same up to one grey level: libraries choose how they
convolve by the size of the batch, which changes the last bits of a sum.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rggan.data.pictures import to_pil, to_uint8
from rggan.device import check_device, full_precision
from rggan.errors import UserError, nearest
from rggan.generation.display import Pictures, about, card
from rggan.generation.hub import check_upload, located, upload
from rggan.generation.sampler import Sampler, mixed
from rggan.generation.storage import read_generator, write_generator
from rggan.networks import Styled
from rggan.run.places import find_weights

BATCH = 16  # pictures computed at once, of up to 256x256 pixels; of larger ones fewer, as they take the memory


class Generator:
    """A generator network with its config.

    Args:
        network: z [N, z_dim] (, labels [N]) -> images in -1..1, [N, C, H, W]; it is set to evaluation mode.
        config: {"network": {"name", "resolution": [H, W], "channels", "width", "z_dim", "classes"; for StyleGAN2
            also "mapping_layers"}, "classes": [names], "class_counts": [training images of each class] if known,
            "trained": {...}}.

    Raises:
        UserError: an unknown or missing device.

    >>> from rggan.networks.sngan import SNGANGenerator
    >>> network = {"name": "sngan", "resolution": [16, 24], "channels": 1, "width": 8, "z_dim": 128, "classes": 0}
    >>> generator = Generator(SNGANGenerator((16, 24), 1, 8), {"network": network, "classes": []})
    >>> [picture.size for picture in generator(2, seed=7)]
    [(24, 16), (24, 16)]
    """

    def __init__(self, network: nn.Module, config: dict[str, Any], device: str = "cpu") -> None:
        # A fixed memory format, so that a snapshot in training and the same one loaded give bit-identical pictures.
        network = network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.device = str(check_device(device))
        self.network = network.to(self.device).eval()
        self.config = config
        self.classes: list[str] = config["classes"]
        self.origin: Path | None = None  # the weights file that it was read from

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        device: str = "cpu",
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
    ) -> Generator:
        """Load a run folder (its best snapshot), a snapshot folder, a generator.safetensors, or `user/name` of the
        Hugging Face Hub.

        What lies here under such a name comes first. The keyword arguments are huggingface_hub's: which branch, tag or
        commit; a token for a private one; where downloads are kept; to download again; to take the kept ones only.

        Raises:
            UserError: there is none, or its file is damaged, of another program or newer than this version; the Hub
                cannot be asked.
        """
        how = {"revision": revision, "token": token, "cache_dir": cache_dir}
        how |= {"force_download": force_download, "local_files_only": local_files_only}
        place = located(Path(path), **how)
        network, config = read_generator(place)
        made = cls(network, config, device)
        made.origin = find_weights(place)
        return made

    def __repr__(self) -> str:
        return f"<{about(self.config, self.parameters)}>"

    def _repr_html_(self) -> str:
        """In a notebook: the pictures of seeds 0 to 7, and what it is."""
        return card(self.images(range(8)), repr(self)[1:-1])

    def save(self, folder: str | Path) -> None:
        """Write generator.safetensors atomically, and then config.json, a human-readable copy of its config.

        Raises:
            UserError: the folder cannot be created. OSError: e.g. the disk is full.
        """
        write_generator(self.network, self.config, Path(folder))

    def push_to_hub(
        self,
        repo_id: str,
        *,
        license: str | None = None,
        private: bool | None = None,
        token: str | bool | None = None,
        commit_message: str = "A generator of rggan",
        create_pr: bool = False,
        overwrite: bool = False,
    ) -> str:
        """Put it on the Hugging Face Hub as `user/name`, with a model card made from its run; needs rggan[hub].

        Weights, config, a sheet of samples and the card go there in one commit; no training picture does, and of places
        on this machine the last part of the name only. The run is the one that it was loaded from.

        Args:
            license: an identifier of the Hub, as `apache-2.0`; None: the card says that none is given.
            others: see `rggan.generation.hub.upload`.

        Returns:
            The address of the commit, or of the proposal (`create_pr`).

        Raises:
            UserError: the library or a token is missing; files are there already (`overwrite`); the Hub refuses it or
                is out of reach.
        """
        from rggan.generation.published import published  # brings the metrics along, which drawing does without

        check_upload(repo_id, token)
        files = published(self, repo_id, license)
        how = {"private": private, "token": token, "create_pr": create_pr, "overwrite": overwrite}
        return upload(files, repo_id, commit_message, **how)  # type: ignore[arg-type]

    @property
    def parameters(self) -> int:
        """How many its network has, zeros among them."""
        return sum(p.numel() for p in self.network.parameters())

    @property
    def style_network(self) -> Styled | None:
        """The network, if it is style-based; else None."""
        return self.network if isinstance(self.network, Styled) else None

    def __call__(self, n: int, seed: int = 0, label: int | str | None = None, truncation: float = 1.0) -> Pictures:
        """Returns pictures for the seeds `seed` to `seed + n - 1`: a list, which a notebook shows as a sheet.

        Raises:
            UserError: as `images`; a number of pictures below 0.
        """
        if not is_seed(n):
            raise UserError(f"The number of pictures is a whole number from 0 on, not {n!r}.")
        check_seeds([seed])
        return Pictures(to_pil(image) for image in self.images(range(seed, seed + n), label, truncation))

    def images(
        self,
        seeds: Sequence[int],
        label: int | str | None = None,
        truncation: float = 1.0,
        class_mix: str | None = None,
    ) -> Tensor:
        """Returns uint8 [len(seeds), C, H, W] on the CPU; a picture depends only on its seed, label and truncation.

        A class-conditional generator draws the class from the seed unless `label` is given (an int is an index, a str a
        name, or else an index): with the class frequencies of its training data, or uniformly with `class_mix="even"`.
        Truncation below 1 reduces diversity and often improves quality: StyleGAN2 moves styles towards their mean
        (Karras et al. 2019, appendix B; 0: all the same), the others resample latents beyond +-2 truncation (the
        truncation trick of Brock et al. 2019, section 3.1).

        Raises:
            UserError: seeds that are none, an unknown class, a class for a generator without classes, a truncation out
                of 0..1.
        """
        made = list(self.stream(seeds, label, truncation, class_mix))
        return torch.stack(made) if made else torch.empty(0, dtype=torch.uint8)

    def stream(
        self,
        seeds: Sequence[int],
        label: int | str | None = None,
        truncation: float = 1.0,
        class_mix: str | None = None,
    ) -> Iterator[Tensor]:
        """Yields the pictures of `images` one after the other, uint8 [C, H, W], while a few are in memory.

        Raises:
            UserError (at the call, not later): as `images`.
        """
        check_seeds(seeds)
        number = self.class_number(label)
        self.check_truncation(truncation)
        self.sampler(class_mix)
        size = self.batch

        def made() -> Iterator[Tensor]:
            for start in range(0, len(seeds), size):
                yield from self.drawn(*self.points(seeds[start : start + size], number, truncation, class_mix))

        return made()

    @property
    def batch(self) -> int:
        """How many pictures are computed at once."""
        height, width = self.config["network"]["resolution"]
        return max(1, min(BATCH, BATCH * 256 * 256 // (height * width)))

    @torch.inference_mode()
    def points(
        self,
        seeds: Sequence[int],
        number: int | None = None,
        truncation: float = 1.0,
        class_mix: str | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Returns the inputs for the pictures of at least one seed, and their labels [N] or None; see `drawn`.

        StyleGAN2: styles, [N, style_count, w_dim]; others: latents, [N, z_dim]. number: of the class; None: random.
        """
        self.check_truncation(truncation)
        z, labels = self.latents(seeds, number, truncation, class_mix)
        if (styled := self.style_network) is None:
            return z, labels
        with full_precision():
            return styled.styles(z, labels, truncation), labels

    @torch.inference_mode()
    def drawn(self, points: Tensor, labels: Tensor | None) -> Tensor:
        """Returns the pictures of at least one of `points`, uint8 [N, C, H, W] on the CPU."""
        styled = self.style_network
        made = []
        with full_precision():
            for start in range(0, len(points), self.batch):
                part = points[start : start + self.batch]
                if styled is not None:
                    images = styled.synthesis(part)
                else:
                    known = () if labels is None else (labels[start : start + self.batch],)
                    images = self.network(part, *known)
                made.append(to_uint8(images).cpu())
        return torch.cat(made)

    @torch.inference_mode()
    def parts(self, seeds: Sequence[int], batch: int = 250, class_mix: str | None = None) -> Iterator[Tensor]:
        """Yields the pictures of `images`, uint8 [at most `batch`, C, H, W] at a time, about twice as fast.

        Uses larger batches and another memory format, so single values may differ by rounding.
        """
        network = copy.deepcopy(self.network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for start in range(0, len(seeds), batch):
            z, labels = self.latents(seeds[start : start + batch], None, class_mix=class_mix)
            yield to_uint8(network(z) if labels is None else network(z, labels)).contiguous()

    def latents(
        self, seeds: Sequence[int], number: int | None, truncation: float = 1.0, class_mix: str | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Returns (z [N, z_dim], labels [N] or None), drawn from each seed; z is not truncated for StyleGAN2."""
        limit = None if truncation == 1 or self.style_network else 2 * truncation
        return self.sampler(class_mix)[0].of_seeds(seeds, number, limit)

    def sampler(self, class_mix: str | None = None) -> tuple[Sampler, str | None]:
        """Returns the sampler of latents and classes, and the class mix; None for a generator without classes.

        class_mix: see `rggan.generation.sampler.mixed`.
        """
        network, counts, mix = self.config["network"], None, None
        if network["classes"]:
            counts, mix = mixed(network["classes"], self.config.get("class_counts"), class_mix)
        elif class_mix is not None:
            raise UserError("This generator was trained without classes (`cond`): leave `class_mix` out.")
        return Sampler(network["z_dim"], torch.device(self.device), counts=counts), mix

    def check_truncation(self, truncation: float) -> None:
        """Raises UserError if it is out of range or NaN."""
        if self.style_network is not None and not 0 <= truncation <= 1:
            raise UserError(f"The truncation of a StyleGAN2 is a number from 0 to 1, not {truncation}.")
        if self.style_network is None and not 0 < truncation <= 1:
            raise UserError(f"The truncation is a number above 0, up to 1, not {truncation}.")

    def class_number(self, label: int | str | None) -> int | None:
        if label is None:
            return None
        if not self.config["network"]["classes"]:
            raise UserError("This generator was trained without classes (`cond`): leave the class out.")
        if isinstance(label, str) and label in self.classes:
            return self.classes.index(label)
        if str(label).isdecimal() and int(label) < len(self.classes):
            return int(label)
        hint = nearest(str(label), self.classes) or "."
        raise UserError(f"There is no class {label}; there are {', '.join(self.classes)}{hint}")


def check_seeds(seeds: Sequence[int]) -> None:
    """Raises UserError where these are no seeds.

    >>> check_seeds([3, -1])
    Traceback (most recent call last):
    rggan.errors.UserError: A seed is a whole number from 0 to 2**63 - 1, not -1.
    """
    if not isinstance(seeds, Sequence | np.ndarray | Tensor):
        raise UserError(f"Seeds are several numbers, like range(8) or [3, 5], not {seeds!r}.")
    ends = [*seeds[:1], *seeds[-1:]] if isinstance(seeds, range) else seeds
    for seed in ends:
        if not is_seed(seed):
            raise UserError(f"A seed is a whole number from 0 to 2**63 - 1, not {seed!r}.")


def is_seed(value: object) -> bool:
    """
    >>> is_seed(3), is_seed(-1), is_seed(2**63), is_seed("a"), is_seed(1.5)
    (True, False, False, False, False)
    """
    try:
        return 0 <= operator.index(value) < 2**63  # type: ignore[arg-type]
    except TypeError:
        return False
