"""`train_pack`: packed equals one by one, errors are what they claim, failure is data."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from trainers import TrialConfig, TrialStatus, train_pack
from trainers.columns import ERROR_COLUMNS
from trainers.laws import make_distribution
from trainers.limits import FUSED_MAX_FEATURES
from trainers.network.batches import batches
from trainers.network.passes import initial_weights
from trainers.pack import SERIES, PackStopped
from trainers.problem.empirical_bayes import Untrained, untrained
from trainers.problem.evaluation import EvaluationSet
from trainers.problem.regression import draw_holdout_set, draw_training_set
from trainers.problem.test_points import draw_test_set, time_weights
from trainers.trial import recorded_steps

LAW = {"kind": "gaussian_mixture", "dimension": 2, "seed": 5}
SMALL = {"law": LAW, "steps": 30, "recorded": 10, "test_points": 64, "holdout_points": 32}


def config(**changes: object) -> TrialConfig:
    values = {**SMALL, "samples": 40, "width": 32, "step_size": 1.0, **changes}
    return TrialConfig.model_validate(values)


def table(trajectory) -> np.ndarray:
    return np.array([trajectory.series[name] for name in SERIES], dtype=float)


MIXED = [
    config(seed=1),
    config(seed=2, samples=37),
    config(width=30, step_size=0.25),
    config(samples=200, width=8),
    config(law={"kind": "cube", "dimension": 2}),
    config(law={"kind": "cube", "dimension": 1}),
    config(bias=False),
    config(initialisation="plain"),
    config(diffusion={"t_min": 0.2, "t_max": 2.0, "schedule": "linear", "g_max": 3.0}),
    config(precision="float64", seed=3),
]


@pytest.mark.slow
def test_a_pack_equals_its_trials_one_by_one() -> None:
    together, backwards = train_pack(MIXED, "cpu"), train_pack(MIXED[::-1], "cpu")[::-1]
    assert [t.config for t in together] == MIXED
    for c, packed, reversed_pack in zip(MIXED, together, backwards, strict=True):
        (alone,) = train_pack([c], "cpu")
        assert packed.steps == alone.steps
        np.testing.assert_allclose(table(packed), table(alone), rtol=3e-5, atol=1e-6)
        np.testing.assert_allclose(table(packed), table(reversed_pack), rtol=3e-5, atol=1e-6)


def test_trajectory_is_reproduced_by_a_plain_numpy_loop() -> None:
    c = config(precision="float64", seed=7, samples=50, width=24)
    (got,) = train_pack([c], "cpu")
    law = make_distribution(c.law)
    data, test, hold = draw_training_set(c, law), draw_test_set(c, law), draw_holdout_set(c, law)
    times = time_weights(c.diffusion, test.t).reshape(8, -1)  # groups of equal size

    def mean(values: np.ndarray, groups: slice = slice(None)) -> float:
        parts = (values.reshape(8, -1) * times).sum(1) / times.sum(1)
        return float(parts[groups].mean())

    w, a = initial_weights(c)
    w0, n, m = w.copy(), c.samples, c.width
    expected: dict[str, list[float]] = {name: [] for name in got.series}
    for step in range(c.steps + 1):
        pre = data.z @ w
        residual = np.maximum(pre, 0) @ a.T / np.sqrt(m) - data.x0
        if step in recorded_steps(c.steps, c.recorded):
            f = np.maximum(test.z @ w, 0) @ a.T / np.sqrt(m)
            error = ((f - test.fstar) ** 2).sum(1)
            factor = test.alpha**2 / test.h**2
            f_hold = np.maximum(hold.z @ w, 0) @ a.T / np.sqrt(m)
            row = {
                "score_error": mean(error),
                "score_error_unweighted": mean(factor * error),
                "score_error_select": mean(error, slice(0, 4)),
                "score_error_assess": mean(error, slice(4, 8)),
                "train_loss": (residual**2).sum() / (2 * n),
                "holdout_loss": ((f_hold - hold.x0) ** 2).sum(1).mean() / 2,
                "displacement": np.linalg.norm(w - w0),
                "flipped_fraction": np.mean((pre > 0) != (data.z @ w0 > 0)),
            }
            for name, value in row.items():
                expected[name].append(value)
        w -= c.step_size * data.z.T @ ((residual @ a) * (pre > 0)) / (np.sqrt(m) * n)
    for name, values in expected.items():
        if values:
            np.testing.assert_allclose(got.series[name], values, rtol=1e-10, atol=1e-13)


def test_bins_of_time_add_up_to_the_whole() -> None:
    """Each bin's mean by its share of the weight is the whole; the share is near its length."""
    c = config(test_points=512)
    s = EvaluationSet.draw(c, make_distribution(c.law))
    bins = np.digitize(s.test.t, _edges(c)[1:-1])
    share = np.bincount(bins, s.point_weights, minlength=4)
    np.testing.assert_allclose(share, np.diff(_edges(c)) / (1.0 - 0.05), rtol=0.02)
    columns = dict(zip(ERROR_COLUMNS, s.weights.T, strict=True))
    for kind in ("score_error", "score_error_unweighted"):
        total = sum(share[i] * columns[f"{kind}_bin{i + 1}"] for i in range(4))
        np.testing.assert_allclose(total, columns[kind])


def _edges(c: TrialConfig) -> list[float]:
    from trainers.trial import time_bin_edges

    return time_bin_edges(c.diffusion)


def test_divergence_ends_one_trial_and_says_where() -> None:
    wild, calm = config(step_size=400.0), config(seed=1)
    bad, good = train_pack([wild, calm], "cpu")
    assert bad.status is TrialStatus.DIVERGED
    assert "step_size = 400" in bad.message
    step = bad.values["diverged_step"]
    assert 0 < step <= 30
    for s, value in zip(bad.steps, bad.series["score_error"], strict=True):
        assert (value is None) == (s >= step)
    assert bad.values["operations"] == pytest.approx(wild.training_operations * step / 30)
    assert good.status is TrialStatus.COMPLETED
    assert "diverged_step" not in good.values
    assert None not in good.series["score_error"]


def test_descent_learns() -> None:
    (t,) = train_pack([config(samples=500, width=256, steps=200)], "cpu")
    errors = t.series["score_error"]
    assert errors[0] == pytest.approx(t.values["target_norm"], rel=1e-4)
    assert min(errors) < errors[0] / 5
    assert t.series["train_loss"] == sorted(t.series["train_loss"], reverse=True)


def test_batches_hold_every_trial_once_and_keep_padding_small() -> None:
    configs = [
        config(samples=n, width=m, seed=s) for n in (8, 64, 70) for m in (8, 256) for s in (0, 1)
    ]
    grouped = batches(configs)
    assert sorted(i for g in grouped for i in g) == list(range(len(configs)))
    for g in grouped:
        padded = len(g) * max(configs[i].samples for i in g) * max(configs[i].width for i in g)
        assert padded <= 1.15 * sum(configs[i].samples * configs[i].width for i in g)
    assert any(len({configs[i].samples for i in g}) == 2 for g in grouped)


def test_high_dimension_takes_the_matrix_product_path() -> None:
    law = {"kind": "cube", "dimension": FUSED_MAX_FEATURES}
    (t,) = train_pack([config(law=law)], "cpu")
    assert t.values["kernel_path"] == "matmul"
    assert t.status is TrialStatus.COMPLETED


def test_progress_adds_up_and_stop_stops() -> None:
    done: list[float] = []
    trial = config(steps=50)
    train_pack([trial], "cpu", on_progress=done.append)
    assert sum(done) == pytest.approx(trial.training_operations)
    with pytest.raises(PackStopped):
        train_pack([config(steps=100_000)], "cpu", should_stop=lambda: True)


def test_wrong_devices_and_missing_data_are_named() -> None:
    with pytest.raises(ValueError, match="device"):
        train_pack([config()], "gpu")
    law = {"kind": "atoms", "dimension": 2, "count": 3, "sha256": "c" * 64}
    with pytest.raises(ValueError, match="cccc"):
        train_pack([config(law=law)], "cpu")


@pytest.mark.slow
def test_what_is_possible_without_training_is_one_a_data_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same columns at every width, step size, trainer and at infinite width, computed once; and
    those of a trial alone."""
    law = make_distribution(config().law)
    evaluation = EvaluationSet.draw(config(), law)
    points = draw_training_set(config(), law).x0
    expected = untrained(points, evaluation, torch.device("cpu")).columns
    sizes: list[int] = []

    def counted(points: NDArray[np.float64], *others: Any) -> Untrained:
        sizes.append(len(points))
        return untrained(points, *others)

    monkeypatch.setattr("trainers.pack.untrained", counted)
    same = [
        config(),
        config(width=8, step_size=0.5),
        config(bias=False),
        config(initialisation="plain"),
        config(step_size=1e6),
        config(trainer="adam"),
        config(width=float("inf")),
    ]
    got = train_pack([*same, config(samples=41)], "cpu")
    assert sorted(sizes) == [40, 41]
    assert {t.status for t in got} == {TrialStatus.COMPLETED, TrialStatus.DIVERGED}
    for trajectory in got[:-1]:
        assert {k: trajectory.values[k] for k in expected} == expected
    (alone,) = train_pack([config(samples=41)], "cpu")
    assert {k: alone.values[k] for k in expected} == {k: got[-1].values[k] for k in expected}
