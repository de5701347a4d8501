"""The parts of a training, made of its options: both networks with their data, their optimizers, the steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam

from rggan import ranks
from rggan.augment.ada import AdaptiveAugment
from rggan.augment.diffaugment import diff_augment
from rggan.config import TrainConfig
from rggan.data import Batches, ImageSet
from rggan.data.streams.batches import StreamBatches
from rggan.data.streams.read import Streamed
from rggan.device import check_device, use_bf16
from rggan.errors import UserError
from rggan.gan import Gan
from rggan.generation.build import build
from rggan.generation.sampler import Sampler
from rggan.networks import FAMILIES
from rggan.networks.synced import synchronise
from rggan.options import network_arguments
from rggan.registry import called
from rggan.steps import LOSSES, Steps
from rggan.training.limits import drop_out
from rggan.training.rates import learning_rate
from rggan.training.sparsity import Network
from rggan.training.transfer import freeze_lower, is_generator_alone, start_from


def description_of(config: TrainConfig, data: ImageSet) -> dict[str, Any]:
    """What a saved generator tells of its network and its classes."""
    channels, height, width = data.shape
    classes = list(data.classes) if config.cond else []
    network = {
        "name": config.network,
        "resolution": [height, width],
        "channels": channels,
        "width": config.width_g,
        "z_dim": config.z_dim,
        "classes": len(classes),
        **network_arguments(config),
    }
    told: dict[str, Any] = {"network": network, "classes": classes}
    if classes and data.labels is not None:
        told["class_counts"] = data.class_counts
    return told


def make_gan(
    config: TrainConfig, data: ImageSet, network: dict[str, Any], ada: AdaptiveAugment | None, fresh: bool
) -> Gan:
    """Both networks with fresh weights, or with those of `config.init` where the run is `fresh`.

    network: as `Generator` describes it.

    Raises:
        UserError: a device that is not there, or weights that do not fit.
    """
    device = device_of(config)
    g = build(network)
    size, channels, classes = tuple(network["resolution"]), network["channels"], network["classes"]
    d = called(
        f"`network` {config.network}",
        FAMILIES.get(config.network).discriminator,
        size,
        channels,
        config.width_d,
        classes=classes,
    )
    if config.style_mixing:
        g.style_mixing = config.style_mixing  # type: ignore[assignment]
    if config.init is not None and fresh:
        if config.freeze_d and config.init_d is None and is_generator_alone(config.init):
            raise UserError(f"`init` {config.init} is a generator alone: `freeze_d` needs the D of a run, as `init_d`.")
        start_from(config.init, config.init_d, network, config.width_d, g, d)
    if ranks.count() > 1:
        synchronise(g)
        synchronise(d)
    freeze_lower(d, config.freeze_d)
    drop_out(d, config.dropout_d)
    how = (config.batch, config.seed, config.mirror, str(device))
    batches = StreamBatches(data, *how) if isinstance(data, Streamed) else Batches(data, *how)
    sampler = Sampler(config.z_dim, device, batches.labels if classes else None)
    bf16 = use_bf16(config.precision, device)
    gan = Gan(g, d, sampler, batches, augmentation(config, ada), device, classes > 0, bf16, config.compile)
    gan.opt_g = make_adam(config, "g", list(gan.g.parameters()), device)
    gan.opt_d = make_adam(config, "d", gan.trained_d, device)
    return gan


def device_of(config: TrainConfig) -> torch.device:
    """Where this process trains: of several ranks on a machine each has its own GPU."""
    device = check_device(config.device, training=True)
    if ranks.count() == 1 or device.type == "cpu":
        return device
    return check_device(f"cuda:{ranks.world.place}", training=True)


def make_adam(config: TrainConfig, network: Network, parameters: list[nn.Parameter], device: torch.device) -> Adam:
    """Of one network. On a GPU its learning rate lies there, where a recorded step finds it."""
    rate, on_gpu = learning_rate(config, network), device.type == "cuda"
    lr = torch.tensor(rate, device=device) if on_gpu else rate
    adam = Adam(parameters, lr=lr, betas=(config.beta1, config.beta2), fused=True, capturable=on_gpu)
    adam._warned_capturable_if_run_uncaptured = True  # the first steps always are
    return adam


def augmentation(config: TrainConfig, ada: AdaptiveAugment | None) -> Any:
    """Images float [N, C, H, W] -> the same shape, as `aug` says."""
    if ada is not None:
        return ada
    return diff_augment if config.aug == "diff" else unchanged


def unchanged(images: Tensor) -> Tensor:
    return images


def foreign_steps(config: TrainConfig) -> str | None:
    """The option by which code of somebody's own takes part in the training steps, as messages name it."""
    if config.loss not in LOSSES.builtin:
        return f"`loss` {config.loss}"
    return None if config.network in FAMILIES.builtin else f"`network` {config.network}"


def make_steps(config: TrainConfig, pixels: int, device: torch.device) -> Steps:
    """The family's steps, or those of a loss that brings its own, with the family's weight of R1 where none is given.

    pixels: of an image.

    Raises:
        UserError: they cannot be made.
    """
    family, loss = FAMILIES.get(config.network), LOSSES.get(config.loss)
    gamma = config.gamma
    if gamma is None:
        gamma = 0.0 if family.r1 is None else family.r1(pixels, config.batch)
    asked = f"`network` {config.network}" if loss.steps is None else f"`loss` {config.loss}"
    made = called(asked, loss.steps or family.steps, vars(config), loss, gamma, device)
    if not isinstance(made, Steps):
        raise UserError(f"{asked}: its steps are no Steps (rggan.steps).")
    return made
