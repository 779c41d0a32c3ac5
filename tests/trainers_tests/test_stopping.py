from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from trainers.kernel.solution import KernelDescent, decompose
from trainers.stopping import (
    RULES,
    Recorded,
    a_priori_constant,
    regret,
    stop,
    time_exponent,
)

Array = NDArray[np.float64]
STEPS = np.array([0, 1, 2, 4, 8, 16, 32, 64])


def recorded(**columns: object) -> Recorded:
    made = Recorded(STEPS, 0.5, samples=100, dimension=2)
    return replace(made, **columns)  # type: ignore[arg-type]


def trajectory(n: int = 400, seed: int = 0, sigma: float = 0.5) -> tuple[Recorded, KernelDescent]:
    """Kernel descent on planted noise of standard deviation sigma, d = 2, as a Recorded."""
    rng = np.random.default_rng([n, seed])
    x = rng.standard_normal((n + 1500, 2))
    z = np.column_stack([x, np.ones(len(x))])
    fstar = np.sin(2 * x)
    labels = fstar + sigma * rng.standard_normal(x.shape)
    steps = np.unique(np.round(np.geomspace(1, 3000, 60)).astype(int))
    made = decompose(z[:n], labels[:n], z[n:], "eigen")
    out = made.at(steps.tolist(), 1.0).evaluation.transpose(0, 2, 1)
    return (
        Recorded(
            steps,
            1.0,
            n,
            2,
            score_error=np.square(out - fstar[n:]).sum(-1).mean(-1),
            holdout_loss=np.square(out - labels[n:]).sum(-1).mean(-1) / 2,
            train_loss=made.residuals(steps.tolist(), 1.0).sum(1) / 2,
            kernel_complexity=made.complexity(steps.astype(float)),
            noise_variance=sigma**2,
        ),
        made,
    )


# --- one rule at a time ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "column"), [("oracle", "score_error"), ("holdout", "holdout_loss")]
)
def test_argmin_rules(rule: str, column: str) -> None:
    falling = np.array([8.0, 5, 3, 2, 1, 2, 3, 4])
    got = stop(rule, recorded(**{column: falling}))
    assert (got.step, got.effective_time, got.index, got.fired, got.censored) == (
        8,
        4,
        4,
        True,
        False,
    )
    still = stop(rule, recorded(**{column: falling[::-1] * 0 + np.arange(8.0)[::-1]}))
    assert (still.step, still.censored) == (64, True)
    assert "still falls" in still.message
    broken = np.where(np.arange(8) < 3, falling, np.nan)
    diverged = stop(rule, recorded(**{column: broken}))
    assert (diverged.step, diverged.censored) == (2, True)
    assert "before divergence" in diverged.message
    empty = stop(rule, recorded(**{column: np.full(8, np.nan)}))
    assert (empty.step, empty.index, empty.fired) == (None, None, False)


def test_discrepancy_halves_and_coordinates() -> None:
    # L = 1/(2N) sum over both outputs: with residuals of size r per coordinate, L = 2 r^2 / 2.
    r2 = np.array([4.0, 2.0, 1.5, 1.01, 0.99, 0.5, 0.2, 0.1])
    got = stop("discrepancy", recorded(train_loss=2 * r2 / 2, noise_variance=1.0))
    assert (got.step, got.fired) == (8, True)
    never = stop("discrepancy", recorded(train_loss=2 * r2 / 2, noise_variance=0.05))
    assert not never.fired
    assert never.step is None
    assert "never fires" in never.message
    diverged = np.where(np.arange(8) > 2, np.nan, r2)
    assert not stop("discrepancy", recorded(train_loss=diverged, noise_variance=1.0)).fired


def test_rademacher_crossing() -> None:
    # Constant complexity C: the condition is eta tau <= 1 / (2 e sigma C).
    limit = 5.0
    complexity = np.full(8, 1 / (2 * math.e * 0.3 * limit))
    got = stop("rademacher", recorded(kernel_complexity=complexity, noise_variance=0.09))
    assert (got.effective_time, got.step) == (4.0, 8)  # the last recorded eta tau <= 5
    late = stop("rademacher", recorded(kernel_complexity=complexity / 100, noise_variance=0.09))
    assert not late.fired
    assert "not reached" in late.message
    assert not stop("rademacher", recorded(kernel_complexity=complexity, noise_variance=0.0)).fired
    hidden = np.where(np.arange(8) > 2, np.nan, complexity)
    assert not stop("rademacher", recorded(kernel_complexity=hidden, noise_variance=0.09)).fired
    at_once = stop("rademacher", recorded(kernel_complexity=complexity * 100, noise_variance=0.09))
    assert at_once.step == 0


def test_a_priori_schedule_and_its_constant() -> None:
    c = a_priori_constant([2.0, 8.0], samples=100, dimension=2)
    assert time_exponent(2) == 0.8
    assert c * 100**0.8 == pytest.approx(4.0)
    got = stop("a_priori", recorded(a_priori_constant=c))
    assert (got.effective_time, got.step, got.fired) == (4.0, 8, True)
    later = stop("a_priori", replace(recorded(a_priori_constant=c), samples=300))
    assert later.effective_time == 8.0  # 4 * 3^0.8 = 9.6, nearest of 8 and 16 in logarithm
    beyond = stop("a_priori", recorded(a_priori_constant=100 * c))
    assert not beyond.fired
    assert "beyond the last" in beyond.message
    with pytest.raises(ValueError, match="all positive"):
        a_priori_constant([0.0, 1.0], 100, 2)


def test_missing_measurements_and_unknown_rules_are_named() -> None:
    for rule in RULES:
        got = stop(rule, recorded())
        assert not got.fired
        assert "never fires: needs" in got.message
        assert math.isnan(regret(got, np.ones(8)))
    with pytest.raises(ValueError, match="use one of oracle"):
        stop("oracel", recorded())


def test_regret_is_relative_to_the_smallest_error() -> None:
    errors = np.array([8.0, 4, 2, 3, np.nan, 5, 6, 7])
    got = stop("holdout", recorded(holdout_loss=errors[::-1]))
    assert regret(got, errors) == pytest.approx(errors[got.index] / 2 - 1)  # type: ignore[index]
    assert regret(stop("oracle", recorded(score_error=errors)), errors) == 0.0


# --- on kernel descent with planted noise ---------------------------------------------------------


def test_rules_on_a_real_trajectory() -> None:
    made, descent = trajectory()
    assert made.score_error is not None
    best = stop("oracle", made)
    assert not best.censored
    assert regret(stop("holdout", made), made.score_error) < 0.1
    assert regret(stop("discrepancy", made), made.score_error) < 0.5
    early = stop("rademacher", made)
    assert early.effective_time is not None
    assert best.effective_time is not None
    assert early.effective_time < best.effective_time
    # The rule's own definition, from the eigenvalues, at the step chosen and at the next.
    values = descent.spectrum / 400
    for index, holds in ((early.index, True), (early.index + 1, False)):  # type: ignore[operator]
        time = float(made.steps[index])  # type: ignore[index]
        radius = math.sqrt(np.minimum(values, 1 / time).sum() / 400)
        assert (radius <= 1 / (2 * math.e * 0.5 * time)) == holds


def test_discrepancy_notices_a_wrong_convention() -> None:
    # A factor of 2 in L, or of d in sigma^2, would be noticed above: it moves the stop, or makes
    # the rule silent.
    made, _ = trajectory()
    sigma2 = made.noise_variance
    assert sigma2 is not None
    late, right, soon = (
        stop("discrepancy", replace(made, noise_variance=f * sigma2)) for f in (0.5, 1.0, 2.0)
    )
    assert not late.fired
    assert right.step is not None
    assert soon.step is not None
    assert right.step > 2 * soon.step


def test_loads_without_torch() -> None:
    code = "import sys, trainers.stopping, trainers.kernel.ntk; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
