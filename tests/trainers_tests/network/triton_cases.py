"""The Triton kernels against float64 formulas: run by test_tiled.py, in Triton's interpreter here
and on the card where there is one."""

import os

import numpy as np
import pytest
import torch

from trainers.network import tiled
from trainers.network.gradient_descent import Batch, Problem, descend
from trainers.network.passes import BLOCKED, initial_weights, predict
from trainers.network.sign_groups import group, group_length
from trainers.network.tiled import MULTIPLE, Tile, tiled_passes
from trainers.trial import Cube, TrialConfig

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
KINDS = [(d, bias, False) for d in (1, 2, 3, 8, 16) for bias in (False, True)]
KINDS += [(d, bias, True) for d in (2, 3) for bias in (False, True)]
if INTERPRETED:  # it is slow: both kinds of features at two outputs, one elsewhere
    KINDS = [kind for kind in KINDS if kind[0] == 2 or kind[1] == (kind[0] in (3, 16))]
TILE = Tile(16, 4, 4) if INTERPRETED else None
"""Fewer and longer turns of the loops for the interpreter, which takes as long for a long one."""


@pytest.fixture(autouse=True)
def _short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small sizes are summed in parts too: the interpreter is slow."""
    monkeypatch.setattr(tiled, "LEAST_SHARE", MULTIPLE)


def problem(n: int, m: int, d: int, bias: bool, start: str = "plain", seed: int = 0) -> Problem:
    config = TrialConfig(
        law=Cube(dimension=d),
        samples=n,
        width=m,
        step_size=0.4,
        seed=seed,
        bias=bias,
        initialisation=start,
    )
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n + 5, config.features))
    if bias:
        z[:, -1] = 1
    w, a = initial_weights(config)
    return Problem(z[:n], rng.normal(size=(n, d)), w, a, z[n:], 0.4)


def packed(problems: list[Problem], dtype: torch.dtype, grouped: bool) -> Batch:
    return Batch.pack(problems, dtype, DEVICE, grouped, MULTIPLE)


def laid(values: np.ndarray, p: Problem, b: Batch, grouped: bool) -> np.ndarray:
    """Values [c, m] of a problem's neurons as they lie in the batch's W of one trial."""
    if grouped:
        return group(values, p.a, b.W[0, 0, 0].numel())[0]
    return np.pad(values, ((0, 0), (0, b.W.shape[2] - values.shape[1])))


@pytest.mark.parametrize(("d", "bias", "grouped"), KINDS)
def test_passes_equal_the_formulas(d: int, bias: bool, grouped: bool) -> None:
    """A batch of two of different N, m and initialisation, summed in parts; its predictions,
    squares, gradient and flips by plain float64 products, trial by trial."""
    problems = [problem(37, 34, d, bias), problem(21, 30, d, bias, "symmetric", seed=1)]
    passes = tiled_passes(bias, d, grouped, TILE)
    kinds = [(torch.float64, 1e-12)]
    if not INTERPRETED or d in (2, 16):
        kinds.append((torch.float32, 2e-6))
    for dtype, close in kinds:
        b = packed(problems, dtype, grouped)
        assert b.Z.shape[2] % MULTIPLE == 0
        moved = b.W + 0.2 * torch.sin(50 * b.W)
        F = predict(passes, b.W, b.A, b.Z_eval, b.scale)[:, :, : b.evaluated]
        squares, gradient = passes.step(b.W, b.A, b.Z, b.Y, b.scale)
        if dtype == torch.float64:
            R = predict(passes, b.W, b.A, b.Z, b.scale) - b.Y
            torch.testing.assert_close(passes.backward(b.W, b.A, b.Z, R), gradient)
            flips = passes.flips(moved, b.W, b.Z)
        for t, p in enumerate(problems):
            scale = p.w.shape[1] ** -0.5
            w = p.w if dtype == torch.float64 else p.w.astype(np.float32).astype(float)
            pre, residual = p.z @ w, np.maximum(p.z @ w, 0) @ p.a.T * scale - p.x0
            predictions = np.maximum(p.z_eval @ w, 0) @ p.a.T * scale
            size = np.maximum(p.z_eval @ w, 0).sum(1).max() * scale
            np.testing.assert_allclose(
                F[t].double().cpu().numpy().T, predictions, rtol=0, atol=close * size * 10
            )
            np.testing.assert_allclose(float(squares[t]), np.square(residual).sum(), rtol=close * 4)
            expected = p.z.T @ ((residual @ p.a) * (pre > 0))
            np.testing.assert_allclose(
                gradient[t].double().cpu().numpy(),
                laid(expected, p, b, grouped),
                rtol=0,
                atol=close * np.abs(expected).max() * 10,
            )
            if dtype == torch.float64:
                other = w + 0.2 * np.sin(50 * w)
                changed = ((pre > 0) != (p.z @ other > 0)).sum(0)[None].astype(float)
                assert changed.sum() > 5
                np.testing.assert_array_equal(
                    flips[t].cpu().numpy().ravel(), laid(changed, p, b, grouped).ravel()
                )


@pytest.mark.parametrize("grouped", [False, True])
def test_the_tile_changes_rounding_alone(grouped: bool) -> None:
    b = packed([problem(70, 60, 2, True)], torch.float64, grouped)
    one = tiled_passes(True, 2, grouped).step(b.W, b.A, b.Z, b.Y, b.scale)
    for tile in (Tile(8, 1, 1), Tile(16, 2, 2)):
        other = tiled_passes(True, 2, grouped, tile).step(b.W, b.A, b.Z, b.Y, b.scale)
        for x, y in zip(one, other, strict=True):
            torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-12)


def test_the_same_call_gives_the_same_bits() -> None:
    b = packed([problem(45, 50, 2, True)], torch.float32, True)
    first, second = (tiled_passes(True, 2, True).step(b.W, b.A, b.Z, b.Y, b.scale) for _ in "ab")
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


@pytest.mark.parametrize("grouped", [False, True])
def test_descent_is_the_blocked_path_s(grouped: bool) -> None:
    """Through padding and divergence: weights that overflow give NaN, which must show in the loss
    as it does there."""
    problems = [problem(33, 64, 2, True), problem(40, 50, 2, True, seed=1)]
    wild = problems[1]
    problems.append(Problem(wild.z, wild.x0, wild.w, wild.a, wild.z_eval, 1e306))
    steps = [0, 1, 3]
    on_tiles = list(
        descend(
            packed(problems, torch.float64, grouped), steps, tiled_passes(True, 2, grouped, TILE)
        )
    )
    blocked = list(
        descend(Batch.pack(problems, torch.float64, torch.device("cpu")), steps, BLOCKED)
    )
    for got, expected in zip(on_tiles, blocked, strict=True):
        for name in ("predictions", "train_loss", "displacement", "flipped_fraction"):
            torch.testing.assert_close(
                getattr(got, name).cpu(),
                getattr(expected, name),
                equal_nan=True,
                rtol=1e-9,
                atol=1e-11,
            )
        assert got.diverged_step.tolist() == expected.diverged_step.tolist()
    assert on_tiles[-1].diverged_step.tolist()[2] in (1, 2)


def test_a_neuron_that_is_zero_stays_zero() -> None:
    """relu'(0) = 0, at either sign of zero."""
    p = problem(40, 64, 1, False)
    p.w[:, :4] = [0.0, -0.0, 0.0, -0.0]
    b = packed([p], torch.float64, False)
    list(descend(b, [0, 2], tiled_passes(False, 1, False, TILE)))
    assert not b.W[:, :, :4].any()
    assert bool((b.W[0, 0, 4:64].cpu() != torch.tensor(p.w[0, 4:])).any())


def test_groups_are_those_of_the_cpu() -> None:
    p = problem(40, 101, 3, True)
    b = packed([p], torch.float64, True)
    assert b.W[0, 0, 0].numel() == group_length([p.a])
    assert tiled.Launch.of(1, 16, 16, Tile(8, 4, 4)).tiles == 1
