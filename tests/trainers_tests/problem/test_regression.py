"""Streams: which labels change the data and which do not. The regression identity."""

import numpy as np

from trainers.laws import make_distribution
from trainers.problem.diffusion import alpha, h
from trainers.problem.regression import (
    draw_holdout_set,
    draw_training_set,
    features,
    stream,
)
from trainers.problem.test_points import draw_test_set
from trainers.trial import TrialConfig


def config(**changes: object) -> TrialConfig:
    law = {"kind": "gaussian_mixture", "dimension": 2, "seed": 3}
    values = {"law": law, "samples": 64, "width": 8, "step_size": 1.0}
    return TrialConfig.model_validate({**values, **changes})


def data(**changes: object):
    c = config(**changes)
    return draw_training_set(c, make_distribution(c.law))


def test_data_are_shared_over_network_and_descent_and_independent_otherwise() -> None:
    base = data()
    for change in ({"width": 32}, {"step_size": 0.5}, {"initialisation": "plain"}, {"steps": 7}):
        np.testing.assert_array_equal(data(**change).z, base.z)
    for change in ({"seed": 1}, {"study_seed": 1}, {"samples": 65}):
        assert not np.intersect1d(data(**change).x0, base.x0).size, change
    law = {"kind": "gaussian_mixture", "dimension": 2, "seed": 4}
    assert not np.array_equal(data(law=law).x0, base.x0)


def test_training_test_and_holdout_sets_are_disjoint() -> None:
    c = config()
    distribution = make_distribution(c.law)
    sets = [f(c, distribution).t for f in (draw_training_set, draw_test_set, draw_holdout_set)]
    assert len(np.unique(np.concatenate(sets))) == sum(map(len, sets))


def test_test_set_is_shared_by_all_trials_of_a_law() -> None:
    distribution = make_distribution(config().law)
    base = draw_test_set(config(), distribution)
    other = draw_test_set(config(samples=9, seed=5, width=2), distribution)
    np.testing.assert_array_equal(base.z, other.z)


def test_later_start_time_reuses_the_same_draws_of_x0() -> None:
    np.testing.assert_array_equal(data(diffusion={"t_min": 0.2}).x0, data().x0)


def test_stream_is_pinned() -> None:
    """The numbers of a content id must not change with a release of numpy or of this project."""
    values = stream("training", 0, {"kind": "cube"}, 1.5).random(3)
    pinned = [0.7893336721453347, 0.46273643034746736, 0.19969426411929292]
    np.testing.assert_allclose(values, pinned, rtol=0, atol=1e-15)


def test_features_hold_space_time_since_start_and_one() -> None:
    x, t = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([0.05, 0.55])
    np.testing.assert_allclose(features(x, t, 0.05, True), [[1, 2, 0, 1], [3, 4, 0.5, 1]])
    np.testing.assert_allclose(features(x, t, 0.05, False), [[1, 2, 0], [3, 4, 0.5]])


def test_labels_are_posterior_mean_plus_centred_noise() -> None:
    s = data(samples=40_000)
    noise = s.x0 - s.fstar
    for weight in (np.ones(len(s)), s.xt[:, 0], s.t, s.fstar[:, 1]):
        product = noise * weight[:, None]
        z = product.mean(0) / (product.std(0) / np.sqrt(len(s)))
        assert np.abs(z).max() < 4.5
    c = config()
    np.testing.assert_allclose(s.alpha, alpha(c.diffusion, s.t))
    np.testing.assert_allclose(s.h, h(c.diffusion, s.t))
    assert s.t.min() >= 0.05
    assert s.t.max() <= 1.0
