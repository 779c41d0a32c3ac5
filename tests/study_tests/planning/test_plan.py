"""Packs: every trial in exactly one, data sets whole, workers busy to the end, memory bounded."""

from __future__ import annotations

import math
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study import StudySpec
from study.planning.cost import DEFAULT_SPEEDS, seconds_of
from study.planning.plan import (
    MAXIMUM_SECONDS,
    MINIMUM_SECONDS,
    WASTE,
    Pack,
    Plan,
    Slots,
    local_slots,
    make_plan,
    makespan,
    pack_id_of,
)
from trainers.kept.keep import Keep, Sampling
from trainers.trial import Cube, TrialConfig

EXAMPLES = Path(__file__).parents[3] / "examples"
SPEEDS = DEFAULT_SPEEDS["cpu"]


def planned(trials: list[TrialConfig], workers: int, memory: float = math.inf) -> Plan:
    return make_plan(trials, Slots(workers, "cpu"), SPEEDS, memory)


def trial(samples: int = 512, width: int = 1024, seed: int = 0, **others: object) -> TrialConfig:
    fields = {"law": Cube(dimension=2), "step_size": 1.0, **others}
    return TrialConfig(samples=samples, width=width, seed=seed, **fields)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quickstart", "dimension"])
@pytest.mark.parametrize("workers", [1, 2, 3, 8, 64])
def test_every_trial_once_and_workers_busy_to_the_end(name: str, workers: int) -> None:
    trials = StudySpec.load(EXAMPLES / f"{name}.yaml").trials()
    plan = planned(trials, workers)
    assert Counter(t.trial_id for p in plan.packs for t in p.trials) == Counter(
        t.trial_id for t in trials
    )
    assert plan.trials == len(trials)
    costs = [pack.cost for pack in plan.packs]
    assert costs == sorted(costs, reverse=True)
    longest = max(seconds_of([t], SPEEDS) for t in trials)
    least = max(sum(costs) / workers, longest)
    assert makespan(costs, workers) <= 1.1 * least + MINIMUM_SECONDS
    assert max(costs) <= max(MAXIMUM_SECONDS, longest)  # one trial cannot be divided


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 8])
def test_spreading_trials_over_packs_wastes_little(workers: int) -> None:
    trials = StudySpec.load(EXAMPLES / "quickstart.yaml").trials()
    families: dict[object, list[TrialConfig]] = {}
    for t in trials:
        families.setdefault((t.law, t.samples), []).append(t)
    whole = sum(seconds_of(family, SPEEDS) for family in families.values())
    assert planned(trials, workers).cost <= (1.02 + WASTE) * whole


def test_a_dear_reference_is_made_once_and_a_cheap_one_where_it_is_needed() -> None:
    def packs_of_a_data_set(samples: int, steps: int) -> int:
        widths = (64, 128, 256, 512, 1024, 2048)
        trials = [trial(samples, m, seed, steps=steps) for seed in range(8) for m in widths]
        homes: dict[str, set[str]] = {}
        for pack in planned(trials, 2).packs:
            for t in pack.trials:
                homes.setdefault(t.data_id, set()).add(pack.pack_id)
        return max(map(len, homes.values()))

    assert packs_of_a_data_set(8192, 20) == 1
    assert packs_of_a_data_set(64, 2000) > 1


@pytest.mark.slow
def test_a_plan_depends_on_the_trials_alone() -> None:
    trials = StudySpec.load(EXAMPLES / "quickstart.yaml").trials()
    first = [pack.pack_id for pack in planned(trials, 2).packs]
    again = StudySpec.load(EXAMPLES / "quickstart.yaml").trials()
    assert first == [pack.pack_id for pack in planned(again, 2).packs]


def test_a_data_set_that_runs_too_long_is_split() -> None:
    trials = [trial(8192, 8192, steps=5000, step_size=s) for s in (0.1, 0.2, 0.4, 0.8)]
    assert seconds_of(trials[:1], SPEEDS) > MAXIMUM_SECONDS
    assert [len(pack.trials) for pack in planned(trials, 2).packs] == [1, 1, 1, 1]


def test_small_data_sets_are_joined_and_every_worker_gets_one() -> None:
    trials = [trial(64, 64, seed) for seed in range(100)]
    packs = planned(trials, 1).packs
    assert len(packs) < 10
    large = [trial(2048, 4096, seed) for seed in range(16)]
    for workers in (1, 2, 4, 16):
        assert len(planned(large, workers).packs) >= workers


@pytest.mark.parametrize("added", [48, 96, 200])
def test_one_more_value_of_an_axis_keeps_its_seeds_together(added: int) -> None:
    """A batch of one pays a step's fixed cost, and another compilation, for one trial alone."""
    spec = StudySpec.load(EXAMPLES / "quickstart.yaml")
    swept = (t for t in spec.trials() if t.steps == 1000 and not t.infinite)
    first = [t for t in swept if t.samples == 64 and t.seed == 0]
    more = [t.model_copy(update={"samples": added, "seed": s}) for t in first for s in range(8)]
    assert len(more) == 16
    packs = planned(more, 2).packs
    assert len(packs) == 2
    assert {len(pack.trials) for pack in packs} == {8}
    assert {t.law for t in packs[0].trials} != {t.law for t in packs[1].trials}


def test_more_seeds_in_a_pack_cost_less_than_packs_of_few() -> None:
    trials = [trial(64, m, seed) for seed in range(16) for m in (64, 128, 256, 512)]
    together = planned(trials, 2)
    assert len(together.packs) >= 2
    apart = [seconds_of([t for t in trials if t.seed == seed], SPEEDS) for seed in range(16)]
    assert together.cost < 0.5 * sum(apart)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([16, 256, 4096]), st.sampled_from([64, 4096]), st.integers(0, 3)),
        min_size=1,
        max_size=40,
        unique=True,
    ),
    st.integers(1, 20),
    st.sampled_from([math.inf, 3e8, 1e3]),
)
def test_any_trials_are_packed_once(
    shapes: list[tuple[int, int, int]], workers: int, memory: float
) -> None:
    trials = [trial(*shape) for shape in shapes]
    plan = planned(trials, workers, memory)
    assert Counter(t.trial_id for p in plan.packs for t in p.trials) == Counter(
        t.trial_id for t in trials
    )
    assert all(len(pack.trials) == 1 or pack.memory <= memory for pack in plan.packs)
    assert math.isclose(plan.operations, sum(t.training_operations for t in trials))


def test_nothing_to_train_is_an_empty_plan() -> None:
    plan = planned([], 2)
    assert (plan.packs, plan.trials, plan.seconds, plan.memory) == ((), 0, 0.0, 0)


@pytest.mark.slow
def test_many_trials_are_planned() -> None:
    trials = [
        trial(n, m, seed) for n in (32, 64, 128, 256, 512) for m in (2, 4) for seed in range(1000)
    ]
    random.Random(0).shuffle(trials)
    plan = planned(trials, 64)
    assert plan.trials == 10_000
    assert len(plan.packs) < 1000


def test_halves_hold_the_same_trials() -> None:
    pack = Pack.of([trial(seed=s) for s in range(5)], SPEEDS, "cpu")
    left, right = pack.halves()
    assert left.trials + right.trials == pack.trials
    assert left.trials
    assert right.trials
    assert left.cost + right.cost == pytest.approx(pack.cost)


def test_samples_cost_time() -> None:
    """As much for each network and step; nothing for seeds that are not sampled."""
    trials = [trial(64, 32, seed) for seed in range(4)]
    sampling = Sampling(("best", "last"), frozenset([0, 1]), points=512, grid_steps=100)
    keep = Keep((), frozenset(), sampling)
    plain, sampled = (Pack.of(trials, SPEEDS, "cpu", k) for k in (None, keep))
    # Two networks, two steps of each; W z and its product with A, k = 4 and d = 2.
    operations = 2 * 2 * 100 * 512 * 2 * 32 * (4 + 2)
    assert sampled.cost - plain.cost == pytest.approx(operations / SPEEDS.matmul)
    assert sampled.memory == plain.memory


def test_pack_ids_name_the_set_of_trials() -> None:
    trials = [trial(seed=s) for s in range(3)]
    assert Pack.of(trials, SPEEDS, "cpu").pack_id == Pack.of(trials[::-1], SPEEDS, "cpu").pack_id
    assert Pack.of(trials, SPEEDS, "cpu").pack_id == pack_id_of([t.trial_id for t in trials])
    assert Pack.of(trials, SPEEDS, "cpu").pack_id != Pack.of(trials[:2], SPEEDS, "cpu").pack_id


def test_packs_fit_a_workers_memory_by_default() -> None:
    trials = [trial(256, 64, seed, steps=5) for seed in range(400)]
    whole = make_plan(trials, Slots(1, "cpu"), SPEEDS)
    limit = 0.7 * max(pack.memory for pack in whole.packs)
    split = make_plan(trials, Slots(1, "cpu", memory=limit), SPEEDS)
    assert len(split.packs) > len(whole.packs)
    assert all(pack.memory <= limit for pack in split.packs)
    chosen = make_plan(trials, Slots(1, "cpu", memory=limit), SPEEDS, math.inf)
    assert [p.pack_id for p in chosen.packs] == [p.pack_id for p in whole.packs]


def test_a_plans_time_is_start_up_training_and_the_end() -> None:
    trials = [trial(512, 512, seed) for seed in range(64)]
    plan = planned(trials, 2)
    training = makespan([p.cost for p in plan.packs], 2)
    assert training + SPEEDS.startup < plan.seconds < training + SPEEDS.startup + 30
    assert plan.rate == pytest.approx(plan.operations / plan.cost)
    assert 0 < plan.memory <= sum(sorted(p.memory for p in plan.packs)[-2:])


def test_slots_of_this_machine() -> None:
    slots = local_slots("cpu", 1, None, 3)
    assert (slots.workers, slots.device, slots.cpus, slots.gpus) == (3, "cpu", 1, 0.0)
    assert 1e6 < slots.memory < 1e14
    assert local_slots("cpu", 1, None, 1).memory > 2 * slots.memory
    assert local_slots("cpu", 10_000, None, None).workers == 1
    assert local_slots("cuda", 1, 0.5, None).gpus == 0.5


def test_makespan_of_a_known_schedule() -> None:
    assert makespan([5, 4, 3, 3, 3], 2) == 10
    assert makespan([], 3) == 0
    assert makespan([1, 2, 3], 1) == 6
