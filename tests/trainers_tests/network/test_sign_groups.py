"""Neurons grouped by output signs: every neuron once, and the same sums as without groups."""

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from trainers.limits import GROUPED_MAX_OUTPUTS
from trainers.methods.full_batch import Descent, warm_up
from trainers.network.gradient_descent import Batch, Problem, descend
from trainers.network.passes import BLOCKED, initial_weights
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
from trainers.trial import Cube, TrialConfig


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


@pytest.mark.slow
@pytest.mark.parametrize(("d", "bias"), [(1, False), (GROUPED_MAX_OUTPUTS, True)])
def test_passes_equal_the_formulas(bias: bool, d: int) -> None:
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


def test_a_new_size_compiles_nothing_new() -> None:
    passes = grouped_passes(True, 2)

    def call(B: int, n: int, g: int) -> None:
        W, S, Z = (torch.randn(shape) for shape in grouped_shapes(B, 4, 2, g, n))
        passes.forward(W, S, Z)
        passes.step(W, S, Z, torch.randn(B, 2, n), torch.randn(B, 1, 1))
        passes.flips(W, W + 0.1, Z)

    warm_up(passes, 4, 2, 8, torch.float32, torch.device("cpu"))
    before = counters["stats"]["unique_graphs"]
    for size in [(2, 16, 32), (3, 40, 64), (4, 64, 96), (7, 1024, 320), (2, 4096, 64)]:
        call(*size)
    assert counters["stats"]["unique_graphs"] == before


@pytest.mark.slow
def test_float32_stays_close_to_float64_over_600_steps() -> None:
    n = m = 2048
    config = TrialConfig(law=Cube(dimension=2), samples=n, width=m, step_size=1.0)
    rng = np.random.default_rng(5)
    z = np.concatenate([rng.normal(size=(n, 3)), np.ones((n, 1))], axis=1)
    x0 = np.tanh(z[:, :2]) + rng.normal(size=(n, 2))
    problem = Problem(z, x0, *initial_weights(config), z[:64], 0.5)
    passes = grouped_passes(True, 2)
    last = []
    for dtype in (torch.float32, torch.float64):
        batch = Batch.pack([problem], dtype, torch.device("cpu"), grouped=True)
        (*_, record) = descend(batch, [0, 600], passes)
        last.append(record.predictions.double())
    assert float((last[0] - last[1]).norm() / last[1].norm()) < 1e-4
    assert int(record.diverged_step[0]) == -1


def test_the_trainer_groups_and_gives_the_blocked_path_s_numbers() -> None:
    from trainers.protocol import Task

    config = TrialConfig(
        law=Cube(dimension=2), samples=50, width=400, step_size=0.5, precision="float64"
    )
    rng = np.random.default_rng(6)
    z = np.concatenate([rng.normal(size=(50, 3)), np.ones((50, 1))], axis=1)
    task = Task(config, z, rng.uniform(-1, 1, size=(50, 2)), z[:16])
    assert worthwhile([task.problem().a])
    cpu = torch.device("cpu")
    trained = list(Descent().train([task], [0, 5, 40], cpu, lambda: None))
    batch = Batch.pack([task.problem()], torch.float64, cpu)
    for got, expected in zip(trained, descend(batch, [0, 5, 40], BLOCKED), strict=True):
        torch.testing.assert_close(got.predictions, expected.predictions, rtol=0, atol=1e-12)
        torch.testing.assert_close(got.train_loss, expected.train_loss)
