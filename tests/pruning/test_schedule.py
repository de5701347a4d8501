"""The paper's rule against its formula, and one decision for all networks and processes."""

import random

import pytest
import torch
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from rggan.pruning import Pruner, ScoreSchedule, Threshold


def pruners():
    models = [nn.Linear(4, 4), nn.Linear(4, 4)]
    return [Pruner(model, torch.optim.SGD(model.parameters(), lr=0.1)) for model in models]


def test_prunes_below_five_scores_and_then_follows_the_formula():
    both = pruners()
    schedule = ScoreSchedule(*both)
    numbers = random.Random(0)
    scores = [numbers.uniform(1, 2) for _ in range(200)]
    phases = []
    for i, score in enumerate(scores):
        phase = schedule.step(score)
        s = scores[max(0, i - 4) : i + 1]
        dense = len(s) == 5 and 0.1 * s[0] + 0.1 * s[1] + 0.2 * s[2] + 0.2 * s[3] + 0.4 * s[4] < s[4]
        assert phase == ("dense" if dense else "prune")
        assert [pruner.phase for pruner in both] == [phase, phase]
        phases.append(phase)
    assert schedule.decisions == 196
    assert 50 < phases.count("dense") < 150


def test_begins_pruning_even_after_a_dense_phase():
    both = pruners()
    for pruner in both:
        pruner.integrate()
    ScoreSchedule(*both)
    assert [pruner.phase for pruner in both] == ["prune", "prune"]


def test_state_restores_the_window():
    schedule = ScoreSchedule(*pruners())
    for score in (5, 4, 3, 2, 1):
        schedule.step(score)
    other = ScoreSchedule(*pruners())
    other.load_state_dict(schedule.state_dict())
    assert other.step(9.0) == schedule.step(9.0) == "dense"
    assert other.decisions == schedule.decisions == 2
    third = ScoreSchedule(*pruners())
    third.load_state_dict(schedule.state_dict())
    assert third.phase == third.pruners[0].phase == "dense"


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_no_decision_from_a_score_that_is_no_number(score):
    with pytest.raises(ValueError, match="finite"):
        ScoreSchedule(*pruners()).step(score)


def test_needs_a_pruner():
    with pytest.raises(ValueError, match="at least one pruner"):
        ScoreSchedule()


def distributed(rank: int, folder: str) -> None:
    """Each process sees other data and, at the evaluation, another score."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.manual_seed(rank)
    model = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    pruner = Pruner(model, optimizer, Threshold(lr=0.05))
    wrapped = DistributedDataParallel(model)
    schedule = ScoreSchedule(pruner)
    phases, masks = [], []
    for step in range(20):
        optimizer.zero_grad()
        wrapped(torch.randn(8, 6)).square().mean().backward()
        optimizer.step()
        if step % 2:
            masks.append([layer.mask.mask.clone() for layer in pruner.layers])
            # Rank 0's scores rise, so it goes dense; rank 1's fall, so by itself it would prune on.
            phases.append(schedule.step(step if rank == 0 else -step))
    torch.save({"phases": phases, "masks": masks, "thresholds": pruner.layers[0].mask.threshold}, f"{folder}/{rank}.pt")
    del wrapped  # while its process group is there: afterwards it may wait for ever
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_agree_on_masks_and_phases(tmp_path):
    mp.spawn(distributed, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert first["phases"] == second["phases"]
    assert "dense" in first["phases"]
    assert torch.equal(first["thresholds"], second["thresholds"])
    assert min(float(mask.mean()) for masks in first["masks"] for mask in masks) < 1
    for ours, theirs in zip(first["masks"], second["masks"], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
