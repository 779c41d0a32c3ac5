"""Initialisation and padding."""

import numpy as np
import pytest

from trainers.network.passes import (
    SAMPLES_MULTIPLE,
    initial_weights,
    pad_samples,
    padded_length,
)
from trainers.trial import TrialConfig


def config(**changes: object) -> TrialConfig:
    values = {"law": {"kind": "cube", "dimension": 2}, "samples": 8, "width": 512, "step_size": 1.0}
    return TrialConfig.model_validate({**values, **changes})


def test_symmetric_network_starts_at_zero_and_plain_does_not() -> None:
    z = np.random.default_rng(0).normal(size=(16, 4))
    for kind, zero in (("symmetric", True), ("plain", False)):
        w, a = initial_weights(config(initialisation=kind))
        f = np.maximum(z @ w, 0) @ a.T
        assert (np.abs(f).max() < 1e-12) == zero
        assert w.shape == (4, 512)
        assert a.shape == (2, 512)
        assert set(np.unique(a)) == {-1.0, 1.0}


def test_weights_follow_their_law() -> None:
    w, a = initial_weights(config(initialisation="plain", width=200_000))
    np.testing.assert_allclose(w @ w.T / 200_000, np.eye(4), atol=0.02)
    np.testing.assert_allclose(a @ a.T / 200_000, np.eye(2), atol=0.02)
    np.testing.assert_allclose(w.mean(axis=1), 0, atol=0.01)


def test_weights_change_with_seed_width_and_initialisation_but_not_with_the_data() -> None:
    base, _ = initial_weights(config())
    same, _ = initial_weights(config(samples=99, step_size=0.25))
    np.testing.assert_array_equal(base, same)
    for change in ({"seed": 1}, {"study_seed": 1}, {"width": 510}, {"initialisation": "plain"}):
        other, _ = initial_weights(config(**change))
        assert not np.array_equal(other[:, :8], base[:, :8]), change


@pytest.mark.parametrize("n", [1, 3, 4, 8, 9, 100])
def test_padding_keeps_every_sample_and_adds_zeros(n: int) -> None:
    values = np.random.default_rng(n).normal(size=(n, 3))
    length = padded_length(n)
    assert length % SAMPLES_MULTIPLE == 0
    assert length >= n
    flat = pad_samples(values, length)
    assert flat.shape == (3, length)
    np.testing.assert_array_equal(flat[:, :n].T, values)
    assert not flat[:, n:].any()
