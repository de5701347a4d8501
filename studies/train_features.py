"""Train the two extractors that ship in rggan/metrics/weights.

    python -m studies.train_features CIFAR10_FOLDER

CIFAR10_FOLDER holds train/<class>/NNNN.jpg and test/<class>/NNNN.jpg. Only training images with an odd
number are read, so that studies on the even ones are never scored by features that saw their images.
Standard supervised training: flips, shifts of up to 4 pixels and a random grey or colour scaling.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from rggan.data import load_images
from rggan.metrics.features import ARCHITECTURES, WEIGHTS

EPOCHS, BATCH = 14, 128
SEEDS = {"steering": 0, "reporting": 1}


def augment(images: Tensor) -> Tensor:
    """uint8 [N, 3, 32, 32] -> float in about -1..1, flipped, shifted and recoloured at random."""
    x = images.float().div(127.5).sub(1)
    x = torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(3), x)
    down, right = torch.randint(0, 9, (2,)).tolist()
    x = F.pad(x, (4, 4, 4, 4), mode="reflect")[:, :, down : down + 32, right : right + 32]
    grey = x.mean(dim=1, keepdim=True)
    x = grey + (x - grey) * (torch.rand(len(x), 1, 1, 1) * 1.4).clamp(max=1)  # a share loses its colour
    return x * (0.7 + 0.6 * torch.rand(len(x), 1, 1, 1))


def train(name: str, folder: Path) -> None:
    torch.manual_seed(SEEDS[name])
    odd = load_images(folder / "train", 32, pattern="*[13579].jpg")
    test = load_images(folder / "test", 32)
    assert odd.labels is not None
    assert test.labels is not None
    network = ARCHITECTURES[name]().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    head = nn.Linear(network.dim, len(odd.classes))
    parameters = [*network.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    steps = EPOCHS * (len(odd) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=steps, pct_start=0.2)
    started = time.time()
    for epoch in range(EPOCHS):
        network.train()
        for index in torch.randperm(len(odd)).split(BATCH)[: len(odd) // BATCH]:
            x = augment(odd.images[index]).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                features = network.pooled(x)
            loss = F.cross_entropy(head(features), odd.labels[index], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"{name} epoch {epoch + 1}/{EPOCHS} loss {loss.item():.3f} sec {time.time() - started:.0f}", flush=True)

    network.eval()
    with torch.no_grad():

        def pooled(images: Tensor) -> Tensor:
            return torch.cat([network.pooled(part.float().div(127.5).sub(1)) for part in images.split(500)])

        accuracy = (head(pooled(test.images)).argmax(1) == test.labels).float().mean().item()
        raw = pooled(odd.images)
        network.mean.copy_(raw.mean(0))
        network.std.copy_(raw.std(0))
    weights = {k: v.half().contiguous() for k, v in network.state_dict().items()}
    facts = {
        "trained on": "CIFAR-10 training images with an odd number",
        "seed": SEEDS[name],
        "epochs": EPOCHS,
        "test accuracy": round(accuracy, 4),
    }
    WEIGHTS.mkdir(exist_ok=True)
    save_file(weights, WEIGHTS / f"{name}.safetensors", {"rggan": json.dumps(facts)})
    print(name, facts, flush=True)


if __name__ == "__main__":
    for network_name in ARCHITECTURES:
        train(network_name, Path(sys.argv[1]))
