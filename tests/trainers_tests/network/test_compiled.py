"""The fused passes compiled: what the compiler makes of them, once for each kind.

test_gradient_descent.py and test_sign_groups.py have the formulas, by the same functions as they
are written, in every dimension. What compiles them is in this file, so that one process compiles
each once, as trainers do: by `warm_up`.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from descents import CPU, PATHS, STEPS, problem, reference, run
from torch._dynamo.utils import counters

from trainers.methods.full_batch import Descent, choose_passes, warm_up
from trainers.network.gradient_descent import Batch, Problem, descend
from trainers.network.passes import BLOCKED, compiler_problem, initial_weights, predict
from trainers.network.sign_groups import grouped_passes, grouped_shapes, worthwhile
from trainers.protocol import Task
from trainers.trial import Cube, TrialConfig

pytestmark = [pytest.mark.compiled, pytest.mark.slow, pytest.mark.timeout(600)]
COMPILED = ["fused", "fused_bias", "grouped_bias"]


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    """For batches of several trials with two outputs, whatever their sizes."""
    assert compiler_problem("cpu") == ""
    for path in COMPILED:
        warm_up(PATHS[path](2), 4, 2, 2, torch.float32, CPU)


@pytest.mark.parametrize("path", COMPILED)
def test_a_new_size_compiles_nothing_new(path: str) -> None:
    passes = PATHS[path](2)
    before = counters["stats"]["unique_graphs"]
    for B, n, m in [(2, 16, 32), (3, 40, 64), (4, 64, 96), (7, 1024, 320), (2, 4096, 64)]:
        Y, scale = torch.randn(B, 2, n), torch.full((B, 1, 1), m**-0.5)
        if passes.grouped:
            W, A, Z = (torch.randn(shape) for shape in grouped_shapes(B, 4, 2, m, n))
        else:
            W, A, Z = torch.randn(B, 4, m), torch.randn(B, 2, m).sign(), torch.randn(B, 4, n)
            out, blocked = (predict(p, W, A, Z, scale) for p in (passes, BLOCKED))
            torch.testing.assert_close(out, blocked, rtol=1e-4, atol=1e-4)
        predict(passes, W, A, Z, scale)
        passes.step(W, A, Z, Y, scale)
        passes.flips(W, W + 0.1, Z)
    assert counters["stats"]["unique_graphs"] == before


@pytest.mark.parametrize("path", COMPILED)
def test_float32_stays_close_to_the_plain_loop_in_float64(path: str) -> None:
    p = problem(256, 512, seed=3)
    records, expected = run([p, p], path, torch.float32), reference(p, STEPS)
    for i, record in enumerate(records):
        got, exact = record.predictions[1].double().numpy(), expected["predictions"][i]
        assert np.linalg.norm(got - exact) < 1e-5 * np.linalg.norm(exact)
        assert float(record.train_loss[1]) == pytest.approx(expected["loss"][i], rel=1e-5)
        assert float(record.displacement[1]) == pytest.approx(expected["displacement"][i], rel=1e-4)
        # A few of 131,072 signs hang on rounding.
        assert float(record.flipped_fraction[1]) == pytest.approx(expected["flips"][i], abs=5e-5)


@pytest.mark.parametrize("path", [*COMPILED, "blocked"])
def test_a_neuron_that_is_zero_stays_zero(path: str) -> None:
    """relu'(0) = 0, at either sign of zero: whatever the signs of its features."""
    p = problem(40, 30, seed=8)
    p.w[:, :4] = [0.0, -0.0, 0.0, -0.0]
    got = run([p, p], path, torch.float32)
    expected = reference(p, STEPS)["displacement"]
    np.testing.assert_allclose([float(r.displacement[0]) for r in got], expected, rtol=1e-4)


@pytest.mark.parametrize("path", [*COMPILED, "blocked"])
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


def test_float32_stays_close_to_float64_over_600_steps() -> None:
    n, m = 2048, 1024
    config = TrialConfig(law=Cube(dimension=2), samples=n, width=m, step_size=1.0)
    rng = np.random.default_rng(5)
    z = np.concatenate([rng.normal(size=(n, 3)), np.ones((n, 1))], axis=1)
    x0 = np.tanh(z[:, :2]) + rng.normal(size=(n, 2))
    p = Problem(z, x0, *initial_weights(config), z[:64], 0.5)
    (*_, exact) = descend(Batch.pack([p], torch.float64, CPU), [0, 600], BLOCKED)
    for path in ("fused_bias", "grouped_bias"):
        passes = PATHS[path](2)
        batch = Batch.pack([p, p], torch.float32, CPU, passes.grouped)
        (*_, record) = descend(batch, [0, 600], passes)
        difference = (record.predictions[1].double() - exact.predictions[0]).norm()
        assert float(difference / exact.predictions[0].norm()) < 1e-4
        assert record.diverged_step.tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("d", "width", "trials", "precision", "bias"),
    [
        (2, 16, 3, "float32", True),
        (2, 512, 3, "float32", True),
        (2, 16, 1, "float64", True),
        # A batch of one and an axis of length one are cases of their own to the compiler.
        (1, 64, 1, "float32", False),
        # Above two outputs patterns are mixed by a matrix product.
        (3, 400, 1, "float64", True),
    ],
)
def test_the_trainer_runs_what_the_warm_up_compiled_with_the_blocked_path_s_numbers(
    d: int, width: int, trials: int, precision: str, bias: bool
) -> None:
    rng = np.random.default_rng(7)
    k = d + 2 if bias else d + 1
    z = rng.normal(size=(50, k))
    if bias:
        z[:, -1] = 1
    base = TrialConfig(
        law=Cube(dimension=d),
        samples=50,
        width=width,
        step_size=0.5,
        precision=precision,
        bias=bias,
    )
    tasks = [
        Task(base.model_copy(update={"seed": seed}), z, rng.uniform(-1, 1, size=(50, d)), z[:20])
        for seed in range(trials)
    ]
    problems = [task.problem() for task in tasks]
    grouped = worthwhile([p.a for p in problems])
    assert grouped == (width != 16)
    passes, _ = choose_passes(base, CPU, grouped)
    assert passes.grouped == grouped
    assert passes is (grouped_passes(bias, d) if grouped else PATHS["fused_bias"](d))
    dtype = torch.float32 if precision == "float32" else torch.float64
    warm_up(passes, k, d, trials, dtype, CPU)
    before = counters["stats"]["unique_graphs"]
    trained = list(Descent().train(tasks, [0, 5, 40], CPU, lambda: None))
    assert counters["stats"]["unique_graphs"] == before
    assert [record.step for record in trained] == [0, 5, 40]
    batch = Batch.pack(problems, torch.float64, CPU)
    close = 2e-5 if precision == "float32" else 1e-12
    for got, expected in zip(trained, descend(batch, [0, 5, 40], BLOCKED), strict=True):
        torch.testing.assert_close(
            got.predictions.double(), expected.predictions, rtol=0, atol=close
        )
        torch.testing.assert_close(
            got.train_loss.double(), expected.train_loss.double(), rtol=close, atol=0
        )
