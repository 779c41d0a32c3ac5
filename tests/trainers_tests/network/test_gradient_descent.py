"""Packed descent against a plain float64 loop, one by one, through divergence and padding."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from trainers.network import passes as network
from trainers.network.gradient_descent import Batch, Problem, Record, descend
from trainers.network.passes import BLOCKED, fused_passes, predict
from trainers.network.sign_groups import grouped_passes
from trainers.trial import recorded_steps

STEPS = recorded_steps(60, 12)
PATHS = {
    "fused": lambda d: fused_passes(False),
    "fused_bias": lambda d: fused_passes(True),
    "grouped": lambda d: grouped_passes(False, d),
    "grouped_bias": lambda d: grouped_passes(True, d),
    "blocked": lambda d: BLOCKED,
}


def problem(n: int, m: int, d: int = 2, eta: float = 0.7, seed: int = 0) -> Problem:
    rng = np.random.default_rng(seed)
    k = d + 2
    z = np.concatenate([rng.normal(size=(n, d + 1)), np.ones((n, 1))], axis=1)
    x0 = rng.uniform(-1, 1, size=(n, d))
    w, a = rng.normal(size=(k, m)), rng.choice([-1.0, 1.0], size=(d, m))
    z_eval = np.concatenate([rng.normal(size=(9, d + 1)), np.ones((9, 1))], axis=1)
    return Problem(z, x0, w, a, z_eval, eta)


def reference(p: Problem, steps: list[int]) -> dict[str, np.ndarray]:
    """docs/theory.md, section 3, as one reads it: a loop over steps in plain numpy, float64."""
    w, (n, m) = p.w.copy(), (len(p.z), p.w.shape[1])
    out: dict[str, list] = {"predictions": [], "loss": [], "displacement": [], "flips": []}
    for step in range(steps[-1] + 1):
        pre = p.z @ w
        residual = (np.maximum(pre, 0) @ p.a.T) / np.sqrt(m) - p.x0
        if step in steps:
            out["predictions"].append((np.maximum(p.z_eval @ w, 0) @ p.a.T / np.sqrt(m)).T)
            out["loss"].append((residual**2).sum() / (2 * n))
            out["displacement"].append(np.sqrt(((w - p.w) ** 2).sum()))
            out["flips"].append(np.mean((pre > 0) != (p.z @ p.w > 0)))
        gradient = p.z.T @ ((residual @ p.a) * (pre > 0)) / (np.sqrt(m) * n)
        w = w - p.step_size * gradient
    return {name: np.array(values) for name, values in out.items()}


def run(problems: list[Problem], path: str, dtype: torch.dtype = torch.float64) -> list[Record]:
    passes = PATHS[path](len(problems[0].a))
    batch = Batch.pack(problems, dtype, torch.device("cpu"), passes.grouped)
    return list(descend(batch, STEPS, passes))


RAGGED = [problem(33, 20), problem(17, 64, eta=0.2, seed=1), problem(8, 2, seed=2)]


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
def test_ragged_pack_reproduces_the_plain_loop_in_float64(path: str) -> None:
    records = run(RAGGED, path)
    assert [r.step for r in records] == STEPS
    for b, p in enumerate(RAGGED):
        expected = reference(p, STEPS)
        got = np.stack([r.predictions[b].numpy() for r in records])
        np.testing.assert_allclose(got, expected["predictions"], rtol=0, atol=1e-12)
        for name, field in [
            ("loss", "train_loss"),
            ("displacement", "displacement"),
            ("flips", "flipped_fraction"),
        ]:
            values = np.array([float(getattr(r, field)[b]) for r in records])
            np.testing.assert_allclose(values, expected[name], rtol=1e-11, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
def test_float32_stays_close_to_float64(path: str) -> None:
    p = problem(256, 512, seed=3)
    single, double = run([p, p], path, torch.float32), run([p, p], path)
    for a, b in zip(single, double, strict=True):
        difference = (a.predictions.double() - b.predictions).norm() / b.predictions.norm()
        assert difference < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "d", "trials"),
    [
        ("fused", 1, 2),
        ("fused", 2, 2),
        ("fused", 5, 2),
        ("grouped_bias", 1, 1),
        ("grouped", 2, 1),
    ],
)
def test_the_paths_agree_in_every_dimension(path: str, d: int, trials: int) -> None:
    problems = [problem(40, 30, d=d, seed=s) for s in range(trials)]
    for a, b in zip(run(problems, path), run(problems, "blocked"), strict=True):
        torch.testing.assert_close(a.predictions, b.predictions, rtol=0, atol=1e-12)
        torch.testing.assert_close(a.flipped_fraction, b.flipped_fraction)
        torch.testing.assert_close(a.displacement, b.displacement)


@pytest.mark.parametrize("path", PATHS)
def test_a_neuron_that_is_zero_stays_zero(path: str) -> None:
    """relu'(0) = 0, at either sign of zero: whatever the signs of its features."""
    p = problem(40, 30, seed=8)
    p.w[:, :4] = [0.0, -0.0, 0.0, -0.0]
    got = run([p, p], path, torch.float32)
    expected = reference(p, STEPS)["displacement"]
    np.testing.assert_allclose([float(r.displacement[0]) for r in got], expected, rtol=1e-4)


@pytest.mark.parametrize("path", PATHS)
def test_a_diverging_trial_ends_alone(path: str) -> None:
    calm, wild = problem(33, 20), problem(40, 24, eta=500.0, seed=4)
    together, alone = run([calm, wild], path, torch.float32), run([calm, calm], path, torch.float32)
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a.predictions[0], b.predictions[0], rtol=1e-5, atol=1e-6)
    last = together[-1]
    step = int(last.diverged_step[1])
    assert 0 < step < 20
    assert int(last.diverged_step[0]) == -1
    for record in together:
        gone = record.step >= step
        assert bool(record.predictions[1].isnan().all()) == gone
        assert bool(record.train_loss[1].isnan()) == gone
        assert bool(record.flipped_fraction[1].isnan()) == gone


def test_a_loss_that_overflows_at_once_is_divergence_too() -> None:
    last = run([problem(8, 4, eta=1e30), problem(8, 4)], "blocked", torch.float32)[-1]
    assert int(last.diverged_step[0]) == 1
    assert bool(last.predictions[1].isfinite().all())


def test_gradient_is_the_derivative_of_the_loss() -> None:
    p = problem(30, 16, seed=6)
    w = torch.tensor(p.w, requires_grad=True)
    z, a = torch.tensor(p.z), torch.tensor(p.a)
    f = torch.relu(z @ w) @ a.T / 16**0.5
    ((f - torch.tensor(p.x0)).square().sum() / (2 * 30)).backward()
    batch = Batch.pack([p, p], torch.float64, torch.device("cpu"))
    list(descend(batch, [0, 1], BLOCKED))
    assert w.grad is not None
    torch.testing.assert_close((torch.tensor(p.w) - batch.W[0]) / p.step_size, w.grad)


def test_tick_can_end_a_descent() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    batch = Batch.pack(RAGGED, torch.float32, torch.device("cpu"))
    with pytest.raises(KeyboardInterrupt):
        next(descend(batch, STEPS, BLOCKED, stop))


@pytest.mark.parametrize("path", ["blocked", "fused", "grouped_bias"])
def test_recorded_losses_come_from_the_pass_that_trains(path: str) -> None:
    """One forward pass over the training set a step, recorded or not; one over z_eval a record."""
    sizes: list[int] = []

    def samples_of(Z: torch.Tensor) -> int:
        return Z.shape[1] * Z.shape[2] if passes.grouped else Z.shape[2]

    def watched(name: str) -> Callable[..., Any]:
        def call(*tensors: torch.Tensor) -> Any:
            sizes.append(samples_of(tensors[2]))
            return getattr(passes, name)(*tensors)

        return call

    passes = PATHS[path](2)
    seen = replace(passes, forward=watched("forward"))
    if passes.together is not None:
        seen = replace(seen, together=watched("together"))
    problems = [problem(33, 20), problem(30, 16)]
    batch = Batch.pack(problems, torch.float32, torch.device("cpu"), passes.grouped)
    n, n_eval = samples_of(batch.Z), samples_of(batch.Z_eval)
    assert n != n_eval
    list(descend(batch, [0, 3, 10], seen))
    assert (sizes.count(n), sizes.count(n_eval)) == (11, 3)


@pytest.mark.parametrize(("block", "samples"), [(1, 1), (1, 7), (40 * 24 * 4, 8), (1 << 30, 64)])
def test_the_blocked_step_is_its_passes_whatever_the_blocks(
    block: int, samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "BLOCK_BYTES", block)
    monkeypatch.setattr(network, "BLOCK_SAMPLES", samples)
    problems = [problem(33, 20), problem(40, 24, seed=4), problem(21, 24, seed=5)]
    b = Batch.pack(problems, torch.float64, torch.device("cpu"))
    squares, gradient = BLOCKED.step(b.W, b.A, b.Z, b.Y, b.scale)
    R = predict(BLOCKED, b.W, b.A, b.Z, b.scale) - b.Y
    torch.testing.assert_close(squares, R.square().sum((1, 2)))
    torch.testing.assert_close(gradient, BLOCKED.backward(b.W, b.A, b.Z, R))
