"""The adaptive design without Ray: its rounds, what they follow from, how they end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.data.curves.quantities import curves
from analysis.data.results import load_results
from analysis.data.schema import table_from
from analysis.fits.power_law import fit_power_law
from study.choosing.adaptive import AdaptiveDesign, families, replayed, results_in
from study.spec.messages import SpecError
from study.spec.sections import StudySpec
from study.storage.store import Store
from trainers.trial import Trajectory, TrialConfig, TrialStatus, failed, recorded_steps

SPEC: dict[str, Any] = {
    "name": "a",
    "law": {"kind": "gaussian_mixture", "dimension": 2},
    "steps": 200,
    "kernel": False,
    "base": {"samples": [64, 128, 256, 512, 1024], "width": 4096, "step_size": 1.0},
    "design": {
        "kind": "adaptive",
        "half_width": {"best_score_error": 0.05},
        "budget": {"trials": 1000},
    },
}
Make = Callable[[TrialConfig], Trajectory]


def spec_of(**design: Any) -> StudySpec:
    return StudySpec.from_mapping({**SPEC, "design": {**SPEC["design"], **design}})


def noisy(config: TrialConfig, exponent: float = 0.6) -> Trajectory:
    """A trial whose best error is N^-exponent and lognormal noise of its own, at eta tau = 14."""
    rng = np.random.default_rng([config.samples, config.seed])
    steps = recorded_steps(config.steps, config.recorded)
    least = config.samples**-exponent * float(np.exp(0.2 * rng.standard_normal()))
    error: list[float | None] = [least * (1 + 0.1 * np.log((s + 0.1) / 14) ** 2) for s in steps]
    values = {"operations": 1e9, "seconds": 1.0, "device": "cpu", "node": "here"}
    series = dict.fromkeys(("score_error", "train_loss", "holdout_loss"), error)
    return Trajectory(config, steps, values=values, series=series)


def finish(
    spec: StudySpec, store: Store, make: Make = noisy, rounds: int = 100, seconds: float = 1.0
) -> AdaptiveDesign:
    """Runs at most so many rounds; a pack a round, `seconds` a trial."""
    assert spec.design is not None
    design = AdaptiveDesign(spec.points(), spec.design, results_in(store))
    for _ in range(rounds):
        asked = [request.config for request in design.advance({})]
        new = [c for c in asked if c.trial_id not in store.ledger().entries]
        if not asked:
            break
        if new:
            store.write_pack(table_from([make(c) for c in new], "a"), seconds * len(new))
    return design


def test_rounds_go_on_until_the_interval_is_short(tmp_path: Path) -> None:
    spec, store = spec_of(), Store(tmp_path)
    design = finish(spec, store)
    (status,) = design.status()
    assert status.closed == "reached"
    assert status.half_widths["best_score_error"] <= 0.05
    assert design.rounds > 1
    ids = [t.trial_id for t in design.trials]
    assert len(ids) == len(set(ids)) == sum(status.trials.values())
    frame = load_results(store.compile(ids, store.ledger()))
    (curve,) = [c for c in curves(frame) if c.quantity == "best_score_error"]
    low, high = fit_power_law(curve.x, curve.y).ci
    assert (high - low) / 2 <= 0.05
    assert status.trials[64] > status.trials[1024] > status.trials[256]


@pytest.mark.slow
def test_a_round_follows_from_the_stored_results_alone(tmp_path: Path) -> None:
    spec, whole = spec_of(), Store(tmp_path / "whole")
    expected = finish(spec, whole)
    store = Store(tmp_path / "killed")
    for rounds in (1, 2, 100):  # each time a new driver, which begins at the pilot
        found = finish(spec, store, rounds=rounds)
    assert found.trials == expected.trials
    assert found.status() == expected.status()
    assert spec.design is not None
    again = replayed(spec.points(), spec.design, store, store.ledger())
    assert again.trials == expected.trials


@pytest.mark.slow
def test_a_pilot_of_before_g_was_a_column_counts_as_the_rest(tmp_path: Path) -> None:
    spec = StudySpec.from_mapping({**SPEC, "diffusion": {"g_min": 5.0}})
    whole, store = Store(tmp_path / "whole"), Store(tmp_path / "continued")
    expected = finish(spec, whole)
    finish(spec, store, rounds=1)
    (pilot,) = store.pack_ids()
    store.write_pack(store.read_pack(pilot).drop_columns(["g_min", "g_max"]), 1.0)
    assert finish(spec, store).trials == expected.trials


def test_an_incomplete_round_is_asked_for_again_and_no_more(tmp_path: Path) -> None:
    spec, store = spec_of(), Store(tmp_path)
    assert spec.design is not None
    design = AdaptiveDesign(spec.points(), spec.design, results_in(store))
    asked = [request.config for request in design.advance({})]
    store.write_pack(table_from([noisy(c) for c in asked[:5]], "a"), 1.0)
    found = replayed(spec.points(), spec.design, store, store.ledger())
    assert found.trials == asked
    assert found.rounds == 1


@pytest.mark.slow
def test_no_exponent_is_looked_at(tmp_path: Path) -> None:
    """Whatever the slope is, and so the verdict, the same trials are asked for."""
    found = []
    for exponent in (0.0, 0.4, 2.0):
        store = Store(tmp_path / f"{exponent}")
        found.append(finish(spec_of(), store, lambda c, b=exponent: noisy(c, b)).trials)
    assert found[0] == found[1] == found[2]


def test_a_budget_of_trials_is_kept(tmp_path: Path) -> None:
    least = len(finish(spec_of(), Store(tmp_path / "pilot"), rounds=1).trials)
    spec = spec_of(budget={"trials": least + 9}, half_width={"best_score_error": 0.001})
    design = finish(spec, Store(tmp_path))
    assert len(design.trials) == least + 9
    assert design.status()[0].closed == "the budget is spent"
    with pytest.raises(SpecError, match=rf"design.budget.trials = {least - 1}: the pilot alone"):
        finish(spec_of(budget={"trials": least - 1}), Store(tmp_path / "none"))


@pytest.mark.slow
def test_a_budget_of_minutes_is_kept(tmp_path: Path) -> None:
    spec = spec_of(budget={"minutes": 2.0}, half_width={"best_score_error": 0.001})
    store = Store(tmp_path)
    design = finish(spec, store, seconds=1.0)
    spent = sum(e.seconds for e in store.ledger().entries.values())
    # A trial's price is foreseen from those before; here all took a second, cheap or dear.
    assert 60 < spent < 180
    assert design.status()[0].closed == "the budget is spent"


@pytest.mark.slow
def test_failed_trials_are_replaced_and_levels_that_no_fit_may_use_left_out(tmp_path: Path) -> None:
    def mischief(config: TrialConfig) -> Trajectory:
        if config.seed == 1:
            return failed(config, "planted")
        made = noisy(config)
        diverged = config.samples == 64 and config.seed == 2
        return replace(made, status=TrialStatus.DIVERGED) if diverged else made

    design = finish(spec_of(), Store(tmp_path), mischief)
    (status,) = design.status()
    assert status.closed == "reached"
    whole = finish(spec_of(), Store(tmp_path / "plain"))
    assert status.trials[64] == 5 < whole.status()[0].trials[64]
    assert status.trials[128] > whole.status()[0].trials[128]


def test_when_nothing_can_be_used_the_design_ends_and_says_so(tmp_path: Path) -> None:
    design = finish(spec_of(), Store(tmp_path / "failed"), lambda c: failed(c, "planted"))
    assert design.rounds == 1
    assert design.status()[0].closed == "no trial has a value of best_score_error"
    diverged = finish(
        spec_of(),
        Store(tmp_path / "diverged"),
        lambda c: replace(
            noisy(c), status=TrialStatus.DIVERGED if c.samples > 128 else TrialStatus.COMPLETED
        ),
    )
    assert "fewer than three N" in diverged.status()[0].closed


@pytest.mark.slow
def test_several_curves_share_the_budget(tmp_path: Path) -> None:
    base = {**SPEC["base"], "width": [64, 128]}
    design = {**SPEC["design"], "budget": {"trials": 130}, "half_width": {"best_score_error": 0.01}}
    spec = StudySpec.from_mapping({**SPEC, "base": base, "design": design})
    assert [len(own) for own in families(spec.points())] == [5, 5]
    found = finish(spec, Store(tmp_path))
    counts = [sum(status.trials.values()) for status in found.status()]
    assert sum(counts) <= 130
    assert min(counts) > 0.4 * 130


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 8}, "seeds is of no use beside design"),
        ({"sweeps": [{"width": [64, 128], "samples": 64}]}, "fewer than 3 values of samples"),
        ({"design": {**SPEC["design"], "budget": {}}}, "trials or minutes, one of them"),
        ({"design": {**SPEC["design"], "half_width": {"coupling": 0.1}}}, "half_width"),
        ({"design": {**SPEC["design"], "kind": "bold"}}, "adaptive"),
        (
            {"design": {**SPEC["design"], "half_width": {"kernel_best_score_error": 0.1}}},
            "needs the kernel",
        ),
    ],
)
def test_a_design_that_cannot_be_is_told_with_its_key(changes: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        StudySpec.from_mapping({**SPEC, **changes})
