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
from study.plan import (
    DEFAULT_RATES,
    INTERPOLATION_SAMPLES,
    MAXIMUM_SECONDS,
    MINIMUM_OPERATIONS,
    Pack,
    Plan,
    Slots,
    choose_rate,
    cost_of,
    cost_together,
    kernel_cost,
    local_slots,
    make_plan,
    makespan,
    memory_of,
    pack_id_of,
)
from trainers.batches import BATCH_BYTES
from trainers.trial import Cube, TrialConfig

EXAMPLES = Path(__file__).parents[2] / "examples"
RATE = 3e10


def planned(trials: list[TrialConfig], workers: int, memory: float = math.inf) -> Plan:
    return make_plan(trials, workers, RATE, "recorded default", memory)


def trial(samples: int = 512, width: int = 1024, seed: int = 0, **others: object) -> TrialConfig:
    fields = {"law": Cube(dimension=2), "step_size": 1.0, **others}
    return TrialConfig(samples=samples, width=width, seed=seed, **fields)  # type: ignore[arg-type]


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
    longest = max(Pack.of([t]).cost for t in trials)
    least = max(sum(costs) / workers, longest)
    assert makespan(costs, workers) <= 1.1 * least + MINIMUM_OPERATIONS
    assert max(costs) <= MAXIMUM_SECONDS * RATE * 1.2


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_a_data_set_stays_in_one_pack_where_its_cost_allows(workers: int) -> None:
    trials = StudySpec.load(EXAMPLES / "quickstart.yaml").trials()
    homes: dict[str, set[str]] = {}
    for pack in planned(trials, workers).packs:
        for t in pack.trials:
            homes.setdefault(t.data_id, set()).add(pack.pack_id)
    assert all(len(packs) == 1 for packs in homes.values())


def test_a_plan_depends_on_the_trials_alone() -> None:
    trials = StudySpec.load(EXAMPLES / "quickstart.yaml").trials()
    first = [pack.pack_id for pack in planned(trials, 2).packs]
    again = StudySpec.load(EXAMPLES / "quickstart.yaml").trials()
    assert first == [pack.pack_id for pack in planned(again, 2).packs]


def test_a_data_set_that_runs_too_long_is_split() -> None:
    trials = [trial(8192, 8192, steps=5000, step_size=s) for s in (0.1, 0.2, 0.4, 0.8)]
    assert cost_of(trials[0]) > MAXIMUM_SECONDS * RATE
    assert [len(pack.trials) for pack in planned(trials, 2).packs] == [1, 1, 1, 1]


def test_small_data_sets_are_joined_and_every_worker_gets_one() -> None:
    trials = [trial(64, 64, seed) for seed in range(100)]
    packs = planned(trials, 1).packs
    assert len(packs) < 10
    assert max(pack.cost for pack in packs) <= MINIMUM_OPERATIONS
    large = [trial(2048, 4096, seed) for seed in range(16)]
    for workers in (1, 2, 4, 16):
        assert len(planned(large, workers).packs) >= workers


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([16, 256, 4096]), st.sampled_from([64, 4096]), st.integers(0, 3)),
        min_size=1,
        max_size=40,
        unique=True,
    ),
    st.integers(1, 20),
    st.sampled_from([math.inf, 4e6, 1e3]),
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


def test_many_trials_are_planned() -> None:
    trials = [
        trial(n, m, seed) for n in (32, 64, 128, 256, 512) for m in (2, 4) for seed in range(1000)
    ]
    random.Random(0).shuffle(trials)
    plan = planned(trials, 64)
    assert plan.trials == 10_000
    assert len(plan.packs) < 1000


def test_cost_is_training_evaluation_and_one_kernel_a_data_set() -> None:
    one = trial(100, 10, steps=7, test_points=16, holdout_points=4, recorded=3)
    # k = 4, d = 2: 4 N m (k + d) a step, 2 m (k + d) for each of 120 points at 3 recorded steps
    assert cost_of(one) == 4 * 100 * 10 * 6 * 7 + 3 * 120 * 2 * 10 * 6
    other = trial(100, 20, steps=7, test_points=16, holdout_points=4, recorded=3)
    assert math.isclose(
        cost_together([one, other]), cost_of(one) + cost_of(other) + kernel_cost(one)
    )
    assert kernel_cost(trial(kernel=False)) == 0


def test_halves_hold_the_same_trials() -> None:
    pack = Pack.of([trial(seed=s) for s in range(5)])
    left, right = pack.halves()
    assert left.trials + right.trials == pack.trials
    assert left.trials
    assert right.trials


def test_pack_ids_name_the_set_of_trials() -> None:
    trials = [trial(seed=s) for s in range(3)]
    assert Pack.of(trials).pack_id == Pack.of(trials[::-1]).pack_id
    assert Pack.of(trials).pack_id == pack_id_of([t.trial_id for t in trials])
    assert Pack.of(trials).pack_id != Pack.of(trials[:2]).pack_id


def test_interpolation_stops_where_the_trainer_stops() -> None:
    reference = pytest.importorskip("trainers.reference")
    assert reference.INTERPOLATION_SAMPLES == INTERPOLATION_SAMPLES


def test_memory_grows_with_trials_up_to_a_batch() -> None:
    few, more = ([trial(2048, 4096, s) for s in range(n)] for n in (2, 4))
    assert memory_of(few) < memory_of(more) < 2 * memory_of(few)
    assert memory_of([trial(65536, 65536, s) for s in range(200)]) < 2 * BATCH_BYTES


def test_the_rate_is_measured_where_trials_have_run() -> None:
    slots, trials = Slots(2, "cpu", cpus=3), [trial(), trial(width=64)]
    assert choose_rate([], 0.0, slots) == (3 * DEFAULT_RATES["cpu"], "recorded default")
    assert choose_rate(trials, 0.5, slots)[1] == "recorded default"
    rate, source = choose_rate(trials, 4.0, slots)
    assert (rate, source) == (cost_together(trials) / 4, "measured on 2 finished trials")


def test_slots_of_this_machine() -> None:
    assert local_slots("cpu", 1, None, 3) == Slots(3, "cpu", 1)
    assert local_slots("cpu", 10_000, None, None).workers == 1
    assert local_slots("cuda", 1, 0.5, None).gpus == 0.5


def test_makespan_of_a_known_schedule() -> None:
    assert makespan([5, 4, 3, 3, 3], 2) == 10
    assert makespan([], 3) == 0
    assert makespan([1, 2, 3], 1) == 6
