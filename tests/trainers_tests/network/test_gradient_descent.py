"""Packed descent against a plain float64 loop, one by one, through divergence and padding."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from descents import PATHS, STEPS, problem, reference, run

from trainers.limits import GROUPED_MAX_OUTPUTS
from trainers.network import passes as network
from trainers.network.gradient_descent import Batch, descend
from trainers.network.passes import BLOCKED, predict

RAGGED = [problem(33, 20), problem(17, 64, eta=0.2, seed=1), problem(8, 2, seed=2)]


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
@pytest.mark.parametrize("trials", [1, 2])
@pytest.mark.parametrize("d", [1, 2, 3, GROUPED_MAX_OUTPUTS, 5])
@pytest.mark.parametrize("path", [path for path in PATHS if path != "blocked"])
def test_the_paths_agree_in_every_dimension(path: str, d: int, trials: int) -> None:
    problems = [problem(40, 30, d=d, seed=s) for s in range(trials)]
    for a, b in zip(run(problems, path), run(problems, "blocked"), strict=True):
        torch.testing.assert_close(a.predictions, b.predictions, rtol=0, atol=1e-12)
        torch.testing.assert_close(a.flipped_fraction, b.flipped_fraction)
        torch.testing.assert_close(a.displacement, b.displacement)


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
