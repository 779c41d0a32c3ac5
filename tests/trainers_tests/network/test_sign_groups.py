"""Neurons grouped by output signs: every neuron once, and the same sums as without groups."""

import numpy as np
import pytest
import torch

from trainers.limits import GROUPED_MAX_OUTPUTS
from trainers.network.sign_groups import (
    NEURONS_MULTIPLE,
    features_last,
    group,
    group_length,
    grouped_passes,
    grouped_shapes,
    pattern_of,
    patterns,
    worthwhile,
)


def signs(d: int, m: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice([-1.0, 1.0], size=(d, m))


@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_a_neuron_has_its_first_sign_times_its_pattern(d: int) -> None:
    a = signs(d, 500)
    known = patterns(d)
    assert known.shape == (2 ** (d - 1), d)
    assert len({tuple(q) for q in known}) == len(known)
    np.testing.assert_array_equal(known[pattern_of(a)].T * a[0], a)


@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_groups_hold_every_neuron_once_and_zeros(d: int) -> None:
    a, w = signs(d, 101), np.random.default_rng(1).normal(size=(d + 2, 101))
    length = group_length([a, signs(d, 60)])
    assert length % NEURONS_MULTIPLE == 0
    assert length < np.bincount(pattern_of(a)).max() + NEURONS_MULTIPLE
    W, S = group(w, a, length)
    assert (W[None].shape, S[None].shape) == grouped_shapes(1, d + 2, d, length, 8)[:2]
    W, S = W.reshape(*W.shape[:2], -1), S.reshape(len(S), -1)
    real = S != 0
    assert real.sum() == 101
    assert not W.transpose(0, 2, 1)[~real].any()
    # Back from the groups: (w_r, a_r) of every neuron, in some order.
    back = np.concatenate(
        [
            np.concatenate([W[p][:, real[p]], patterns(d)[p][:, None] * S[p, real[p]]])
            for p in range(len(W))
        ],
        axis=1,
    )
    both = np.concatenate([w, a])
    np.testing.assert_array_equal(back[:, np.argsort(back[0])], both[:, np.argsort(both[0])])


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("d", [1, 2, 3, GROUPED_MAX_OUTPUTS])
def test_passes_equal_the_formulas(d: int, bias: bool) -> None:
    """F, the step, the gradient's sum and the flips, by plain float64 products, on a padded batch
    of two."""
    rng = np.random.default_rng(2)
    k, n, real = d + 2, 24, 19
    z = rng.normal(size=(2, real, k))
    if bias:
        z[:, :, -1] = 1
    w, a = rng.normal(size=(2, k, 30)), np.stack([signs(d, 30, s) for s in (3, 4)])
    y = np.zeros((2, d, n))
    y[:, :, :real] = rng.normal(size=(2, d, real))
    length = group_length(list(a))
    both = [group(*wa, length) for wa in zip(w, a, strict=True)]
    W, S = (torch.tensor(np.stack(x)) for x in zip(*both, strict=True))
    Z = torch.tensor(np.stack([features_last(one, n) for one in z]))
    assert (W.shape, S.shape, Z.shape) == grouped_shapes(2, k, d, length, n)
    scale = torch.tensor([0.3, 0.7], dtype=torch.float64)[:, None, None]
    passes = grouped_passes(bias, d)
    F = passes.forward(W, S, Z)
    R = F * scale - torch.tensor(y)
    squares, gradient = passes.step(W, S, Z, torch.tensor(y), scale)
    flips = passes.flips(W, W + 0.3 * S[:, :, None], Z)
    for b in range(2):
        pre = z[b] @ w[b]
        np.testing.assert_allclose(F[b, :, :real], a[b] @ np.maximum(pre, 0).T, atol=1e-12)
        assert not F[b, :, real:].any()
        torch.testing.assert_close(squares[b], R[b].square().sum())
        expected = z[b].T @ ((R[b, :, :real].numpy().T @ a[b]) * (pre > 0))
        np.testing.assert_allclose(gradient[b], group(expected, a[b], length)[0], atol=1e-12)
        changed = (pre > 0) != (z[b] @ (w[b] + 0.3 * a[b][0]) > 0)
        counts, _ = group(changed.sum(0)[None].astype(float), a[b], length)
        np.testing.assert_array_equal(flips[b].flatten(), counts.flatten())
    torch.testing.assert_close(passes.backward(W, S, Z, R), gradient)


def test_only_small_dimensions_and_even_groups_are_grouped() -> None:
    assert worthwhile([signs(2, 4096), signs(2, 4000, 1)])
    assert worthwhile([signs(1, 64)])
    assert not worthwhile([signs(1, 8)])
    assert not worthwhile([signs(GROUPED_MAX_OUTPUTS + 1, 100_000)])
    assert not worthwhile([np.ones((2, 64))])
