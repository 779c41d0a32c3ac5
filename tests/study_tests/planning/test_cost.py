"""The cost model: its parts counted by hand, and what it must notice."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from study.planning import cost
from study.planning.cost import (
    DEFAULT_SPEEDS,
    Speeds,
    has_kernel,
    kernel_work,
    seconds_of,
    untrained_work,
)
from trainers.trial import Cube, TrialConfig

NOTHING = Speeds(math.inf, math.inf, 0, 0, math.inf, math.inf, 0, 0, 0)
"""A worker that does everything at once: a test turns on what it is about."""


def trial(samples: int = 512, width: int = 1024, seed: int = 0, **others: object) -> TrialConfig:
    fields = {"law": Cube(dimension=2), "step_size": 1.0, **others}
    return TrialConfig(samples=samples, width=width, seed=seed, **fields)  # type: ignore[arg-type]


def test_operations_of_a_batch_are_training_evaluation_and_flips() -> None:
    sizes = {"steps": 7, "test_points": 16, "holdout_points": 4, "recorded": 3, "kernel": False}
    trials = [trial(100, 10, s, **sizes) for s in range(5)]
    # k = 4, d = 2: 4 N m (k + d) a step; at 3 recorded steps 2 m (k + d) for each of 20 points, and
    # the first layer of 100 samples twice.
    each = 4 * 100 * 10 * 6 * 7 + 3 * (2 * 10 * 6 * 20 + 2 * 2 * 10 * 4 * 100)
    assert seconds_of(trials, replace(NOTHING, fused=1.0)) == pytest.approx(5 * each)
    assert seconds_of(trials, replace(NOTHING, matmul=1.0)) == 0


def test_a_batch_shares_its_steps_and_trials_do_not_share_theirs() -> None:
    trials = [trial(100, 10, s, steps=50, kernel=False) for s in range(5)]
    assert seconds_of(trials, replace(NOTHING, step=1.0)) == 50
    assert seconds_of(trials, replace(NOTHING, record=1.0)) == 40 * 5
    assert seconds_of(trials, replace(NOTHING, trial=1.0)) == 5
    assert seconds_of(trials, replace(NOTHING, pack=1.0)) == 1
    assert seconds_of([], DEFAULT_SPEEDS["cpu"]) == 0
    apart = [trial(100, m, kernel=False, steps=50) for m in (10, 1000)]
    assert seconds_of(apart, replace(NOTHING, step=1.0)) == 100


def test_padding_is_paid_for() -> None:
    exact = seconds_of([trial(100, 100, s, kernel=False) for s in range(2)], NOTHING)
    assert exact == 0
    speeds = replace(NOTHING, fused=1.0)
    same = [trial(100, 100, s, kernel=False) for s in range(2)]
    ragged = [trial(100, 100, 0, kernel=False), trial(90, 100, 1, kernel=False)]
    assert seconds_of(ragged, speeds) == pytest.approx(seconds_of(same, speeds))


def test_the_path_of_a_dimension_and_precision_have_their_speed() -> None:
    wide = [trial(law=Cube(dimension=11), kernel=False)]
    assert seconds_of(wide, replace(NOTHING, fused=1.0)) == 0
    assert seconds_of(wide, replace(NOTHING, matmul=1.0)) > 0
    speeds = replace(NOTHING, fused=1.0)
    double = seconds_of([trial(kernel=False, precision="float64")], speeds)
    assert double == pytest.approx(2 * seconds_of([trial(kernel=False)], speeds))


def test_one_reference_serves_a_data_sets_widths_and_step_sizes() -> None:
    speeds = replace(NOTHING, entries=1.0, products=1.0)
    one = seconds_of([trial()], speeds)
    assert seconds_of([trial(), trial(width=64)], speeds) == pytest.approx(one)
    more = seconds_of([trial(), trial(step_size=0.5)], speeds)
    assert one < more < 1.5 * one
    assert seconds_of([trial(), trial(seed=1)], speeds) == pytest.approx(2 * one)
    untrained = untrained_work(trial())
    assert seconds_of([trial(kernel=False)], speeds) == pytest.approx(untrained)
    assert seconds_of([trial(trainer="adam")], speeds) == pytest.approx(untrained)
    assert has_kernel(trial(trainer="sgd"))
    plain = [trial(width=m, initialisation="plain") for m in (64, 128)]
    assert seconds_of(plain, speeds) > 2.5 * one


def test_what_is_possible_is_counted_once_a_data_set() -> None:
    """A weight a test point and clean point, whatever trials there are: networks or their limit."""
    speeds = replace(NOTHING, entries=1.0)
    sizes = {"test_points": 100, "holdout_points": 4, "kernel": False}
    expected = 512 * 100 * (4 + 2) / 6
    networks = [trial(width=m, step_size=eta, **sizes) for m in (64, 128) for eta in (0.5, 1.0)]
    assert seconds_of(networks, speeds) == pytest.approx(expected)
    assert seconds_of([*networks, trial(seed=1, **sizes)], speeds) == pytest.approx(2 * expected)
    limit = trial(width=math.inf, **{**sizes, "norms": (1.0, 2.0), "kernel": True})
    alone = seconds_of([limit], speeds)
    assert alone > expected
    assert seconds_of([*networks, limit], speeds) == pytest.approx(alone)


def test_kernel_work_grows_as_its_route_says() -> None:
    entries, operations = kernel_work([trial(512)])
    assert operations > cost.EIGH_OPERATIONS * 512**3
    assert entries >= 512 * 3072 + 512 * 512 / 2
    small, large = kernel_work([trial(16384)]), kernel_work([trial(32768)])
    assert 3.5 < large[0] / small[0] < 4.5  # passes over K
    assert large[1] / small[1] < 5
    norms = kernel_work([trial(512, norms=(1.0,))])
    assert norms[0] > entries


def test_a_measured_pace_scales_what_depends_on_it() -> None:
    speeds, trials = DEFAULT_SPEEDS["cpu"], [trial(seed=s) for s in range(4)]
    slower = speeds.slower(2.0, "measured")
    rest = speeds.pack
    assert seconds_of(trials, slower) - rest == pytest.approx(
        2 * (seconds_of(trials, speeds) - rest)
    )
    assert (slower.source, slower.startup) == ("measured", speeds.startup)
    assert Speeds(**slower.to_dict()) == slower
