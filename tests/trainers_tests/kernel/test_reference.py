"""The kernel's columns of real trials: identities of docs/theory.md, 4 and 5, and their limits."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from trainers import Trajectory, TrialConfig, train_pack
from trainers.kernel.reference import (
    initial_predictions,
    interpolation_error,
    kernel_columns,
    start_of,
)
from trainers.kernel.terms import KernelReference
from trainers.laws import make_distribution
from trainers.network.passes import initial_weights
from trainers.problem.evaluation import EvaluationSet
from trainers.problem.regression import draw_training_set
from trainers.trial import recorded_steps

LAW = {"kind": "gaussian_mixture", "dimension": 2, "seed": 5}
CPU = torch.device("cpu")


def config(**changes: object) -> TrialConfig:
    values = {
        "law": LAW,
        "steps": 200,
        "recorded": 12,
        "test_points": 200,
        "holdout_points": 100,
        "samples": 60,
        "width": 256,
        "step_size": 1.0,
        "norms": (0.3, 3.0),
        **changes,
    }
    return TrialConfig.model_validate(values)


def column(trajectory: Trajectory, name: str) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in trajectory.series[name]], dtype=float)


TERMS = ("coupling", "label_mismatch", "early_stopping", "approximation")


@pytest.mark.slow
@pytest.mark.parametrize("start", ["symmetric", "plain"])
def test_error_is_at_most_four_times_the_terms_at_every_step(start: str) -> None:
    trials = [config(initialisation=start, width=m, seed=s) for m in (8, 256) for s in (0, 1)]
    for trajectory in train_pack(trials, "cpu"):
        total = sum(column(trajectory, name) for name in TERMS)
        error = column(trajectory, "score_error")
        assert np.isfinite(total).all()
        assert (error <= 4 * total * (1 + 1e-6)).all()


@pytest.mark.slow
def test_wide_networks_follow_the_kernel_and_coupling_falls_with_width() -> None:
    widths = (64, 512, 4096)
    trials = [config(width=m, seed=s) for m in widths for s in range(4)]
    coupling = np.array([column(t, "coupling")[-1] for t in train_pack(trials, "cpu")])
    means = coupling.reshape(len(widths), 4).mean(axis=1)
    slope = np.polyfit(np.log(widths), np.log(means), 1)[0]
    assert -1.3 < slope < -0.6


@pytest.mark.slow
def test_bias_and_variance_are_the_parts_of_the_kernels_error() -> None:
    (trajectory,) = train_pack([config(samples=400)], "cpu")
    bias, variance = column(trajectory, "bias"), column(trajectory, "variance")
    error = column(trajectory, "kernel_score_error")
    assert bias[0] == pytest.approx(error[0])
    assert variance[0] == 0
    assert (np.diff(bias) < 0).all()
    assert (np.diff(variance) > 0).all()
    # (a^(1/2) - b^(1/2))^2 <= error <= (a^(1/2) + b^(1/2))^2, the triangle inequality
    low, high = (np.sqrt(bias) - np.sqrt(variance)) ** 2, (np.sqrt(bias) + np.sqrt(variance)) ** 2
    assert ((low <= error * (1 + 1e-9)) & (error <= high * (1 + 1e-9))).all()


def test_interpolation_is_the_limit_of_kernel_descent() -> None:
    c = config(kernel=True)
    law = make_distribution(c.law)
    evaluation, data = EvaluationSet.draw(c, law), draw_training_set(c, law)
    reference = KernelReference.build(data.z, data.x0, data.fstar, evaluation.z, route="eigen")
    n = len(evaluation.test)
    limit = reference.at([np.inf], c.step_size).kernel[0, :n]
    expected = evaluation.mean_square(limit - evaluation.test.fstar)
    assert interpolation_error(data, evaluation) == pytest.approx(expected, rel=1e-7)


@pytest.mark.slow
def test_plain_networks_kernel_starts_at_the_network() -> None:
    c = config(initialisation="plain", samples=37)
    law = make_distribution(c.law)
    evaluation, data = EvaluationSet.draw(c, law), draw_training_set(c, law)
    w, a = initial_weights(c)
    f0 = np.maximum(evaluation.test.z @ w, 0) @ a.T / np.sqrt(c.width)
    np.testing.assert_allclose(initial_predictions(c, evaluation.test.z), f0, atol=1e-13)
    reference = KernelReference.build(data.z, data.x0, data.fstar, evaluation.z, [])
    start = start_of(c, reference, CPU)
    got = kernel_columns(c, reference, evaluation, recorded_steps(50, 5), 0.0, start)
    np.testing.assert_allclose(got.test[0], f0, atol=1e-12)
    assert np.abs(f0).max() > 0.1
    (trained,) = train_pack([config(initialisation="plain", width=4096)], "cpu")
    # Coupling starts at 0 and stays far below the error: the kernel follows from f_W(0).
    assert column(trained, "coupling")[0] < 1e-10
    assert (column(trained, "coupling")[1:] < 0.2 * column(trained, "score_error")[1:]).all()


@pytest.mark.slow
def test_trials_of_one_data_set_share_a_kernel_only_where_it_is_the_same() -> None:
    trials = [
        config(width=8),
        config(width=16),
        config(width=8, step_size=0.5),
        config(width=8, test_points=150),
        config(width=8, holdout_points=50),
        config(width=8, recorded=9),
        config(width=8, initialisation="plain"),
        config(width=8, norms=(0.5,)),
    ]
    for c, together in zip(trials, train_pack(trials, "cpu"), strict=True):
        (alone,) = train_pack([c], "cpu")
        for name in ("kernel_score_error", "kernel_holdout_loss", "bias", "approximation"):
            got, expected = column(together, name), column(alone, name)
            np.testing.assert_allclose(got, expected, rtol=1e-7, err_msg=name)


def test_without_a_kernel_its_columns_are_absent() -> None:
    (trajectory,) = train_pack([config(kernel=False, norms=())], "cpu")
    assert not {"coupling", "bias", "kernel_score_error", *TERMS} & set(trajectory.series)
    assert "interpolation_error" not in trajectory.values


def test_without_norms_the_terms_that_need_f_h_are_absent() -> None:
    (trajectory,) = train_pack([config(norms=())], "cpu")
    assert not {"label_mismatch", "early_stopping", "approximation"} & set(trajectory.series)
    assert "coupling" in trajectory.series


@pytest.mark.slow
def test_a_step_size_beyond_stability_is_null_not_infinite() -> None:
    (trajectory,) = train_pack([config(step_size=40.0, steps=2000)], "cpu")
    last = trajectory.series["kernel_score_error"][-1]
    assert last is None
    assert trajectory.values["largest_step_size"] < 40


class Cache(dict[str, Mapping[str, np.ndarray]]):
    """A ReferenceCache in memory."""

    def put(self, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        self[key] = arrays


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> Cache:
    """A cache, for data sets of any size."""
    monkeypatch.setattr("trainers.kernel.reference.KEPT_SAMPLES", 1)
    return Cache()


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*_: object, **__: object) -> None:
        raise AssertionError("decomposed again")

    monkeypatch.setattr(KernelReference, "build", build)
    monkeypatch.setattr("trainers.kernel.reference.interpolation_error", build)


@pytest.mark.parametrize("samples", [60, pytest.param(600, marks=pytest.mark.slow)])
def test_a_second_pack_takes_the_reference_of_the_first(
    samples: int, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (config(samples=samples, width=m) for m in (16, 32))
    train_pack([first], "cpu", references=cache)
    assert len(cache) == 1
    (alone,) = train_pack([second], "cpu")
    forbid(monkeypatch)
    (shared,) = train_pack([second], "cpu", references=cache)
    # Widths share one reference, so the numbers are those of a pack that computed it, to the bit.
    assert shared.series == alone.series
    assert shared.values["interpolation_error"] == alone.values["interpolation_error"]


@pytest.mark.slow
def test_a_reference_is_computed_again_where_the_stored_one_does_not_serve(cache: Cache) -> None:
    short, long = (config(samples=600, width=16, step_size=s) for s in (0.1, 1.0))
    train_pack([short], "cpu", references=cache)
    (before,) = cache.values()
    (trained,) = train_pack([long], "cpu", references=cache)  # beyond the horizon of the first
    (after,) = cache.values()
    assert float(after["descent_horizon"]) > float(before["descent_horizon"])
    (alone,) = train_pack([long], "cpu")
    assert trained.series == alone.series

    (key,) = cache
    for spoiled in ({**after, "z": after["z"] + 1e-9}, {"z": after["z"]}, {}):
        cache[key] = spoiled
        (again,) = train_pack([long], "cpu", references=cache)
        assert again.series == alone.series
        assert np.array_equal(cache[key]["z"], after["z"])


def test_small_data_sets_are_not_kept() -> None:
    cache = Cache()
    train_pack([config()], "cpu", references=cache)
    assert not cache
