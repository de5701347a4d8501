"""Settings that belong together: named presets, what is pruned by default, and a choice by what is there.

Plain dicts of options of `TrainConfig`, without a word about how they are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from rggan.networks import FAMILIES

DEFAULT = "sngan"  # the family of networks where nothing is asked for: the paper's own

PRESETS: dict[str, dict[str, Any]] = {
    # Miyato et al. 2018, with 256 and 128 channels and 5 steps of D.
    "sngan-cifar": {"network": "sngan", "resolution": 32, "width_g": 256, "width_d": 128, "d_steps": 5, "mirror": True},
    # Karras et al. 2020, "Limited Data": its CIFAR-10 settings.
    "stylegan2-32": {
        **{"network": "stylegan2", "resolution": 32, "width_g": 512, "width_d": 512, "z_dim": 512, "batch": 64},
        **{"gamma": 0.01, "aug": "ada", "mirror": True},
    },
    # The same, for 256 pixels ("paper256").
    "stylegan2-256": {
        **{"network": "stylegan2", "resolution": 256, "width_g": 512, "width_d": 512, "z_dim": 512, "batch": 64},
        **{"mapping_layers": 8, "gamma": 1.0, "style_mixing": 0.9, "path_length": 2.0, "aug": "ada", "mirror": True},
    },
    # Liu et al. 2021.
    "fastgan-128": {"network": "fastgan", "resolution": 128, "batch": 8, "mirror": True},
    # Brock et al. 2019: 64 channels and batch 50 as in their CIFAR-10 runs; four steps of D are the choice here.
    "biggan-cifar": {"network": "biggan", "resolution": 32, "batch": 50, "cond": True, "mirror": True},
}


class Found(NamedTuple):
    """What `choose` looks at.

    side: the shorter one that pictures are trained at. pretrained: whether the networks of the extra are installed.
    """

    images: int
    side: int
    classes: int
    cuda: bool
    pretrained: bool = False


def settings(name: str) -> dict[str, Any]:
    """All options of a preset, or of a family of networks: those of its paper, narrower where the published width needs
    a large GPU.

    Raises:
        UserError: there is no such family.

    >>> settings("fastgan-128")["z_dim"], settings("biggan")["d_steps"]
    (256, 4)
    """
    options = PRESETS.get(name, {"network": name})
    return {**FAMILIES.get(options["network"]).settings, **options}


def pruning(given: Mapping[str, object]) -> dict[str, Any]:
    """Which networks are pruned, and D's target, where the options that were asked for leave it open.

    D alone, as far as it overfits; G besides where an option is about it. A rule, a penalty, a schedule without a
    target, or `networks="both"` ask for the paper's own way: both networks, by a penalty.

    >>> pruning({"batch": 8})
    {'networks': 'd', 'target_d': 'auto'}
    >>> pruning({"target_g": 0.5})
    {'networks': 'both', 'target_d': 'auto'}
    >>> pruning({"networks": "both"}), pruning({"networks": "g"})
    ({'networks': 'both', 'target_d': None}, {'networks': 'g', 'target_d': None})
    """
    networks, targets = given.get("networks"), given.keys() & {"target_g", "target_d"}
    if networks == "g":
        return {"networks": "g", "target_d": None}
    by_schedule = given.keys() & {"schedule", "schedule_d"} and not targets
    if networks == "both" or "rule" in given or "penalty" in given or by_schedule:
        return {"networks": "both", "target_d": None}
    of_g = given.keys() & {"target_g", "schedule_g", "granularity_g", "lr_dense"}
    # What goes with phases is about G, whose phases the score decides; a finale's fade is about the finale.
    of_phases = given.keys() & {"fade", "dead_band", "period"} and not given.keys() & {"target_d", "finale"}
    return {"networks": networks or ("both" if of_g or of_phases else "d"), "target_d": "auto"}


def choose(found: Found, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The options for these pictures on this device, and a line for each choice that says why.

    given: options that were asked for, which take the place of what would be chosen. What is pruned, `pruning` says.

    >>> options, why = choose(Found(images=100, side=128, classes=0, cuda=True, pretrained=True), {"batch": 4})
    >>> options["network"], options["batch"], options["aug"]
    ('projected', 4, 'diff')
    >>> why[0]
    'network    projected: D sees pictures of 64 pixels and more by a pretrained network'
    >>> why[1]
    'width      64, batch 4 (as asked): what a GPU trains in reasonable time at 128 pixels'
    """
    if (name := given.get("network")) is not None:
        reason = "as asked"
    elif (
        given.get("cond")
        and found.classes
        and found.cuda
        and found.images >= 5000
        and 32 <= found.side <= FAMILIES.get("biggan").sizes.high
    ):
        name, reason = "biggan", f"classes, and {found.images:,} pictures to tell them apart"
    elif found.pretrained and found.cuda and 64 <= found.side <= FAMILIES.get("projected").sizes.high:
        name, reason = "projected", "D sees pictures of 64 pixels and more by a pretrained network"
    elif found.side >= 64 and (not found.cuda or found.images < 2000):
        name, reason = "fastgan", "the family for few pictures of 64 pixels and more, and light enough for a CPU"
        if not found.cuda:  # docs/results.md
            reason += "; `network` projected takes as long and needs more steps"
        elif not found.pretrained and found.side <= FAMILIES.get("projected").sizes.high:
            reason += '; for the projected discriminator: pip install "rggan[pretrained]"'
    elif found.cuda and found.side >= 32:
        name, reason = "stylegan2", "the best pictures, where a GPU carries it"
    else:
        name, reason = "sngan", "small pictures, and the fastest on a CPU"
    options: dict[str, Any] = settings(name)
    why = [f"network    {name}: {reason}"]

    if found.cuda:
        width = {"sngan": 128, "stylegan2": 512, "fastgan": 64, "biggan": 64, "projected": 64}.get(
            name, options.get("width_g", 64)
        )
        batch = {"sngan": 64, "biggan": 64, "fastgan": 16, "projected": 64}.get(name, 64 if found.side <= 64 else 32)
        kimg = 2000.0
    else:
        # A width of FastGAN is 16 times as many channels at its base.
        width = 16 if name in ("fastgan", "projected") else 32
        batch = 32 if found.side <= 32 else 16 if found.side <= 64 else 8
        kimg = 400.0 if found.side <= 32 else 200.0 if found.side <= 64 else 100.0
    faster = not found.cuda and name in ("fastgan", "projected")  # so narrow ones learn slowly at the published rate
    if faster:
        options["lr"] = 1e-3
    options |= {"width_g": width, "width_d": width, "batch": batch}
    # The projected discriminator is always augmented, as published.
    options |= {"kimg": kimg, "snap": given.get("kimg", kimg) / 20}
    options["aug"] = "ada" if found.images >= 5000 and name != "projected" else "diff"
    options |= given

    def told(name: str) -> str:
        value = options[name]
        return f"{value:g}{' (as asked)' if name in given else ''}"

    def because(names: set[str], reason: str) -> str:
        return "as asked" if names <= given.keys() else reason

    device = "GPU" if found.cuda else "CPU"
    widths = told("width_g")
    if options["width_d"] != options["width_g"] or ("width_d" in given) != ("width_g" in given):
        widths = f"G {widths}, D {told('width_d')}"
    reason = because(
        {"width_g", "width_d", "batch"}, f"what a {device} trains in reasonable time at {found.side} pixels"
    )
    why.append(f"width      {widths}, batch {told('batch')}: {reason}")
    reason = because({"kimg"}, "a beginning; `kimg` makes it longer")
    why.append(f"length     {options['kimg']:g} kimg, looked at every {options['snap']:g}: {reason}")
    if faster:
        why.append(f"rate       {told('lr')}: {because({'lr'}, 'narrow networks learn faster so than as published')}")
    reason = {
        "ada": "enough pictures to wait until D overfits",
        "diff": "as the projected discriminator was published"
        if name == "projected"
        else "so few pictures are learnt by heart at once without it",
    }.get(options["aug"], "")
    why.append(f"augment    {options['aug']}: {because({'aug'}, f'{found.images:,} pictures, {reason}')}")
    if name == "stylegan2" and options.get("gamma") is None:  # left to the run, which knows the other side
        batch = options["batch"]
        why.append(
            f"gamma      0.0002 x pixels / batch: {0.0002 * found.side**2 / batch:.3g} for a square and this batch"
        )
    return options, why
