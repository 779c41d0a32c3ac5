"""The theory-guided choice as a participant; and the rule itself, by limits and exponents."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from analysis.data.schema import table_from
from study.choosing.guided import TheoryGuided
from study.choosing.participant import outcomes_of
from study.choosing.theory_choice import guided_choice
from study.spec.search import Guided
from trainers.kernel.ntk import relu_ntk
from trainers.network.passes import initial_weights
from trainers.stopping import time_exponent
from trainers.trial import TrialConfig, failed


def test_the_choice_has_theorys_exponents() -> None:
    for d in (1, 2, 4):
        few, many = (guided_choice(n, d, 1.0, 4.0) for n in (100, 100 * 4**10))
        grown = np.log(many.effective_time / few.effective_time) / np.log(4**10)
        assert grown == pytest.approx(time_exponent(d))
        wider = np.log(many.width / few.width) / np.log(4**10)
        assert wider == pytest.approx(time_exponent(d) + 2 / (d + 3), abs=0.06)
    one = guided_choice(512, 2, 1.0, 4.0)
    assert one.effective_time == pytest.approx(512**0.8)
    assert one.step_size == 2.0
    assert one.stop_step == round(512**0.8 / 2)
    assert 512**1.2 <= one.width < 2 * 512**1.2
    assert one.width & (one.width - 1) == 0
    # In many dimensions theory asks for few neurons, and few are not stable at that step size.
    narrow = guided_choice(1024, 35, 0.02, 1.0)
    assert narrow.width == 1024
    for width, stable in ((narrow.width, True), (256, False), (32, False)):
        assert (largest_over_the_kernels(width) < 2) is stable
    for constant, largest in ((0.0, 4.0), (1.0, 0.0), (float("nan"), 4.0)):
        with pytest.raises(ValueError, match="positive"):
            guided_choice(512, 2, constant, largest)


def largest_over_the_kernels(width: int) -> float:
    """The largest eigenvalue of a network's tangent kernel at its start over that of the limit, for
    points in d = 35, by the definition: inner products of the gradients of all outputs."""
    d, n = 35, 32
    config = TrialConfig.model_validate(
        {"law": {"kind": "cube", "dimension": d}, "samples": n, "width": width, "step_size": 1.0,
         "steps": 1}
    )  # fmt: skip
    w, a = initial_weights(config)
    z = np.random.default_rng(0).standard_normal((n, len(w)))
    signs = ((z @ w > 0)[:, None, :] * a).reshape(n * d, width)
    network = signs @ signs.T / width * np.kron(z @ z.T, np.ones((d, d)))
    limit = relu_ntk(z, z)
    return float(np.linalg.eigvalsh(network)[-1] / np.linalg.eigvalsh(limit)[-1])


@pytest.fixture
def fake() -> Any:
    return importlib.import_module("search_trainer")


def point() -> TrialConfig:
    return TrialConfig.model_validate(
        {
            "law": {"kind": "gaussian_mixture", "dimension": 2}, "samples": 256, "width": 2,
            "step_size": 1.0, "steps": 512, "kernel": False,
        }
    )  # fmt: skip


def test_pilots_lead_to_the_trial_and_the_truth_to_nothing(
    fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for poison in ("", "random", "null"):
        monkeypatch.setenv("POISON", poison)
        guided = TheoryGuided(point(), 1, Guided(samples=64, width=256, seeds=2))
        pilots = guided.advance({})
        assert [p.config.seed for p in pilots] == [2, 3]
        assert {p.config.samples for p in pilots} == {64}
        assert all(p.config.kernel for p in pilots)
        made = outcomes_of(table_from([fake.trajectory(p.config) for p in pilots], "s"))
        (trial,) = guided.advance(made)
        found.append(trial.config)
        assert guided.constant is not None
        best = guided.constant * 64**0.8
        assert best == pytest.approx(20, rel=0.2)  # the stand-in's best effective time
        assert trial.config.step_size == 2.0
        assert (trial.config.samples, trial.config.seed) == (256, 1)
        assert guided.choice is not None
        assert trial.config.width == guided.choice.width
        assert not guided.advance({**made, trial.config.trial_id: made[pilots[0].config.trial_id]})
    assert found[0] == found[1] == found[2]


def test_repetitions_have_pilots_of_their_own() -> None:
    ids = [{p.trial_id for p in TheoryGuided(point(), r, Guided(seeds=4)).pilots} for r in range(5)]
    assert len(set.union(*ids)) == 20


def test_pilots_that_cannot_calibrate_say_why(fake: Any) -> None:
    for spoil, said in (("failed", "failed"), ("first", "its first"), ("last", "its last")):
        guided = TheoryGuided(point(), 0, Guided(seeds=1))
        (pilot,) = guided.advance({})
        t = fake.trajectory(pilot.config)
        if spoil == "failed":
            t = failed(pilot.config, "planted")
        else:
            rising = [float(i) for i in range(len(t.steps))]
            loss = rising if spoil == "first" else rising[::-1]
            t = replace(t, series={**t.series, "holdout_loss": loss})
        assert not guided.advance(outcomes_of(table_from([t], "s")))
        assert said in guided.message
