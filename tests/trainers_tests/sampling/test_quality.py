"""Columns of samples: null where nothing was asked for, and each by another way to know it."""

from __future__ import annotations

import base64
import math

import numpy as np
import pytest

from trainers import TrialConfig, train_pack
from trainers.columns import SHOWN_POINTS
from trainers.kept.keep import Keep, Sampling
from trainers.laws import make_distribution
from trainers.laws.kinds.gaussian import Gaussian
from trainers.problem.regression import stream
from trainers.sampling.quality import SAMPLE_COLUMNS, SETS, Exact, start_divergence
from trainers.trial import Diffusion

LAW = {"kind": "gaussian_mixture", "dimension": 2, "components": 4, "seed": 3, "std": 0.2}
SAMPLING = Sampling(("best", "last"), frozenset([0, 1]), points=128, grid_steps=60)


def trial(**changes: object) -> TrialConfig:
    values = {"law": LAW, "samples": 48, "width": 32, "step_size": 1.0, "steps": 120, **changes}
    return TrialConfig.model_validate(
        {"recorded": 12, "test_points": 256, "holdout_points": 32, **values}
    )


def keep(sampling: Sampling = SAMPLING) -> Keep:
    return Keep((), frozenset(), sampling)


@pytest.mark.parametrize(
    ("trainer", "rate"), [("descent", 1.0), ("sgd", 0.5), ("mlp_adamw", 0.003)]
)
def test_samples_are_columns_of_their_steps_and_change_no_number(trainer: str, rate: float) -> None:
    configs = [
        trial(seed=seed, width=width, trainer=trainer, step_size=rate)
        for seed in (0, 2, 1)
        for width in (32, 30)
    ]
    trained, plain = train_pack(configs, "cpu", keep=keep()), train_pack(configs, "cpu")
    for one, other in zip(trained, plain, strict=True):
        assert all(one.series[name] == column for name, column in other.series.items())
        assert not set(SAMPLE_COLUMNS) & other.series.keys()
        assert one.networks == {}
        if one.config.seed == 2:
            assert "sampled" not in one.values
            continue
        assert one.values["sampled"] == SAMPLING.text
        error = np.array(one.series["score_error"], dtype=float)
        expected = {int(np.argmin(error)), len(error) - 1}
        for name in SAMPLE_COLUMNS:
            known = {i for i, v in enumerate(one.series[name]) if v is not None}
            assert known == expected, name
        seen = {i for i, text in enumerate(one.texts["sample_points"]) if text is not None}
        assert seen == expected
        for text in (one.texts["sample_points"][-1], one.values["drawn_points"]):
            assert len(base64.b64decode(text)) == 4 * min(SAMPLING.points, SHOWN_POINTS) * 2


def test_a_trials_samples_do_not_depend_on_its_company() -> None:
    configs = [trial(seed=0), trial(seed=1), trial(seed=0, samples=32)]
    together = train_pack(configs, "cpu", keep=keep())
    for config, one in zip(configs, together, strict=True):
        (alone,) = train_pack([config], "cpu", keep=keep())
        for name in SAMPLE_COLUMNS:
            assert alone.series[name][-1] == pytest.approx(one.series[name][-1], rel=1e-3), name


def test_girsanovs_term_is_the_unweighted_error_where_g_is_1() -> None:
    (one,) = train_pack([trial()], "cpu", keep=keep())
    expected = 0.5 * 0.95 * one.series["score_error_unweighted"][-1]
    assert one.series["girsanov_score"][-1] == pytest.approx(expected, rel=1e-9)
    assert one.values["girsanov_start"] == 0.0
    fast = {"schedule": "constant", "g_min": 2.0, "t_min": 0.05, "t_max": 1.0}
    (two,) = train_pack([trial(diffusion=fast)], "cpu", keep=keep())
    expected = 2 * 0.5 * 0.95 * two.series["score_error_unweighted"][-1]
    assert two.series["girsanov_score"][-1] == pytest.approx(expected, rel=1e-9)


def test_what_the_start_costs_for_a_gaussian() -> None:
    """KL of normals in closed form."""
    law, process = Gaussian(dimension=3, std=0.5), Diffusion()
    found = start_divergence(make_distribution(law), process, np.random.default_rng(0))
    alpha2 = math.exp(-1)
    v = alpha2 * 0.25 / np.arange(1, 4) ** law.power + 1 - alpha2
    expected = float(0.5 * (v - 1 - np.log(v)).sum())
    assert found == pytest.approx(expected, rel=0.1)


def test_levels_are_those_of_exact_draws() -> None:
    config = trial()
    law = make_distribution(config.law)
    one = Exact.of(config, law, SAMPLING)
    columns = one.columns
    assert 0 < columns["sample_energy_exact"] < 0.1
    assert columns["sample_energy_true"] < 2 * columns["sample_energy_exact"]
    # -E log p_T0, by draws of its own.
    rng, alpha, h = stream("nll", 1), math.exp(-0.025), -math.expm1(-0.05)
    x = alpha * law.sample(40_000, rng) + math.sqrt(h) * rng.standard_normal((40_000, 2))
    entropy = -float(law.log_marginal(x, alpha, h).mean())
    assert columns["sample_nll_exact"] == pytest.approx(entropy, abs=0.05)
    assert one.shares == pytest.approx(np.full(4, 0.25), abs=4 * 0.25 / math.sqrt(SETS * 128))
    begun = Exact.of(config, law, Sampling(("best",), frozenset([0]), points=64, start="normal"))
    assert begun.columns["girsanov_start"] > 0


def test_a_law_without_modes_has_null() -> None:
    law = {"kind": "cube", "dimension": 1}
    (one,) = train_pack([trial(law=law)], "cpu", keep=keep())
    assert one.series["sample_modes"] == [None] * len(one.steps)
    assert one.series["sample_energy"][-1] is not None


def test_an_untrained_network_samples_worse_than_a_trained_one() -> None:
    """f = 0 at step 0 is the score of N(0, h I), whose samples are far from the law's."""
    process = {"t_min": 0.05, "t_max": 1.0}
    trained = trial(samples=512, width=256, steps=600, diffusion=process)
    last = Keep((), frozenset(), Sampling(("last",), frozenset([0]), points=256, grid_steps=60))
    (good,) = train_pack([trained], "cpu", keep=last)
    (bad,) = train_pack([trial(steps=1, step_size=1e-6)], "cpu", keep=last)
    for name in ("sample_energy", "sample_wasserstein", "sample_divergence", "girsanov_score"):
        assert good.series[name][-1] < 0.5 * bad.series[name][-1], name
    for one in (good, bad):
        slack = one.values["sample_divergence_exact"]
        assert one.series["sample_divergence"][-1] < one.series["girsanov_score"][-1] + slack
