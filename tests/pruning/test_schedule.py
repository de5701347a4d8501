"""The paper's rule against its formula, and one decision for all networks and processes."""

import json
import random
from itertools import groupby, pairwise

import pytest
import torch
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from rggan.pruning import Always, Never, OverfitSchedule, PeriodicSchedule, Pruner, ScoreSchedule, Threshold

pytestmark = pytest.mark.filterwarnings("ignore::rggan.pruning.PruningWarning")  # nothing trains here


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
            masks.append([layer.mask.clone() for layer in pruner.layers])
            # Rank 0's scores rise, so it goes dense; rank 1's fall, so by itself it would prune on.
            phases.append(schedule.step(step if rank == 0 else -step if step < 12 else None))
    torch.save({"phases": phases, "masks": masks, "thresholds": pruner.layers[0].threshold}, f"{folder}/{rank}.pt")
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


def test_flips_count_the_changes_of_phase():
    schedule = ScoreSchedule(*pruners())
    numbers = random.Random(1)
    phases = ["prune", *[schedule.step(numbers.uniform(1, 2)) for _ in range(100)]]
    assert schedule.flips == sum(a != b for a, b in pairwise(phases))
    assert schedule.flips > 20  # on a flat curve the published rule is a coin toss


def test_dead_band_keeps_the_phase_of_small_changes_only():
    wide, published = (ScoreSchedule(*pruners(), dead_band=band) for band in (0.2, 0.0))
    numbers = random.Random(1)
    scores = [1 + 0.02 * numbers.uniform(-1, 1) for _ in range(40)]
    for score in scores:
        wide.step(score)
        published.step(score)
    assert wide.flips == 0 < published.flips
    assert wide.step(3.0) == "dense"  # far above the mean: that is a change
    assert wide.step(1.4) == "dense"  # within the band of the mean: it stays as it is
    assert wide.step(0.2) == "prune"


@pytest.mark.parametrize("first", ["prune", "dense"])
def test_periodic_phases_have_their_lengths(first):
    both = pruners()
    schedule = PeriodicSchedule(*both, prune=3, dense=2, first=first)
    phases = [schedule.phase]
    for _ in range(30):
        phases.append(schedule.step())
        assert [pruner.phase for pruner in both] == [phases[-1]] * 2
    lengths = [(phase, len(list(group))) for phase, group in groupby(phases)][:-1]
    assert set(lengths) == {("prune", 3), ("dense", 2)}
    assert lengths[0][0] == first


def test_always_and_never():
    both = pruners()
    always, never = Always(both[0]), Never(both[1])
    for score in (1.0, 5.0, None, 0.1):
        assert (always.step(score), never.step(score)) == ("prune", "dense")
    assert [pruner.phase for pruner in both] == ["prune", "dense"]
    assert always.flips == never.flips == 0


def test_pruners_with_a_schedule_each_change_apart():
    both = pruners()
    first = PeriodicSchedule(both[0], prune=1, dense=1)
    second = ScoreSchedule(both[1])
    first.step()
    second.step(1.0)
    assert [pruner.phase for pruner in both] == ["dense", "prune"]


def test_overfitting_is_the_mean_sign_of_all_that_was_observed():
    schedule = OverfitSchedule(*pruners(), target=0.6)
    batches = [torch.randn(7) + shift for shift in (0.2, 1.0, 3.0)]
    for batch in batches:
        schedule.observe(batch)
    phase = schedule.step()
    expected = torch.cat(batches).sign().mean().item()
    assert schedule.overfitting == pytest.approx(expected)
    assert phase == ("prune" if expected > 0.6 else "dense")
    schedule.observe(torch.ones(4))
    assert schedule.step() == "prune"  # what was observed before counts no more
    with pytest.raises(ValueError, match="observe"):
        schedule.step()


def test_overfitting_on_held_out_images_is_the_papers_share():
    schedule = OverfitSchedule(*pruners(), target=0.5)
    schedule.observe(real=torch.tensor([2.0, 4.0]), held_out=torch.tensor([0.0]), fake=torch.tensor([-1.0, -3.0]))
    schedule.step()
    assert schedule.overfitting == pytest.approx((3 - 0) / (3 - -2))  # ADA, eq. 1
    with pytest.raises(ValueError, match="together"):
        schedule.observe(torch.ones(2), held_out=torch.ones(2))


def test_overfitting_has_a_dead_band():
    schedule = OverfitSchedule(*pruners(), target=0.0, dead_band=0.5)
    for real, phase in (([1.0, 1.0, 1.0, -1.0], "prune"), ([1.0, -1.0, -1.0, -1.0], "prune"), ([-1.0, -1.0], "dense")):
        schedule.observe(torch.tensor(real))
        assert schedule.step() == phase


@pytest.mark.parametrize(
    "make",
    [
        lambda p: ScoreSchedule(*p, dead_band=0.1),
        lambda p: PeriodicSchedule(*p, prune=2, dense=3),
        lambda p: OverfitSchedule(*p, target=0.1),
        lambda p: Always(*p),
        lambda p: Never(*p),
    ],
)
def test_state_of_every_schedule_goes_on_where_it_stopped(make):
    numbers = random.Random(2)
    scores = [numbers.uniform(1, 2) for _ in range(12)]
    reals = [torch.randn(5) for _ in range(12)]

    def go(schedule, start, end):
        for score, real in zip(scores[start:end], reals[start:end], strict=True):
            if isinstance(schedule, OverfitSchedule):
                schedule.observe(real)
            yield schedule.step(score)

    whole = make(pruners())
    phases = list(go(whole, 0, 12))
    first, second = make(pruners()), make(pruners())
    begun = list(go(first, 0, 6))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.pruners[0].phase == begun[-1]
    assert begun + list(go(second, 6, 12)) == phases
    assert second.flips == whole.flips


@pytest.mark.parametrize(
    "make",
    [
        lambda p: ScoreSchedule(*p, dead_band=-1.0),
        lambda p: ScoreSchedule(*p, weights=()),
        lambda p: PeriodicSchedule(*p, prune=0),
        lambda p: PeriodicSchedule(*p, first="later"),
        lambda p: OverfitSchedule(*p, dead_band=-0.1),
        lambda p: Always(*p, fade=-1),
        lambda p: Always(),
    ],
)
def test_bad_arguments_are_refused(make):
    with pytest.raises(ValueError, match=r"dead band|weight|phases|fade|pruner"):
        make(pruners())
